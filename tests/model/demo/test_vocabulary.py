"""Nano's vocabulary: few tokens for what the demo says, and any other text comes back unchanged."""

from pathlib import Path

import pytest

from model.data.prompts import short_question
from model.demo.vocabulary import COORDINATES, NUM_PIECES, PHRASES, dialogue_texts, train_vocabulary
from model.sphinx_x.dialogue import STOP, SYSTEM, encode_dialogue
from model.sphinx_x.pieces import Pieces
from model.variants import VARIANTS


@pytest.fixture(scope="module")
def pieces(tmp_path_factory) -> Pieces:
    file = tmp_path_factory.mktemp("vocabulary") / "tokenizer.model"
    file.write_bytes(train_vocabulary(dialogue_texts(3), PHRASES))
    return Pieces(str(file))


def test_it_has_as_many_pieces_as_nano_has_words(pieces):
    assert pieces.num_pieces == NUM_PIECES == VARIANTS["nano"].language.vocab


def test_the_same_texts_give_the_same_bytes():
    assert train_vocabulary(dialogue_texts(3), PHRASES) == train_vocabulary(dialogue_texts(3), PHRASES)


@pytest.mark.parametrize("text", ["a cat's tail, née Müller\n\n", " two  spaces", "数学 0.123 [0.1,0.2]", SYSTEM])
def test_any_text_comes_back_unchanged(pieces, text):
    assert pieces.decode_text(pieces.encode_text(text)) == text


def test_a_coordinate_and_a_fixed_phrase_are_one_token_each(pieces):
    for text in (*COORDINATES, SYSTEM, STOP, f"?{short_question('')}\n### Assistant:"):
        assert len(pieces.encode_text(text)) == 1, text


def test_a_question_and_its_answer_are_five_tokens(pieces):
    turns = [(short_question("What color is the ring?"), "green", True)] * 2
    ends = encode_dialogue(pieces.encode_text, turns, pieces.bos_id).turn_ends
    assert ends[1] - ends[0] == 5


def test_the_repository_holds_no_vocabulary():
    assert not list(Path("model/demo").rglob("*.model"))
