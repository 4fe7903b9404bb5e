"""What a guess scores: uniform over closed choices, or one constant answer, by group."""

import pytest

from model.evaluate.chance import chance_of
from model.evaluate.scores import METRICS
from tests.model.evaluate.asking import question

EXACT = METRICS["exact_match"]


def test_choices_that_are_even_give_one_half_and_a_majority_gives_its_share():
    even = [question(str(n), "yes" if n % 2 else "no", choices=("yes", "no")) for n in range(40)]
    assert chance_of(even, METRICS["pope"], "majority") == (0.5, {"all": 0.5})
    mostly = [question(str(n), "yes" if n % 4 else "no", choices=("yes", "no")) for n in range(40)]
    assert chance_of(mostly, METRICS["pope"], "majority")[0] == 0.75


def test_more_choices_than_occur_are_guessed_at_uniformly():
    asked = [question(str(n), "abcd"[n % 4], choices=tuple("abcd")) for n in range(40)]
    assert chance_of(asked, EXACT, "majority")[0] == 0.25


def test_a_guess_reads_the_question_and_so_knows_its_group():
    colours = [question(f"c{n}", "red" if n < 20 else f"colour {n}", group="colour") for n in range(40)]
    counts = [question(f"n{n}", "2" if n < 30 else str(n), group="count") for n in range(40)]
    chance, groups = chance_of(colours + counts, EXACT, "majority")
    assert groups == {"colour": 0.5, "count": 0.75}
    assert chance == pytest.approx(0.625)


def test_small_groups_are_guessed_at_together():
    asked = [question(str(n), str(n), group=f"group {n}") for n in range(10)]
    chance, groups = chance_of(asked, EXACT, "majority")
    assert set(groups.values()) == {1.0}
    assert chance == pytest.approx(0.1)


def test_ten_peoples_answers_are_guessed_at_by_their_own_score():
    asked = [question(str(n), *["cup"] * 3, *["mug"] * 7) for n in range(30)]
    assert chance_of(asked, METRICS["vqa"], "majority")[0] == 1.0
    assert chance_of([question("1", *["cup"] * 2, *[str(n) for n in range(8)])] * 30, METRICS["vqa"], "majority")[0] == 0.6


def test_boxes_and_free_text_have_none():
    assert chance_of([question("1", "[0.1,0.1,0.2,0.2]", group="g")], METRICS["box_accuracy"], "zero") == (0.0, {"g": 0.0})
