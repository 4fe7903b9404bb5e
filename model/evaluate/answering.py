"""A model that answers many questions about many pictures: each picture is encoded once, each prompt's beginning runs once.

The template puts BOS, the picture and the system sentence before the question, so their keys and values are made once a picture and
are exact for every question about it (`model/sphinx_x/generation.py`). Questions are answered in batches of similar length. Decoding is
greedy. In float32 the answers do not depend on the batches; in bfloat16 the order of a sum can turn a near tie.
"""

from collections.abc import Iterable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from typing import Any

import torch
from torch import Tensor
from transformers.utils.logging import disable_progress_bar

from model import storage
from model.errors import DataError, FitError
from model.quantise import Quantise, quantisation
from model.sphinx_x.dialogue import system_ids
from model.sphinx_x.generation import KeyValues, answer_suffixes, prefill
from model.sphinx_x.image_processing_sphinx_x import SphinxXImageProcessor, Views
from model.sphinx_x.modeling_sphinx_x import SphinxXForConditionalGeneration
from model.sphinx_x.processing_sphinx_x import SphinxXProcessor, view_tensors
from model.sphinx_x.tokenization_sphinx_x import SphinxXTokenizer
from model.sphinx_x.views import picture_ids

DEFAULT_BATCH_SIZE = 32
"""Questions in a batch; also the most pictures that are held at once."""


@dataclass(frozen=True)
class Asked:
    """A picture and the questions about it."""

    views: Views
    questions: tuple[tuple[str, str], ...]
    """Id and human turn of each."""


@dataclass(frozen=True)
class _Row:
    """A question whose beginning is remembered."""

    id: str
    remembered: KeyValues
    suffix: Tensor
    """Embeddings [S, D] of what follows."""
    max_new_tokens: int


class Answerer:
    """A loaded model and its processor."""

    def __init__(self, model: SphinxXForConditionalGeneration, processor: Any, batch_size: int = DEFAULT_BATCH_SIZE) -> None:
        self.model, self.processor, self.batch_size = model.eval(), processor, batch_size
        self.most_pictures = batch_size
        """Held at once; falls where they do not fit the device's memory."""
        self.padding: str = processor.image_processor.padding

    @property
    def device_name(self) -> str:
        """The device in words."""
        device = self.model.device
        return (
            torch.cuda.get_device_name(device)
            if device.type == "cuda"
            else f"{device.type} ({torch.get_num_threads()} threads)"
        )

    def views(self, image: Any) -> Views:
        """The views of a PIL picture; safe to call from several threads."""
        return self.processor.image_processor.views(image)

    def answer(self, asked: Iterable[Asked], max_new_tokens: int) -> Iterator[list[tuple[str, str]]]:
        """Ids and answers, a batch at a time, in an order of their own."""
        window: list[Asked] = []
        for one in asked:
            window.append(one)
            full = sum(len(held.questions) for held in window) >= 4 * self.batch_size
            if full or len(window) >= self.most_pictures:
                yield from self._answer_window(window, max_new_tokens)
                window = []
        if window:
            yield from self._answer_window(window, max_new_tokens)

    @torch.no_grad()
    def _answer_window(self, window: Sequence[Asked], max_new_tokens: int) -> Iterator[list[tuple[str, str]]]:
        try:
            rows = sorted(self._rows(window, max_new_tokens), key=lambda row: len(row.suffix))
        except torch.OutOfMemoryError as error:
            if len(window) == 1:
                raise FitError("one picture does not fit the device's memory; evaluate on a larger GPU.") from error
            torch.cuda.empty_cache()
            self.most_pictures = half = len(window) // 2
            yield from self._answer_window(window[:half], max_new_tokens)
            yield from self._answer_window(window[half:], max_new_tokens)
            return
        for start in range(0, len(rows), self.batch_size):
            yield self._answer_rows(rows[start : start + self.batch_size])

    def _rows(self, window: Sequence[Asked], max_new_tokens: int) -> list[_Row]:
        """Run the pictures and the common beginnings of their prompts."""
        device = self.model.device
        tensors = {name: tensor.to(device) for name, tensor in view_tensors([one.views for one in window]).items()}
        features = self.model.encode_views(**tensors).split([sum(one.views.kept) for one in window])
        num_system = len(system_ids(self.processor.tokenizer.encode_text))
        prompts = [[self.processor.prompt_ids([one.views], (), prompt) for _, prompt in one.questions] for one in window]
        # BOS, the picture's positions, the system sentence.
        conv_px = self.processor.image_processor.conv_px
        lengths = [1 + len(picture_ids(one.views.kept, conv_px)) + num_system for one in window]
        beginnings = [
            self.model.prompt_embeddings(torch.tensor(ids[0][:length], device=device), seen)
            for ids, length, seen in zip(prompts, lengths, features, strict=True)
        ]
        positions = self.model.config.text_config.max_position_embeddings
        rows = []
        for one, ids, length, remembered in zip(window, prompts, lengths, prefill(self.model, beginnings), strict=True):
            for (question_id, _), prompt in zip(one.questions, ids, strict=True):
                suffix = self.model.prompt_embeddings(torch.tensor(prompt[length:], device=device), None)
                room = max(1, positions - len(prompt))
                rows.append(_Row(question_id, remembered, suffix, min(max_new_tokens, room)))
        return rows

    def _answer_rows(self, rows: Sequence[_Row]) -> list[tuple[str, str]]:
        """One batch; halved where it does not fit the device's memory, which changes nothing else."""
        try:
            longest = max(row.max_new_tokens for row in rows)
            pairs = [(row.remembered, row.suffix) for row in rows]
            answers = answer_suffixes(self.model, pairs, longest, [self.processor.stop_ids()])
        except torch.OutOfMemoryError as error:
            if len(rows) == 1:
                raise FitError("one question does not fit the device's memory; evaluate on a larger GPU.") from error
            torch.cuda.empty_cache()
            half = len(rows) // 2
            return self._answer_rows(rows[:half]) + self._answer_rows(rows[half:])
        return [
            (row.id, self.processor.decode_answer(answer.ids[: row.max_new_tokens]))
            for row, answer in zip(rows, answers, strict=True)
        ]


@contextmanager
def open_answerer(
    model_uri: str,
    batch_size: int = DEFAULT_BATCH_SIZE,
    quantise: Quantise | None = None,
    device_map: dict[str, str] | str | None = None,
    offload_folder: str | None = None,
) -> Iterator[Answerer]:
    """Load an exported model with this project's own classes: bfloat16 on a GPU, float32 elsewhere.

    Several GPUs share a model that one of them cannot hold: accelerate puts whole layers on each, one after the other.

    Args:
        quantise: load the language model in 8 or 4 bits.
        device_map: part of the model to device, or "auto"; where it is not given, several GPUs mean "auto".
        offload_folder: where parts go whose device is "disk".

    Raises:
        DataError: a tensor is missing, left over or of another shape.
        ConfigError: it cannot be loaded in 8 or 4 bits here.
    """
    disable_progress_bar()
    on_gpu = torch.cuda.is_available()
    with storage.as_local_folder(model_uri) as folder:
        dtype = torch.bfloat16 if on_gpu else torch.float32
        more: dict[str, Any] = {"quantization_config": quantisation(quantise, folder)} if quantise else {}
        if device_map is None and not quantise and torch.cuda.device_count() > 1:
            device_map = "auto"
        if device_map is not None:
            more |= {"device_map": device_map, "offload_folder": offload_folder}
        loaded: Any = SphinxXForConditionalGeneration.from_pretrained(folder, dtype=dtype, output_loading_info=True, **more)
        model, report = loaded
        wrong = [f"{kind.removesuffix('_keys')} {sorted(map(str, names))[0]}" for kind, names in report.items() if names]
        if wrong:
            raise DataError(f"{model_uri} does not hold a whole model: {', '.join(wrong)}; export it again.")
        tokenizer = SphinxXTokenizer.from_pretrained(folder)
        image_processor = SphinxXImageProcessor.from_pretrained(folder)
        processor = SphinxXProcessor(image_processor, tokenizer)
        if not more:  # else the weights were put in their place when they were read
            model = model.to("cuda" if on_gpu else "cpu")
        yield Answerer(model, processor, batch_size)
