"""The dialogue template, token by token: what the model reads, and which tokens it must learn to write.

The text is the original's `conv_v1` to the letter. It is tokenised piece by piece, so the loss mask is known from how the text
was built; nothing is ever searched for in it. A piece border lies before a space, where SentencePiece never joins, or before the
end mark, which is always the same tokens: in a vocabulary with a piece like ".\n" it would else hide in the answer's last token,
and generation would not stop there. For Llama's vocabulary both ways are the same, token by token.
"""

from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass
from functools import lru_cache

SYSTEM = (
    "A chat between a curious human and an artificial intelligence assistant. "
    "The assistant gives helpful, detailed, and polite answers to the human's questions.\n\n###"
)
STOP = "\n###"
"""What ends an answer; the model writes it and generation stops there."""
TEMPLATE_ID = "conv_v1"
"""Part of every digest that depends on the template."""

Encode = Callable[[str], list[int]]


@dataclass(frozen=True)
class EncodedDialogue:
    """A dialogue as tokens, without its pictures (they go right after the first token)."""

    ids: list[int]
    """Starts with BOS."""
    supervised: list[bool]
    """Per token: whether the loss counts it."""
    turn_ends: list[int]
    """Per turn: number of tokens up to its end, where a long dialogue may be cut."""


@lru_cache(maxsize=8)
def system_ids(encode: Encode) -> tuple[int, ...]:
    """Tokens of the system sentence, which every dialogue begins with."""
    return tuple(encode(SYSTEM))


@lru_cache(maxsize=8)
def stop_ids(encode: Encode) -> tuple[int, ...]:
    """Tokens of the end mark, as they stand after every answer.

    Raises:
        ValueError: the vocabulary has no way to write the mark after a letter.
    """
    letter, both = encode(" a"), encode(f" a{STOP}")
    if both[: len(letter)] != letter:
        raise ValueError(f"this vocabulary joins the end mark {STOP!r} to a letter before it; use another tokenizer.model")
    return tuple(both[len(letter) :])


def encode_dialogue(encode: Encode, turns: Iterable[tuple[str, str, bool]], bos_id: int) -> EncodedDialogue:
    """Tokens of turns (question, answer, supervised); an answer's tokens and its end mark are supervised."""
    ids = [bos_id, *system_ids(encode)]
    stop = stop_ids(encode)
    supervised = [False] * len(ids)
    turn_ends = []
    for question, answer, counts in turns:
        asked = encode(_asked(question))
        answered = [*encode(f" {answer}"), *stop]
        ids += asked + answered
        supervised += [False] * len(asked) + [counts] * len(answered)
        turn_ends.append(len(ids))
    return EncodedDialogue(ids, supervised, turn_ends)


def encode_prompt(encode: Encode, history: Sequence[tuple[str, str]], question: str, bos_id: int) -> list[int]:
    """Tokens up to the point where the model answers: earlier (question, answer) turns and one open question."""
    past = encode_dialogue(encode, ((asked, answer, False) for asked, answer in history), bos_id)
    return past.ids + encode(_asked(question))


def dialogue_text(turns: Iterable[tuple[str, str]]) -> str:
    """The template as text, for people and for training a tokenizer."""
    return SYSTEM + "".join(f"{_asked(question)} {answer}{STOP}" for question, answer in turns)


def _asked(question: str) -> str:
    return f" Human: {question}\n### Assistant:"
