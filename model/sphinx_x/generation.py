"""Answering: prompts are encoded as one pack, a picture's keys and values are kept, and only the text after it runs again.

The template puts pictures right after BOS and attention is causal, so what a picture's positions hold does not depend on the
question: its keys and values, made once, are exact for every question about it. Rows of a batch are independent of each other.

Shapes: P positions of a prefix, S of a suffix, B rows, K key-value heads, H head width, D language width.
"""

import inspect
from collections.abc import Iterator, Sequence
from functools import cache
from typing import Any, NamedTuple

import torch
from torch import Tensor
from transformers import DynamicCache


class KeyValues(NamedTuple):
    """What the layers remember of a prefix: per layer keys and values [K, P, H]."""

    keys: list[Tensor]
    values: list[Tensor]

    @property
    def length(self) -> int:
        return self.keys[0].shape[1]


class Sampling(NamedTuple):
    temperature: float
    top_p: float


class Answer(NamedTuple):
    ids: list[int]
    """New tokens, without the end mark."""
    finished: bool
    """False if `max_new_tokens` cut it off."""


@torch.no_grad()
def prefill(model: Any, prefixes: Sequence[Tensor]) -> list[KeyValues]:
    """Keys and values of prompts' beginnings, all in one pack without padding; prefixes [P, D]."""
    lengths = [len(prefix) for prefix in prefixes]
    embeds = torch.cat(list(prefixes))
    ends = torch.tensor([0, *lengths], device=embeds.device).cumsum(0).int()
    memory = DynamicCache()
    model.language.model(
        inputs_embeds=embeds[None],
        position_ids=torch.cat([torch.arange(length, device=embeds.device) for length in lengths])[None],
        attention_mask=embeds.new_zeros(1, 1, 1, 1),
        cu_seq_lens_q=ends,
        max_length_q=max(lengths),
        use_cache=True,
        **{_cache_argument(type(model.language.model)): memory},
    )
    layers: list[Any] = memory.layers
    keys = [layer.keys[0].split(lengths, dim=1) for layer in layers]
    values = [layer.values[0].split(lengths, dim=1) for layer in layers]
    return [KeyValues([k[i] for k in keys], [v[i] for v in values]) for i in range(len(prefixes))]


@torch.no_grad()
def answer_suffixes(
    model: Any,
    rows: Sequence[tuple[KeyValues, Tensor]],
    max_new_tokens: int,
    stops: Sequence[list[int]],
    sampling: Sampling | None = None,
) -> list[Answer]:
    """Answers of a batch: each row a remembered prefix and the embeddings [S, D] of what follows it.

    Args:
        stops: token sequences that end an answer, besides EOS; they are cut off.
        sampling: None answers greedily.
    """
    written: list[list[int]] = [[] for _ in rows]
    finished = [False] * len(rows)
    for tokens, active in _decode(model, rows, max_new_tokens, sampling, finished):
        for row, token in zip(active, tokens, strict=True):
            if finished[row]:
                continue
            written[row].append(token)
            cut = _stopped(model, written[row], stops)
            if cut is not None:
                written[row], finished[row] = written[row][:cut], True
    return [Answer(ids, done) for ids, done in zip(written, finished, strict=True)]


@torch.no_grad()
def answer_prompts(
    model: Any,
    prompts: Sequence[tuple[Tensor, Tensor]],
    max_new_tokens: int,
    stops: Sequence[list[int]],
    sampling: Sampling | None = None,
) -> list[Answer]:
    """Answers of whole prompts, each given as embeddings of its beginning [P, D] and its rest [S, D]."""
    remembered = prefill(model, [beginning for beginning, _ in prompts])
    return answer_suffixes(
        model, [(one, rest) for one, (_, rest) in zip(remembered, prompts, strict=True)], max_new_tokens, stops, sampling
    )


def stream_answer(model: Any, prompt: Tensor, max_new_tokens: int, stops: Sequence[list[int]]) -> Iterator[int]:
    """Token ids of one greedy answer as they are made; tokens that may begin an end mark are held back until it is clear."""
    (remembered,) = prefill(model, [prompt[:-1]])
    held: list[int] = []
    finished = [False]
    longest = max((len(stop) for stop in stops), default=1)
    for tokens, _ in _decode(model, [(remembered, prompt[-1:])], max_new_tokens, None, finished):
        held.append(tokens[0])
        cut = _stopped(model, held, stops)
        if cut is not None:
            yield from held[:cut]
            return
        while len(held) >= max(longest, 1):
            yield held.pop(0)
    yield from held


@torch.no_grad()
def _decode(
    model: Any, rows: Sequence[tuple[KeyValues, Tensor]], max_new_tokens: int, sampling: Sampling | None, finished: list[bool]
) -> Iterator[tuple[list[int], list[int]]]:
    """New tokens of the active rows, step by step, with those rows' numbers; the caller marks rows finished between steps."""
    memory, mask, lengths = _batched_memory([prefix for prefix, _ in rows])
    device = mask.device
    widest = max(len(suffix) for _, suffix in rows)
    embeds = torch.stack([torch.cat([suffix.new_zeros(widest - len(suffix), suffix.shape[1]), suffix]) for _, suffix in rows])
    suffix_mask = torch.stack([torch.arange(widest, device=device) >= widest - len(suffix) for _, suffix in rows]).long()
    positions = lengths[:, None] + (suffix_mask.cumsum(-1) - 1).clamp(min=0)
    mask = torch.cat([mask, suffix_mask], dim=1)
    active = list(range(len(rows)))
    cached = {_cache_argument(type(model.language.model)): memory, "use_cache": True}
    for step in range(max_new_tokens):
        hidden = model.language.model(
            inputs_embeds=embeds, attention_mask=mask, position_ids=positions, **cached
        ).last_hidden_state[:, -1]
        chosen = _choose(model.language.lm_head(hidden).float(), sampling)
        tokens = chosen.tolist()
        yield tokens, active
        keep = [place for place, row in enumerate(active) if not finished[row]]
        if not keep or step + 1 == max_new_tokens:
            return
        positions = positions[:, -1:] + 1
        if len(keep) <= len(active) // 2:  # finished rows leave once they are the half
            index = torch.tensor(keep, device=device)
            memory.batch_select_indices(index)
            chosen, mask, positions = chosen[index], mask[index], positions[index]
            active = [active[place] for place in keep]
        mask = torch.cat([mask, mask.new_ones(len(mask), 1)], dim=1)
        embeds = model.get_input_embeddings()(chosen)[:, None]


def _batched_memory(prefixes: Sequence[KeyValues]) -> tuple[DynamicCache, Tensor, Tensor]:
    """Prefixes side by side, padded at the left; with their mask [B, P] and lengths [B]."""
    longest = max(prefix.length for prefix in prefixes)
    memory = DynamicCache()
    for layer in range(len(prefixes[0].keys)):
        padded = [
            torch.stack(
                [torch.cat([row.new_zeros(row.shape[0], longest - row.shape[1], row.shape[2]), row], 1) for row in rows]
            )
            for rows in ([prefix.keys[layer] for prefix in prefixes], [prefix.values[layer] for prefix in prefixes])
        ]
        memory.update(padded[0], padded[1], layer)
    lengths = torch.tensor([prefix.length for prefix in prefixes], device=prefixes[0].keys[0].device)
    mask = (torch.arange(longest, device=lengths.device)[None] >= longest - lengths[:, None]).long()
    return memory, mask, lengths


def _choose(logits: Tensor, sampling: Sampling | None) -> Tensor:
    if sampling is None or sampling.temperature == 0:
        return logits.argmax(-1)
    probabilities, order = (logits / sampling.temperature).softmax(-1).sort(-1, descending=True)
    beyond = probabilities.cumsum(-1) - probabilities >= sampling.top_p
    picked = torch.multinomial(probabilities.masked_fill(beyond, 0.0), 1)
    return order.gather(-1, picked).squeeze(-1)


def _stopped(model: Any, ids: list[int], stops: Sequence[list[int]]) -> int | None:
    """Number of tokens before the end mark, if the last tokens are one."""
    if ids[-1] == model.config.text_config.eos_token_id:
        return len(ids) - 1
    for stop in stops:
        if stop and ids[-len(stop) :] == stop:
            return len(ids) - len(stop)
    return None


@cache
def _cache_argument(backbone: type) -> str:
    """transformers 5.24 calls the cache `cache`, earlier ones `past_key_values`."""
    return "cache" if "cache" in inspect.signature(backbone.forward).parameters else "past_key_values"
