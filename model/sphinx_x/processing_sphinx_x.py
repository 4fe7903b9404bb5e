"""Pictures and dialogue to the tensors that `forward` and `generate` take, and token ids back to text."""

from collections.abc import Sequence
from typing import Any

import torch
from PIL import Image
from transformers import BatchFeature, ProcessorMixin

from .dialogue import encode_prompt, stop_ids
from .image_processing_sphinx_x import Views
from .views import picture_ids


class SphinxXProcessor(ProcessorMixin):
    """`processor(images, text)` for a batch of questions, each about any number of pictures (none for text only)."""

    attributes = ["image_processor", "tokenizer"]
    image_processor_class = "AutoImageProcessor"
    tokenizer_class = "AutoTokenizer"

    def __init__(self, image_processor: Any = None, tokenizer: Any = None, **kwargs: Any):
        super().__init__(image_processor, tokenizer, **kwargs)

    def __call__(
        self,
        images: Image.Image | Sequence[Image.Image | Sequence[Image.Image]] | None = None,
        text: str | Sequence[str] | None = None,
        histories: Sequence[Sequence[tuple[str, str]]] | None = None,
        **kwargs: Any,
    ) -> BatchFeature:
        """
        Args:
            images: one entry a question: a picture or a list of pictures; a single picture for a single question.
            text: the questions.
            histories: earlier (question, answer) turns of each question.

        Returns:
            input_ids and attention_mask [B, T] padded at the left; conv_views and vit_views of all pictures, if there are any.
        """
        assert text is not None, "give the question as text="
        questions = [text] if isinstance(text, str) else list(text)
        if images is None:
            per_question: list[list[Image.Image]] = [[] for _ in questions]
        elif isinstance(images, Image.Image):
            per_question = [[images]]
        else:
            per_question = [[entry] if isinstance(entry, Image.Image) else list(entry) for entry in images]
        if len(per_question) != len(questions):
            raise ValueError(f"{len(questions)} questions but pictures for {len(per_question)}; give one entry a question.")
        views = [[self.image_processor.views(picture) for picture in pictures] for pictures in per_question]
        past = histories or [()] * len(questions)
        rows = [self.prompt_ids(*one) for one in zip(views, past, questions, strict=True)]
        return BatchFeature(self._padded(rows) | view_tensors([view for group in views for view in group]))

    def prompt_ids(self, views: Sequence[Views], history: Sequence[tuple[str, str]], question: str) -> list[int]:
        """Token ids of one prompt with placeholders for its pictures."""
        ids = encode_prompt(self.tokenizer.encode_text, history, question, self.tokenizer.bos_token_id)
        placeholders = [id for view in views for id in picture_ids(view.kept, self.image_processor.conv_px)]
        return [ids[0], *placeholders, *ids[1:]]

    def stop_ids(self) -> list[int]:
        """Tokens that end an answer, besides EOS."""
        return list(stop_ids(self.tokenizer.encode_text))

    def decode_answer(self, ids: Sequence[int]) -> str:
        """Text of generated ids, without padding and surrounding space."""
        eos = self.tokenizer.eos_token_id
        return self.tokenizer.decode_text([int(i) for i in ids if int(i) != eos]).strip()

    def batch_decode(self, rows: Any, **kwargs: Any) -> list[str]:
        return [self.decode_answer(row) for row in rows]

    def _padded(self, rows: list[list[int]]) -> dict[str, torch.Tensor]:
        width = max(len(row) for row in rows)
        pad = self.tokenizer.pad_token_id
        return {
            "input_ids": torch.tensor([[pad] * (width - len(row)) + row for row in rows]),
            "attention_mask": torch.tensor([[0] * (width - len(row)) + [1] * len(row) for row in rows]),
        }


def view_tensors(views: Sequence[Views]) -> dict[str, torch.Tensor]:
    """uint8 tensors of several pictures' views, one after the other; nothing without pictures."""
    if not views:
        return {}
    return {
        "conv_views": torch.cat([torch.from_numpy(view.conv) for view in views]),
        "vit_views": torch.cat([torch.from_numpy(view.vit) for view in views]),
    }
