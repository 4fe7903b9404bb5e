"""Nano's tokenizer: a SentencePiece BPE of 1,024 pieces, trained on the demo's own dialogue text.

Coordinates, line breaks and the fixed phrases of the dialogue template and the prompts are pieces of their own: in so small a
vocabulary they would otherwise be most of a sample's tokens, and a coordinate would be four.
"""

import io
from collections.abc import Iterable, Sequence

NUM_PIECES = 1024
COORDINATES = tuple(f"{value / 100:.2f}" for value in range(101))
_SPACE = "\u2581"


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
