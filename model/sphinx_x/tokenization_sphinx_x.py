"""The tokenizer of every size: a thin face over SentencePiece, whose ids it gives by definition.

The published backbones all ship `tokenizer.model`. Converting it to another tokenizer library changes some ids (leading spaces,
BOS), so it is not converted. transformers sees a `PreTrainedTokenizer`; the project itself calls `encode_text`.
"""

import shutil
from pathlib import Path
from typing import Any

from transformers import PreTrainedTokenizer

from .pieces import Pieces

VOCAB_FILE = "tokenizer.model"


class SphinxXTokenizer(PreTrainedTokenizer):
    """SentencePiece with BOS first; pad is EOS, as InternLM2 has it."""

    vocab_files_names = {"vocab_file": VOCAB_FILE}
    model_input_names = ["input_ids", "attention_mask"]

    def __init__(self, vocab_file: str, **kwargs: Any):
        self.vocab_file = str(vocab_file)
        text = Pieces(self.vocab_file)
        self.pieces = text.processor
        self.encode_text, self.decode_text = text.encode_text, text.decode_text
        piece = self.pieces.id_to_piece
        kwargs.setdefault("bos_token", piece(text.bos_id))
        kwargs.setdefault("eos_token", piece(text.eos_id))
        kwargs.setdefault("unk_token", piece(self.pieces.unk_id()))
        kwargs.setdefault("pad_token", piece(text.eos_id))
        kwargs.setdefault("padding_side", "left")
        super().__init__(**kwargs)

    @property
    def vocab_size(self) -> int:
        return self.pieces.get_piece_size()

    def get_vocab(self) -> dict[str, int]:
        return {self.pieces.id_to_piece(i): i for i in range(self.vocab_size)} | self.added_tokens_encoder

    def _tokenize(self, text: str, **kwargs: Any) -> list[str]:
        return self.pieces.encode(text, out_type=str)

    def _convert_token_to_id(self, token: str) -> int:
        return self.pieces.piece_to_id(token)

    def _convert_id_to_token(self, index: int) -> str:
        return self.pieces.id_to_piece(index)

    def convert_tokens_to_string(self, tokens: list[str]) -> str:
        return self.pieces.decode(tokens)

    def build_inputs_with_special_tokens(self, token_ids_0: list[int], token_ids_1: list[int] | None = None) -> list[int]:
        return [self.pieces.bos_id(), *token_ids_0, *(token_ids_1 or [])]

    def save_vocabulary(self, save_directory: str, filename_prefix: str | None = None) -> tuple[str]:
        target = Path(save_directory) / ((f"{filename_prefix}-" if filename_prefix else "") + VOCAB_FILE)
        if Path(self.vocab_file).resolve() != target.resolve():
            shutil.copyfile(self.vocab_file, target)
        return (str(target),)
