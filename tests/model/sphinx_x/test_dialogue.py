"""The template to the letter, and exactly the answers supervised, for every kind of tokenizer."""

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from model.sphinx_x.dialogue import STOP, dialogue_text, encode_dialogue, encode_prompt, stop_ids
from tests.model.sphinx_x.tiny_tokenizers import KINDS, tiny_pieces

GOLDEN = (
    "A chat between a curious human and an artificial intelligence assistant. "
    "The assistant gives helpful, detailed, and polite answers to the human's questions.\n\n###"
    " Human: Is it red?\n### Assistant: Yes.\n###"
    " Human: Where is it?\n### Assistant: [0.10,0.20,0.30,0.40]\n###"
)
TURNS = [("Is it red?", "Yes.", True), ("Where is it?", "[0.10,0.20,0.30,0.40]", True)]
texts = st.text(st.characters(codec="utf-8", exclude_characters="\u2581\x00"), max_size=30)


def test_the_text_is_the_originals_to_the_letter() -> None:
    assert dialogue_text([(question, answer) for question, answer, _ in TURNS]) == GOLDEN


@pytest.mark.parametrize("kind", KINDS)
def test_the_tokens_are_the_text(kind: str) -> None:
    pieces = tiny_pieces(kind)
    encoded = encode_dialogue(pieces.encode_text, TURNS, pieces.bos_id)
    assert encoded.ids[0] == pieces.bos_id
    assert pieces.decode_text(encoded.ids) == GOLDEN


@pytest.mark.parametrize("kind", ["dummy prefix", "no dummy prefix"])
@given(st.lists(st.tuples(texts, texts), min_size=1, max_size=3))
@settings(max_examples=60, deadline=None)
def test_piece_by_piece_is_the_whole_text_at_once(kind: str, turns: list[tuple[str, str]]) -> None:
    """As the original tokenises it; what this project must not change for Llama's vocabulary."""
    pieces = tiny_pieces(kind)
    encoded = encode_dialogue(pieces.encode_text, [(question, answer, True) for question, answer in turns], pieces.bos_id)
    assert encoded.ids[1:] == pieces.processor.encode(dialogue_text(turns))


@pytest.mark.parametrize("kind", KINDS)
def test_exactly_the_answers_and_their_end_marks_are_supervised(kind: str) -> None:
    pieces = tiny_pieces(kind)
    encoded = encode_dialogue(pieces.encode_text, TURNS, pieces.bos_id)
    spans, start = [], 0
    for place in range(1, len(encoded.ids) + 1):
        if place == len(encoded.ids) or encoded.supervised[place] != encoded.supervised[start]:
            if encoded.supervised[start]:
                spans.append(pieces.processor.decode(encoded.ids[start:place]).strip(" "))
            start = place
    assert spans == [f"Yes.{STOP}", f"[0.10,0.20,0.30,0.40]{STOP}"]
    assert not encoded.supervised[0]


@pytest.mark.parametrize("kind", KINDS)
def test_a_turn_ends_where_a_shorter_dialogue_would(kind: str) -> None:
    pieces = tiny_pieces(kind)
    whole = encode_dialogue(pieces.encode_text, TURNS, pieces.bos_id)
    first = encode_dialogue(pieces.encode_text, TURNS[:1], pieces.bos_id)
    assert whole.turn_ends == [len(first.ids), len(whole.ids)]
    assert whole.ids[: len(first.ids)] == first.ids
    assert whole.supervised[: len(first.ids)] == first.supervised


@pytest.mark.parametrize("kind", KINDS)
def test_an_unsupervised_turn_is_read_and_not_learnt(kind: str) -> None:
    pieces = tiny_pieces(kind)
    turns = [("Is it red?", "No.", False), ("Is it blue?", "Yes.", True)]
    encoded = encode_dialogue(pieces.encode_text, turns, pieces.bos_id)
    assert not any(encoded.supervised[: encoded.turn_ends[0]])
    assert any(encoded.supervised[encoded.turn_ends[0] :])


@pytest.mark.parametrize("kind", KINDS)
def test_a_prompt_is_the_dialogue_up_to_where_the_answer_begins(kind: str) -> None:
    pieces = tiny_pieces(kind)
    encoded = encode_dialogue(pieces.encode_text, TURNS, pieces.bos_id)
    prompt = encode_prompt(pieces.encode_text, [TURNS[0][:2]], TURNS[1][0], pieces.bos_id)
    assert encoded.ids[: len(prompt)] == prompt
    assert encoded.supervised[len(prompt)]
    assert not encoded.supervised[len(prompt) - 1]


@pytest.mark.parametrize("kind", KINDS)
@pytest.mark.parametrize("answer", ["Yes.", "3", "[0.10,0.20]", "", "two\nlines.", "naïve ☃", "a list:"])
def test_every_answer_ends_in_the_same_tokens(kind: str, answer: str) -> None:
    pieces = tiny_pieces(kind)
    mark = list(stop_ids(pieces.encode_text))
    encoded = encode_dialogue(pieces.encode_text, [("?", answer, True)], pieces.bos_id)
    assert encoded.ids[-len(mark) :] == mark
    assert pieces.decode_text(encoded.ids).endswith(f" Assistant: {answer}{STOP}")


def test_a_vocabulary_that_cannot_end_an_answer_is_refused() -> None:
    with pytest.raises(ValueError, match="joins the end mark"):
        stop_ids(lambda text: [len(text)])


def test_bytes_of_an_unfinished_character_and_placeholders_decode_to_no_error() -> None:
    pieces = tiny_pieces("dummy prefix")
    snowman = pieces.encode_text("☃")
    assert pieces.decode_text(snowman[:-1]).endswith("\ufffd")
    assert pieces.decode_text([-1, -2, pieces.num_pieces + 5, *pieces.encode_text("red")]) == "red"
