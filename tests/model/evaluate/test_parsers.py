"""Whatever a model says, a judge gives a score; and it reads back what the training data says."""

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from model.data.boxes import parse_boxes
from model.data.prompts import detection_answer, layout_answer, spotting_answer
from model.evaluate.scores import METRICS
from model.evaluate.scores.anls import edit_distance, similarity
from model.evaluate.scores.labelled import parse_labelled_boxes
from tests.model.evaluate.asking import question

LIKELY = st.lists(
    st.sampled_from([*"[]();,.%-' \n0159", "0.25", "yes", "no", "There are two ", "cup", " and ", "[0.1,0.2,0.3,0.4]"])
)
ANSWERS = st.one_of(st.text(max_size=200), LIKELY.map("".join))
SIDES = st.integers(0, 99)
NUMBERS = st.tuples(SIDES, SIDES).map(lambda at: f"{at[0] / 100:.2f},{at[1] / 100:.2f},1.00,1.00")
CLASSES = st.sampled_from(["cup", "dining table", "text", "list", "person in white"])
NO_NUMBERS = ("nan", "inf", "infinity")
"""The original of the relaxed accuracy reads these as numbers, and then finds them unequal to themselves."""
TEXTS = st.text(st.characters(codec="ascii", exclude_characters="[]", categories=("L", "N", "P")), min_size=1, max_size=12)


@pytest.mark.parametrize("metric", METRICS.values(), ids=METRICS)
@given(answer=ANSWERS)
@settings(max_examples=60, deadline=None)
def test_any_answer_has_a_score_between_nought_and_one(metric, answer):
    asked = question("1", *["yes"] * 6, *["cup"] * 4, expected_boxes=((0.1, 0.2, 0.3, 0.4),), expected_labels=("cup",))
    assert 0 <= metric.judge(answer, asked).score <= 1


@pytest.mark.parametrize("name", ["exact_match", "exact_match_sphinx", "anls", "edit_similarity", "relaxed", "relaxed_sphinx"])
@given(
    text=st.text(min_size=1, max_size=60).filter(lambda text: text.strip(" .") and text.strip(" +-.").lower() not in NO_NUMBERS)
)
@settings(max_examples=60, deadline=None)
def test_an_answer_equal_to_the_accepted_text_is_right(name, text):
    text = text.strip()
    assert METRICS[name].judge(text, question("1", text)).score == 1


@given(boxes=st.lists(NUMBERS, min_size=1, max_size=30, unique=True), name=CLASSES)
def test_all_boxes_of_a_class_are_read_back(boxes, name):
    listed = parse_labelled_boxes(detection_answer(name, boxes), counted=True)
    assert listed == [(name, box) for numbers in boxes for box in parse_boxes(f"[{numbers}]")]


@given(regions=st.dictionaries(CLASSES, st.lists(NUMBERS, min_size=1, max_size=4, unique=True), min_size=1))
def test_all_regions_of_a_page_are_read_back_with_their_class(regions):
    listed = parse_labelled_boxes(layout_answer(regions), counted=True)
    wanted = [(name, box) for name, boxes in regions.items() for numbers in boxes for box in parse_boxes(f"[{numbers}]")]
    assert sorted(listed) == sorted(wanted)


@given(lines=st.lists(st.tuples(TEXTS.filter(lambda text: text[0] not in ","), NUMBERS), min_size=1, max_size=8))
def test_all_texts_are_read_back_with_their_box(lines):
    listed = parse_labelled_boxes(spotting_answer(lines), counted=False)
    assert listed == [(text, parse_boxes(f"[{numbers}]")[0]) for text, numbers in lines]


def test_a_text_with_brackets_and_commas_stays_whole():
    answer = "There are [A] TOTAL, RM[0.10,0.10,0.20,0.20] and 2 x tea[0.10,0.30,0.20,0.40] in the image."
    assert [text for text, _ in parse_labelled_boxes(answer, counted=False)] == ["[A] TOTAL, RM", "2 x tea"]


@given(st.text("abc ", max_size=70), st.text("abc ", max_size=70))
def test_the_edit_distance_is_that_of_the_table(first, second):
    row = list(range(len(second) + 1))
    for place, letter in enumerate(first, start=1):
        above, row = row, [place]
        for column, other in enumerate(second, start=1):
            row.append(min(above[column - 1] + (letter != other), above[column] + 1, row[-1] + 1))
    assert edit_distance(first, second) == row[-1]


@given(st.text(max_size=40), st.text(max_size=40))
@settings(deadline=None)
def test_similarity_lies_between_nought_and_one(first, second):
    assert 0 <= similarity(first, second) <= 1
