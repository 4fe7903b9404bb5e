"""Nano's tokenizer: a SentencePiece BPE of 832 pieces, trained on the demo's own dialogue text.

Coordinates, line breaks and the fixed phrases of the dialogue template and the prompts are pieces of their own: in so small a
vocabulary they would otherwise be most of a sample's tokens, and a coordinate would be four.
"""

import io
from collections.abc import Iterable, Iterator, Sequence

import numpy as np

from model.data.prompts import (
    REFERRING,
    SHORT_ANSWER,
    SPOTTING,
    detection_answer,
    detection_question,
    referring_question,
    short_question,
    spotting_answer,
)
from model.demo.dialogues import instruction_turns, text_dialogues
from model.demo.questions import COUNTING, READING, all_questions, expressions
from model.demo.scenes import make_scene
from model.sphinx_x.dialogue import STOP, SYSTEM, dialogue_text

NUM_PIECES = 832
COORDINATES = tuple(f"{comma}{value / 100:.2f}" for comma in ("", ",") for value in range(101))
_ASKS, _ANSWERS = " Human: ", "\n### Assistant:"
_SHORT = SHORT_ANSWER.removeprefix("{}")
PHRASES = (
    SYSTEM,
    STOP,
    _ANSWERS,
    f"?{_SHORT}{_ANSWERS}",
    f"{_ASKS}{SPOTTING}{_ANSWERS}",
    f"{_ASKS}{REFERRING.removesuffix(' {}.')}",
    f".{_ANSWERS}",
    f"{_ASKS}Detect all",
    f" shown in the image.{_ANSWERS}",
    " There is a",
    " in the image.",
    f"{_ASKS}What color is the",
    f"{_ASKS}What shape is",
    f"{_ASKS}{COUNTING.removesuffix('?')}",
    f"{_ASKS}{READING.removesuffix('?')}",
    f"{_ASKS}Is there a",
    f" in the image?{_SHORT}{_ANSWERS}",
    _ASKS.rstrip(),
    " [",
    "[",
    "]",
)
"""Text that comes as one piece. A border lies where the template's pieces meet, and the end mark is never joined to anything."""
_SPACE = "\u2581"
_TEXT_SCENES = 300


def train_vocabulary(texts: Iterable[str], phrases: Sequence[str]) -> bytes:
    """Train the BPE and return the bytes of its `tokenizer.model`.

    Ids: 0 unknown, 1 start, 2 end; no padding id; bytes as a last resort, so that any text comes back unchanged. The same
    texts and phrases give the same bytes.
    """
    import sentencepiece

    model = io.BytesIO()
    sentencepiece.SentencePieceTrainer.train(
        sentence_iterator=iter(texts),
        model_writer=model,
        model_type="bpe",
        vocab_size=NUM_PIECES,
        normalization_rule_name="identity",
        character_coverage=1.0,
        byte_fallback=True,
        remove_extra_whitespaces=False,
        add_dummy_prefix=False,
        user_defined_symbols=["\n", *COORDINATES, *(phrase.replace(" ", _SPACE) for phrase in phrases)],
        unk_id=0,
        bos_id=1,
        eos_id=2,
        pad_id=-1,
        num_threads=1,
        minloglevel=2,
    )
    return model.getvalue()


def dialogue_texts(scene_seed: int) -> Iterator[str]:
    """Dialogues of every kind that the demo trains on, in the template."""
    for index in range(_TEXT_SCENES):
        scene = make_scene(scene_seed, index)
        rng = np.random.default_rng([scene_seed, index])
        yield dialogue_text((short_question(asked.question), asked.answer) for asked in all_questions(scene, rng))
        yield dialogue_text(
            (referring_question(said), "[0.10,0.20,0.30,0.40]") for t in scene.things for said in expressions(t)
        )
        detected = [(detection_question(t.shape), detection_answer(t.shape, ["0.10,0.20,0.30,0.40"])) for t in scene.things]
        yield dialogue_text([*detected, (SPOTTING, spotting_answer([(scene.word.text, "0.10,0.20,0.30,0.40")]))])
        yield dialogue_text(instruction_turns(scene, rng))
    for said in text_dialogues():
        yield dialogue_text(zip(said[::2], said[1::2], strict=True))
