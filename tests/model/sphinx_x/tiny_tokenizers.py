"""SentencePiece models trained in a second: Llama's kind (a space before every text) and the kind without it."""

import functools
import io
import tempfile
from pathlib import Path

import sentencepiece

from model.sphinx_x.dialogue import dialogue_text
from model.sphinx_x.pieces import Pieces

KINDS = ("dummy prefix", "no dummy prefix", "joins the newline")
_TEXT = dialogue_text(
    [("What colour is the small triangle?", "The triangle is red."), ("Where is it?", "[0.25,0.50,0.75,1.00]")]
)


@functools.cache
def tokenizer_file(kind: str) -> str:
    """Path of a `tokenizer.model`.

    Args:
        kind: one of `KINDS`; the last has a piece ".\\n", as vocabularies made like GPT-4's have.
    """
    model = io.BytesIO()
    sentencepiece.SentencePieceTrainer.train(
        sentence_iterator=iter(line for line in _TEXT.split("\n") for _ in range(20)),
        model_writer=model, vocab_size=420, model_type="bpe", byte_fallback=True, character_coverage=1.0, minloglevel=2,
        normalization_rule_name="identity", remove_extra_whitespaces=False, add_dummy_prefix=kind == "dummy prefix",
        user_defined_symbols=[".\n"] if kind == "joins the newline" else [], hard_vocab_limit=False,
    )  # fmt: skip
    folder = Path(tempfile.mkdtemp(prefix="sphinx-x-tokenizer-"))
    (folder / "tokenizer.model").write_bytes(model.getvalue())
    return str(folder / "tokenizer.model")


def tiny_pieces(kind: str) -> Pieces:
    return Pieces(tokenizer_file(kind))
