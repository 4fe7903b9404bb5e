"""Text to ids and back, by SentencePiece itself: its ids are the published backbones' by definition. No torch, no transformers."""

import sentencepiece


class Pieces:
    """A `tokenizer.model` file.

    Args:
        file: path of the SentencePiece model.
    """

    def __init__(self, file: str):
        self.processor = sentencepiece.SentencePieceProcessor(model_file=str(file))
        self._adds_dummy_prefix = self.processor.encode("a", out_type=str)[0].startswith("\u2581")
        self.bos_id: int = self.processor.bos_id()
        self.eos_id: int = self.processor.eos_id()
        self.num_pieces: int = self.processor.get_piece_size()

    def encode_text(self, text: str) -> list[int]:
        """Ids of a piece of a dialogue, without BOS.

        Llama's SentencePiece puts a space before every text; a piece that starts with one must not get a second.
        """
        if not self._adds_dummy_prefix or not text.startswith(" "):
            return self.processor.encode(text)
        # Nothing gets no space before it, so a lone space (an empty answer) is written out.
        return self.processor.encode(text[1:]) if text != " " else [self.processor.piece_to_id("\u2581")]

    def decode_text(self, ids: list[int]) -> str:
        """Text of ids; bytes that are no character yet come as U+FFFD, ids that are no piece as nothing."""
        return self.processor.decode([i for i in ids if 0 <= i < self.num_pieces])
