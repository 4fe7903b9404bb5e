"""The pictures of a report: boxes lie where they belong, the choice is fair, and what evaluation saved is found."""

from collections import Counter

import pytest

from model import storage
from model.evaluate.pictures import shown_name
from model.evaluate.report import choose_shown, read_shown, render_report
from tests.support import report_inputs as make
from tests.support.html_page import Element, parse, section


def card(**fields) -> Element:
    return section(parse(render_report(make.report_input(shown=[make.shown(**fields)]))), "pictures").one("article")


def places(element: Element, class_: str) -> list[tuple[str | None, ...]]:
    return [tuple(rect.attributes[key] for key in ("x", "y", "width", "height")) for rect in element.all("rect", class_)]


def test_boxes_are_fractions_of_the_longest_edge_from_the_top_left_corner():
    wide = card(width_px=200, height_px=100, boxes=((0.1, 0.05, 0.5, 0.3),), expected_boxes=((0.25, 0.0, 0.5, 0.5),))
    picture = wide.one("svg").one("image").attributes
    assert (picture["x"], picture["y"], picture["width"], picture["height"]) == ("0", "0", "1000", "500")
    assert places(wide, "predicted") == [("100", "50", "400", "250")]
    assert places(wide, "expected") == [("250", "0", "250", "500")]


def test_a_centred_picture_and_its_boxes_move_together():
    wide = card(width_px=200, height_px=100, origin=(0.0, 0.25), boxes=((0.1, 0.05, 0.5, 0.3),))
    assert wide.one("svg").one("image").attributes["y"] == "250"
    assert places(wide, "predicted") == [("100", "300", "400", "250")]


def test_any_numbers_that_a_model_writes_can_be_drawn():
    drawn = places(card(boxes=((0.9, 0.8, 0.1, 0.2), (-1e9, 0.0, 1e9, float("nan")))), "predicted")
    assert drawn[0] == ("100", "200", "800", "600")
    assert all(abs(float(value)) <= 4000 for box in drawn for value in box if value is not None)


def test_predicted_and_expected_boxes_differ_in_more_than_colour():
    page = parse(render_report(make.report_input(shown=[make.shown(boxes=((0, 0, 1, 1),))])))
    style = page.one("style").text
    assert "stroke-dasharray" in style.split(".box.expected {")[1].split("}")[0]
    assert "stroke-dasharray" not in style.split(".box.predicted {")[1].split("}")[0]
    assert "box in the model's answer" in section(page, "pictures").one("ul", "legend").text


@pytest.mark.parametrize(
    ("score", "words"), [(1.0, "✓ right"), (0.0, "✗ wrong"), (0.6, "◐ scores 0.60"), (0.3, "◐ scores 0.30")]
)
def test_a_card_says_in_words_how_the_answer_was_judged(score, words):
    assert card(score=score).one("p", "card-head").text == f"find {words}"


def test_a_card_holds_question_answer_and_expected_answers_with_their_number():
    shown = card(question="What colour?", answer="red", expected=("red",) * 7 + ("dark red",) * 3, parsed="red")
    assert [pair.text for pair in shown.one("dl").all("dd")] == [
        "What colour?",
        "red",
        "red × 7, dark red × 3",
    ]


def test_an_answer_that_cannot_be_read_and_an_empty_one_say_so():
    assert "the scorer could read nothing in it" in card(answer="?", parsed=None).text
    assert "no words" in card(answer=" ").text


def test_a_flood_of_words_is_cut_and_counted():
    assert "(9,400 more characters)" in card(answer="x" * 10_000).text


def test_a_picture_has_a_text_for_those_who_cannot_see_it():
    svg = card(boxes=((0, 0, 1, 1),), expected_boxes=((0, 0, 1, 1), (0, 0, 0.5, 0.5))).one("svg", "picture")
    words = "Picture of question find/0 of find, 40 by 20 pixels, with 1 box in the answer and 2 expected boxes drawn"
    assert (svg.attributes["role"], svg.all("title")[0].text) == ("img", words)


def rows_of(benchmark: str, right: int, wrong: int) -> list:
    scores = [1.0] * right + [0.0] * wrong
    return [make.prediction(n, score, question_id=f"{benchmark}/{n}") for n, score in enumerate(scores)]


def test_benchmarks_take_turns_and_each_shows_right_and_wrong():
    asked = {
        "sure": rows_of("sure", 23, 1),
        "even": rows_of("even", 12, 12),
        "lost": rows_of("lost", 1, 23),
        "all": rows_of("all", 24, 0),
    }
    chosen = choose_shown(asked, 20)
    assert Counter(name for name, _ in chosen) == dict.fromkeys(asked, 5)
    right = Counter(name for name, row in chosen if row.score == 1)
    assert right == {"sure": 4, "even": right["even"], "lost": 1, "all": 5}
    assert right["even"] in (2, 3)


def test_the_choice_is_the_same_whatever_the_order_of_the_predictions():
    asked = rows_of("a", 30, 30)
    assert choose_shown({"a": asked}) == choose_shown({"a": asked[::-1]})


def test_few_questions_are_all_shown_once():
    asked = {"a": rows_of("a", 2, 1), "b": rows_of("b", 0, 2), "c": []}
    chosen = [row.question_id for _, row in choose_shown(asked, 20)]
    assert sorted(chosen) == ["a/0", "a/1", "a/2", "b/0", "b/1"]


def test_only_questions_with_a_saved_picture_are_shown_and_their_size_is_read(tmp_path):
    asked = [make.prediction(n) for n in range(10)]
    storage.write_text(f"{tmp_path}/find/predictions.jsonl", "".join(f"{row.model_dump_json()}\n" for row in asked))
    for row in asked[3:6]:
        storage.write_bytes(f"{tmp_path}/find/pictures/{shown_name(row.question_id)}.jpg", make.jpeg(64, 32))
    shown = read_shown({"find": f"{tmp_path}/find", "text-only": f"{tmp_path}/nothing"})
    assert sorted(one.prediction.question_id for one in shown) == ["find/3", "find/4", "find/5"]
    assert {(one.benchmark, one.width_px, one.height_px) for one in shown} == {("find", 64, 32)}
