"""A conversation about pictures, streamed: what `model.chat` and the command line use."""

from collections.abc import Iterator, Sequence
from typing import Any

import torch
from PIL import Image

from .processing_sphinx_x import view_tensors


def stream_chat(
    model: Any,
    processor: Any,
    question: str,
    images: Sequence[Image.Image] = (),
    history: Sequence[tuple[str, str]] = (),
    max_new_tokens: int = 256,
) -> Iterator[str]:
    """Pieces of the answer as they are written; joined, they are the answer.

    Args:
        processor: the model's `SphinxXProcessor`.
        history: earlier (question, answer) turns about the same pictures.
    """
    views = [processor.image_processor.views(image) for image in images]
    ids = torch.tensor(processor.prompt_ids(views, history, question), device=model.device)
    tensors = {name: tensor.to(model.device) for name, tensor in view_tensors(views).items()}
    features = model.encode_views(**tensors) if tensors else None
    written: list[int] = []
    shown = ""
    for token in model.stream(ids, features, max_new_tokens, processor.stop_ids()):
        written.append(token)
        text = processor.tokenizer.decode_text(written).lstrip()
        # A character may be spread over several byte tokens; wait until it is whole.
        if not text.endswith("\ufffd"):
            yield text[len(shown) :]
            shown = text
    yield processor.tokenizer.decode_text(written).lstrip()[len(shown) :]
