"""Intervals are the textbook's where a textbook has one, hold the true score as often as they say, and know of shared pictures."""

import random

import pytest

from model.errors import DataError
from model.evaluate.statistics import interval, paired_difference
from tests.model.evaluate.asking import prediction


@pytest.mark.parametrize(
    ("right", "of", "low", "high"),
    # Table I of R. G. Newcombe, Two-sided confidence intervals for the single proportion, 1998 (method 3).
    [(81, 263, 0.2553, 0.3662), (15, 148, 0.0624, 0.1605), (0, 20, 0.0, 0.1611), (1, 29, 0.0061, 0.1718)],
)
def test_one_question_a_picture_gives_wilsons_interval(right, of, low, high):
    scores = [1.0] * right + [0.0] * (of - right)
    assert interval(scores, range(of)) == pytest.approx((low, high), abs=6e-5)


def test_questions_that_share_a_picture_and_agree_count_as_one():
    scores = [1.0, 0.0, 1.0, 1.0, 0.0, 1.0, 1.0, 1.0, 0.0, 1.0] * 5
    alone = interval(scores[:50:5], range(10))
    repeated = [score for score in scores[:50:5] for _ in range(20)]
    shared = interval(repeated, [place // 20 for place in range(200)])
    assert shared[1] - shared[0] >= alone[1] - alone[0]
    as_if_alone = interval(repeated, range(200))
    assert shared[1] - shared[0] > 3 * (as_if_alone[1] - as_if_alone[0])


@pytest.mark.parametrize(("pictures", "each", "together"), [(200, 1, 0.0), (40, 6, 0.5), (15, 6, 0.3)])
def test_the_true_score_lies_within_about_95_times_of_100(pictures, each, together):
    draw = random.Random(7)
    held = 0
    for _ in range(600):
        scores, clusters = [], []
        for picture in range(pictures):
            easy = draw.random() < 0.7
            for _ in range(each):
                scores.append(float(easy if draw.random() < together else draw.random() < 0.7))
                clusters.append(picture)
        low, high = interval(scores, clusters)
        held += low <= 0.7 <= high
    assert 0.92 <= held / 600 <= 0.985


def test_an_interval_stays_within_nought_and_one_and_holds_its_score():
    for scores in ([1.0] * 5, [0.0] * 5, [0.3] * 7, [0.5], [1.0, 0.0], [0.2, 0.9, 0.9]):
        low, high = interval(scores, range(len(scores)))
        assert 0 <= low <= sum(scores) / len(scores) <= high <= 1
        assert low < high
    assert interval([], []) == (0.0, 1.0)


def test_pairs_show_a_difference_that_two_intervals_hide():
    draw = random.Random(3)
    hard = [draw.random() for _ in range(400)]
    first = [prediction(str(n), float(draw.random() > one), picture=str(n)) for n, one in enumerate(hard)]
    second = [one.model_copy(update={"score": 1.0}) if n % 25 == 0 else one for n, one in enumerate(first)]
    found = paired_difference(first, second)
    assert found.questions == 400
    assert found.mean == pytest.approx(sum(b.score - a.score for a, b in zip(first, second, strict=True)) / 400)
    assert found.is_significant
    means = [sum(one.score for one in run) / 400 for run in (first, second)]
    ends = [interval([one.score for one in run], range(400)) for run in (first, second)]
    assert ends[0][1] > means[1]
    assert not paired_difference(first, first).is_significant


def test_files_without_a_common_question_cannot_be_compared():
    with pytest.raises(DataError, match="same benchmark"):
        paired_difference([prediction("1", 1)], [prediction("2", 1)])
