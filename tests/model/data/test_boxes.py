"""Boxes as text: written from pixels, cleaned, read back."""

import pytest
from hypothesis import given
from hypothesis import strategies as st

from model.data.boxes import BoxFault, box_numbers, box_text, boxes_text, parse_boxes, place_box

edges_px = st.integers(1, 4000)


def test_numbers_are_fractions_of_the_longest_edge_from_the_top_left_corner():
    assert box_text((100, 50, 200, 100), 400, 200, "corner") == "[0.25,0.12,0.50,0.25]"
    assert box_text((50, 100, 100, 200), 200, 400, "corner") == "[0.12,0.25,0.25,0.50]"


def test_centre_padding_moves_boxes_along_the_short_side():
    assert box_text((0, 0, 400, 200), 400, 200, "centre") == "[0.00,0.25,1.00,0.75]"
    assert box_text((0, 0, 200, 400), 200, 400, "centre") == "[0.25,0.00,0.75,1.00]"


def test_a_box_past_the_edge_is_clipped():
    assert box_text((-30, -1, 500, 500), 400, 200, "corner") == "[0.00,0.00,1.00,0.50]"


@pytest.mark.parametrize(
    ("box_px", "reason", "by_rule"),
    [
        ((10, 10, 10, 20), "box without area", False),
        ((30, 10, 20, 20), "box without area", False),
        ((500, 10, 600, 20), "box outside the picture", False),
        ((float("nan"), 0, 1, 1), "box not numeric", False),
        ((1, 2, 3), "box not numeric", False),
        ((10, 10, 10.5, 20), "box under one pixel", True),
        ((399.5, 10, 410, 20), "box under one pixel", True),
        ((100.4, 10, 101.6, 90), "box vanishes at two decimals", True),
    ],
)
def test_what_is_no_box_is_refused_with_its_reason(box_px, reason, by_rule):
    with pytest.raises(BoxFault) as caught:
        box_text(box_px, 400, 200, "corner")
    assert (caught.value.reason, caught.value.by_rule) == (reason, by_rule)


def test_a_small_text_is_widened_rather_than_lost():
    assert box_numbers((100.4, 10, 101.6, 90), 400, 200, "corner", widen_small=True) == "0.25,0.03,0.26,0.23"


@given(width=edges_px, height=edges_px, data=st.data(), padding=st.sampled_from(["corner", "centre"]), widen=st.booleans())
def test_what_is_written_is_read_back_within_rounding(width, height, data, padding, widen):
    inside = st.floats(-10, max(width, height) + 10, allow_nan=False)
    box_px = tuple(data.draw(inside) for _ in range(4))
    try:
        text = f"[{box_numbers(box_px, width, height, padding, widen)}]"
    except BoxFault:
        return
    (read,) = parse_boxes(text)
    assert read == pytest.approx(place_box(box_px, width, height, padding), abs=0.01001)
    assert all(0 <= value <= 1 for value in read)
    assert read[0] < read[2]
    assert read[1] < read[3]


def test_several_boxes_share_one_pair_of_brackets():
    text = boxes_text(["0.10,0.20,0.30,0.40", "0.50,0.60,0.70,0.80"])
    assert text == "[0.10,0.20,0.30,0.40;0.50,0.60,0.70,0.80]"
    assert parse_boxes(f"two cup{text} and a hat[ 0.1, 0.1, 0.2, 0.2 ]") == [
        (0.1, 0.2, 0.3, 0.4),
        (0.5, 0.6, 0.7, 0.8),
        (0.1, 0.1, 0.2, 0.2),
    ]


@pytest.mark.parametrize(
    "text", ["", "[]", "[0.1,0.2]", "[a,b,c,d]", "[0.1,0.2,0.3,0.4", "[0.1,0.2,0.3,0.4,0.5]", "[1e5,0,0,1]"]
)
def test_what_is_no_box_is_read_as_none(text):
    assert parse_boxes(text) == []


def test_reading_a_hostile_answer_takes_no_time():
    assert parse_boxes("[" * 200_000 + "0.1," * 100_000) == []
    assert parse_boxes("[" + " " * 19_000 + "]") == []
