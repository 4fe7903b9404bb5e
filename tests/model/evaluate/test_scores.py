"""Scorers give the published numbers on published predictions, and the official scorers' numbers on rows that are hard to read."""

import json
from dataclasses import dataclass

import pytest

from model.errors import ContractError
from model.evaluate.results import figures, predict
from model.evaluate.scores import METRICS, metric_in_words
from model.evaluate.scores.anls import edit_distance, similarity
from model.evaluate.scores.box_accuracy import iou
from model.evaluate.scores.vqa import CONTRACTIONS, clean_punctuation, clean_words
from tests.model.evaluate.asking import question
from tests.support.real_data import real_data


@dataclass(frozen=True)
class Expecting:
    expected: tuple[str, ...] = ()
    expected_boxes: tuple = ()
    expected_labels: tuple = ()
    origin: tuple[float, float] = (0.0, 0.0)


def score(metric: str, answer: str, *expected: str) -> float:
    return METRICS[metric].judge(answer, Expecting(expected)).score


def lines_of(path) -> list[dict]:
    return [json.loads(line) for line in path.read_text(encoding="utf-8").splitlines() if line.strip()]


@pytest.mark.parametrize("split", ["adversarial", "popular", "random"])
def test_pope_gives_the_published_figures_of_llava(split):
    folder = real_data() / "benchmarks" / "pope"
    published = json.loads((folder / "expected.json").read_text())["llava-v1.5-13b"][split]
    labels = lines_of(folder / "coco_e3e39262" / f"coco_pope_{split}.json")
    # The published answers follow the questions file; the labels of a split are aligned with them by order.
    categories = [row["category"] for row in lines_of(folder / "llava_pope_test.jsonl")]
    said = [row["text"] for row in lines_of(folder / "llava-v1.5-13b.answers.jsonl")]
    answers = [answer for category, answer in zip(categories, said, strict=True) if category == split]
    predictions = [
        predict(question(str(place), label["label"]), answer, METRICS["pope"])
        for place, (label, answer) in enumerate(zip(labels, answers, strict=True))
    ]
    found = figures(predictions, METRICS["pope"])
    assert found["questions"] == published["n"]
    assert found["score"] == pytest.approx(published["acc"], abs=1e-12)
    expected = {"precision": "precision", "recall": "recall", "f1": "f1", "yes_share": "yes_ratio"}
    assert found["further_metrics"] == pytest.approx({mine: published[theirs] for mine, theirs in expected.items()}, abs=1e-12)


@pytest.mark.parametrize("part", ["human", "augmented"])
def test_chartqa_gives_the_official_counts_and_those_of_sphinx(part):
    folder = real_data() / "benchmarks" / "chartqa"
    published = json.loads((folder / "expected.json").read_text())[part]
    rows = json.loads((folder / f"test_{part}.derived_predictions.json").read_text())
    names = ("relaxed", "relaxed_sphinx", "exact_match_sphinx")
    right = {name: sum(score(name, row["prediction"], row["label"]) for row in rows) for name in names}
    assert right["relaxed"] == published["pix2struct_correct_order"]
    assert right["relaxed_sphinx"] == published["sphinx_qwen_swapped"]
    assert right["exact_match_sphinx"] / len(rows) == published["exact_match_sphinx"]


def test_due_documents_give_the_mean_anls_of_its_evaluator_under_its_own_threshold():
    folder = real_data() / "benchmarks" / "due"
    said = {
        one["id"]: one["values"][0]["value"]
        for row in lines_of(folder / "out.jsonl")
        for one in row["annotations"]
        if one["values"]
    }
    wanted = {
        one["id"]: [text for value in one["values"] for text in (value["value"], *value.get("value_variants", []))]
        for row in lines_of(folder / "ref.jsonl")
        for one in row["annotations"]
    }
    scores = [score("edit_similarity", said.get(key, ""), *texts) for key, texts in wanted.items()]
    kept = [one if one > 0.5 else 0.0 for one in scores]  # there a similarity of exactly one half counts nothing
    assert sum(kept) / len(kept) == pytest.approx(json.loads((folder / "expected.json").read_text())["ANLS"])


@pytest.mark.parametrize(
    ("answer", "given", "official", "lavis"),
    [
        ("cup", ["cup"] * 6 + ["mug"] * 4, 1.0, 1.0),
        ("mug", ["cup"] * 6 + ["mug"] * 4, 1.0, 1.0),
        ("mug", ["cup"] * 7 + ["mug"] * 3, 0.9, 0.9),  # each of the three has two others beside him
        ("mug", ["cup"] * 9 + ["mug"], 0.3, 0.3),
        ("two", ["2"] * 10, 0.0, 1.0),  # the official scorer cleans nothing where all ten agree
        ("a cup", ["the cup"] * 6 + ["mug"] * 4, 1.0, 0.0),  # LAVIS leaves articles in people's answers
        ("dont know", ["don't know"] * 6 + ["no"] * 4, 1.0, 1.0),
        ("1,000", ["1000"] * 9 + ["1 thousand"], 1.0, 1.0),
        ("blue/green", ["blue green"] * 6 + ["blue"] * 4, 1.0, 1.0),
        ("U.S.A.", ["usa"] * 6 + ["u.s.a"] * 4, 1.0, 1.0),
        (" Red\n", ["red"] * 9 + ["pink"], 1.0, 1.0),
    ],
)
def test_vqa_accuracy_of_rows_where_its_variants_differ(answer, given, official, lavis):
    assert score("vqa", answer, *given) == pytest.approx(official)
    assert score("vqa_lavis", answer, *given) == pytest.approx(lavis)


def test_vqa_knows_every_contraction_of_the_original():
    assert len(CONTRACTIONS) == 114
    assert [CONTRACTIONS[word] for word in ("dont", "couldn'tve", "ow's'at", "somebody'd", "yall'd've")] == [
        "don't", "couldn't've", "'ow's'at", "somebodyd", "y'all'd've",
    ]  # fmt: skip
    assert clean_words(clean_punctuation("The wheres, an o'clock; ten.")) == "where's o'clock 10"


@pytest.mark.parametrize(
    ("answer", "label", "right", "parsed"),
    [
        ("No, there is not.", "no", 1, "no"),
        ("Yes.", "yes", 1, "yes"),
        ("yes. no", "yes", 1, "yes"),
        ("There is no cup", "no", 1, "no"),
        ("nope", "no", 0, None),  # POPE's rule takes everything else for a yes
        ("NO", "no", 0, None),
        ("", "yes", 1, None),
    ],
)
def test_pope_reads_no_before_the_first_full_stop_and_else_yes(answer, label, right, parsed):
    verdict = METRICS["pope"].judge(answer, Expecting((label,)))
    assert (verdict.score, verdict.parsed) == (right, parsed)


def test_anls_follows_the_competitions_scorer():
    assert score("anls", " New   York ", "new york") == 1 - 0 / 12
    assert score("anls", "abcd", "abxy") == 0.5  # exactly one half counts
    assert score("anls", "abcd", "awxy") == 0.0
    assert score("anls", "1,200", "1200", "1,200.00") == pytest.approx(0.8)
    assert score("edit_similarity", "abcd", "awxy") == 0.25
    assert similarity("", "") == 1.0
    assert edit_distance("kitten", "sitting") == 3


def test_relaxed_accuracy_takes_the_tolerance_of_the_truth_and_sphinx_of_the_answer():
    assert (score("relaxed", "105", "100"), score("relaxed", "105.1", "100")) == (1, 0)
    assert (score("relaxed_sphinx", "105.1", "100"), score("relaxed_sphinx", "94.9", "100")) == (1, 0)
    assert (score("relaxed", "62%", "0.62"), score("relaxed", "0", "0"), score("relaxed", "0.0", "0")) == (1, 1, 0)


def test_a_box_is_compared_in_the_picture_and_half_an_overlap_is_enough():
    true = (0.0, 0.0, 1.0, 0.5)
    asked = Expecting(expected_boxes=(true,))
    judge = METRICS["box_accuracy"].judge
    assert judge("It is at [0.00,0.00,0.50,0.50].", asked).score == 1  # IoU is exactly 0.5
    assert judge("[0.00,0.00,0.49,0.50]", asked).score == 0
    assert judge("nowhere", asked).parsed is None
    padded = Expecting(expected_boxes=(true,), origin=(0.0, 0.25))
    assert judge("[0.00,0.25,1.00,0.75]", padded).boxes == (true,)
    assert judge("[0.00,0.25,1.00,0.75]", padded).score == 1


@pytest.mark.parametrize(
    ("answer", "official", "sphinx"),
    [
        ("[0,0,1,0.5]", 1, 1),
        ("cup[1,2] [0,0,1,0.5]", 1, 0),  # only the first brackets count there
        ("[0,0,1,0.5;0,0,1,1]", 1, 0),
        ("[0,0,1,5e-1]", 0, 1),
        ("0,0,1,0.5]", 0, 1),  # without an opening bracket it reads on from the start
        ("[nan,0,1,1]", 0, 0),
        ("[1,0.5,0,0]", 0, 0),
    ],
)
def test_sphinx_reads_boxes_by_rules_of_its_own(answer, official, sphinx):
    asked = Expecting(expected_boxes=((0.0, 0.0, 1.0, 0.5),))
    assert METRICS["box_accuracy"].judge(answer, asked).score == official
    assert METRICS["box_accuracy_sphinx"].judge(answer, asked).score == sphinx


def test_iou_of_known_boxes():
    assert iou((0, 0, 2, 2), (1, 1, 3, 3)) == pytest.approx(1 / 7)
    assert iou((0, 0, 1, 1), (1, 0, 2, 1)) == 0
    assert iou((0, 0, 0, 1), (0, 0, 0, 1)) == 0


def test_detection_matches_each_true_box_once_and_counts_what_is_missing_or_too_much():
    boxes = ((0.0, 0.0, 0.2, 0.2), (0.5, 0.5, 0.7, 0.7))
    asked = question("1", "", expected_boxes=boxes)
    twice = predict(asked, "There are two cup[0.00,0.00,0.20,0.20;0.01,0.00,0.20,0.20] in the image.", METRICS["detection"])
    whole = predict(asked, "There are two cup[0.50,0.50,0.70,0.70;0.00,0.00,0.20,0.20] in the image.", METRICS["detection"])
    nothing = predict(asked, "There is no cup.", METRICS["detection"])
    assert [one.score for one in (twice, whole, nothing)] == [0.5, 1.0, 0.0]
    assert nothing.parsed is None
    assert METRICS["detection"].further([twice, whole, nothing]) == {"precision": 3 / 4, "recall": 3 / 6, "f1": 6 / 10}


def test_layout_needs_the_right_class_and_spotting_the_right_text():
    asked = Expecting(expected_boxes=((0, 0, 1, 0.5), (0, 0.5, 1, 1)), expected_labels=("text", "Title"))
    judge = METRICS["detection"].judge
    assert judge("There are text[0,0,1,0.5] and title[0,0.5,1,1] in the image.", asked).score == 1
    assert judge("There are title[0,0,1,0.5] and text[0,0.5,1,1] in the image.", asked).score == 0
    asked = Expecting(expected_boxes=((0, 0, 1, 0.5),), expected_labels=("Two cups, please",))
    assert METRICS["spotting"].judge("There is two cups, please[0,0,1,0.5] in the image.", asked).score == 1
    assert METRICS["spotting"].judge("There is cups, please[0,0,1,0.5] in the image.", asked).score == 0


def test_a_metric_is_found_again_by_the_words_of_a_result():
    assert len({metric.words for metric in METRICS.values()}) == len(METRICS)
    assert all(metric_in_words(metric.words) is metric for metric in METRICS.values())
    with pytest.raises(ContractError, match="run the evaluate step again"):
        metric_in_words("guessing")
