"""Answers of a batch are those one by one, token for token, and those of the slow way: the whole prompt again for every token."""

from collections.abc import Sequence

import pytest
import torch

from model.sphinx_x.generation import Sampling, answer_prompts, answer_suffixes, prefill, stream_answer
from model.sphinx_x.modeling_sphinx_x import SphinxXForConditionalGeneration
from tests.model.sphinx_x.tiny_models import KINDS, TinySample, mixed_samples, prompt_tensors, tiny_model, tiny_sample

NEW = 12


@torch.no_grad()
def slow_answer(model: SphinxXForConditionalGeneration, sample: TinySample, num_tokens: int = NEW) -> list[int]:
    """Greedy, without any memory."""
    written: list[int] = []
    for _ in range(num_tokens):
        longer = TinySample([*sample.text, *written], [], sample.kept, sample.conv_views, sample.vit_views)
        logits = model(**prompt_tensors([longer], model.config.tokens_per_view)).logits[0, -1]
        written.append(int(logits.argmax()))
    return written


@torch.no_grad()
def embeddings(model: SphinxXForConditionalGeneration, sample: TinySample) -> torch.Tensor:
    tensors = prompt_tensors([sample], model.config.tokens_per_view)
    features = model.encode_views(sample.conv_views, sample.vit_views) if sample.kept else None
    return model.prompt_embeddings(tensors["input_ids"], features)[0]


def stopped(written: Sequence[int], stop: list[int]) -> list[int]:
    """What is left when the first occurrence of the mark ends the answer."""
    for end in range(len(stop), len(written) + 1):
        if list(written[end - len(stop) : end]) == stop:
            return list(written[: end - len(stop)])
    return list(written)


@pytest.mark.parametrize("kind", KINDS)
def test_a_left_padded_batch_answers_as_each_question_alone_and_as_the_slow_way(kind: str) -> None:
    model, samples = tiny_model(kind), mixed_samples()
    per_view = model.config.tokens_per_view
    together = model.generate(**prompt_tensors(samples, per_view), max_new_tokens=NEW, stop_ids=[])
    slow = [slow_answer(model, sample) for sample in samples]
    assert len({tuple(answer) for answer in slow}) == len(slow)  # all differ, so equality says something
    assert together.tolist() == slow
    for sample, expected in zip(samples, slow, strict=True):
        assert model.generate(**prompt_tensors([sample], per_view), max_new_tokens=NEW).tolist() == [expected]


@pytest.mark.parametrize("kind", KINDS)
def test_stop_marks_end_each_row_at_its_own_place_and_the_others_go_on(kind: str) -> None:
    model, samples = tiny_model(kind), mixed_samples()
    slow = [slow_answer(model, sample) for sample in samples]
    prompts = [embeddings(model, sample) for sample in samples]
    for stop in ([slow[0][2:4], slow[1][5:7], slow[2][0:1]], [slow[5][3:6]]):
        answers = answer_prompts(model, [(prompt[:-1], prompt[-1:]) for prompt in prompts], NEW, stop)
        for answer, written in zip(answers, slow, strict=True):
            expected = min((stopped(written, mark) for mark in stop), key=len)
            assert answer.ids == expected
            assert answer.finished == (len(expected) < NEW)


def test_eos_ends_an_answer_and_pads_the_batch(monkeypatch: pytest.MonkeyPatch) -> None:
    model, samples = tiny_model("llama"), mixed_samples()
    slow = [slow_answer(model, sample) for sample in samples]
    eos = slow[1][4]
    monkeypatch.setattr(model.config.text_config, "eos_token_id", eos)
    rows = model.generate(**prompt_tensors(samples, model.config.tokens_per_view), max_new_tokens=NEW, stop_ids=[]).tolist()
    for row, written in zip(rows, slow, strict=True):
        kept = stopped(written, [eos])
        assert row == (kept + [eos] * NEW)[: len(row)]


@pytest.mark.parametrize("kind", KINDS)
def test_the_memory_of_a_picture_serves_every_question_about_it(kind: str) -> None:
    model = tiny_model(kind)
    picture = tiny_sample(20, 4, [(True, True, True, False, False)])
    others = [tiny_sample(seed, 3 + seed % 4) for seed in (21, 22, 23)]
    questions = [
        TinySample([*picture.text, *other.text], [], picture.kept, picture.conv_views, picture.vit_views) for other in others
    ]
    prefix = len(embeddings(model, picture))
    remembered = prefill(model, [embeddings(model, picture), embeddings(model, others[0])])[0]
    before = [tensor.clone() for tensor in remembered.keys]
    suffixes = [embeddings(model, question)[prefix:] for question in questions]
    answers = answer_suffixes(model, [(remembered, suffix) for suffix in suffixes], NEW, [])
    assert [answer.ids for answer in answers] == [slow_answer(model, question) for question in questions]
    assert all(torch.equal(a, b) for a, b in zip(before, remembered.keys, strict=True))


@pytest.mark.parametrize("kind", KINDS)
def test_a_streamed_answer_is_the_generated_one(kind: str) -> None:
    model = tiny_model(kind)
    for sample in mixed_samples():
        prompt, written = embeddings(model, sample), slow_answer(model, sample)
        assert list(stream_answer(model, prompt, NEW, [])) == written
        stop = written[4:7]
        assert list(stream_answer(model, prompt, NEW, [stop])) == stopped(written, stop)


def test_a_stream_holds_back_what_may_become_an_end_mark_and_gives_it_when_it_does_not() -> None:
    model, sample = tiny_model("llama"), mixed_samples()[1]
    prompt, written = embeddings(model, sample), slow_answer(model, sample)
    never = [written[0], 299, 299]
    stream = stream_answer(model, prompt, NEW, [never])
    assert list(stream) == written


def test_a_stream_leaves_gradients_on_for_whoever_reads_it() -> None:
    model, sample = tiny_model("llama"), mixed_samples()[0]
    for _ in model.stream(torch.tensor([1, *sample.text]), None, 3, []):
        assert torch.is_grad_enabled()


def test_sampling_at_temperature_zero_is_greedy_and_top_p_never_leaves_the_nucleus() -> None:
    model, sample = tiny_model("llama"), mixed_samples()[1]
    prompt = embeddings(model, sample)
    rows = [(prompt[:-1], prompt[-1:])] * 50
    greedy = answer_prompts(model, rows[:1], 1, [])[0].ids
    assert {tuple(answer.ids) for answer in answer_prompts(model, rows, 1, [], Sampling(0.0, 1.0))} == {tuple(greedy)}
    with torch.no_grad():
        tensors = prompt_tensors([sample], model.config.tokens_per_view)
        chances = (model(**tensors).logits[0, -1] / 0.7).softmax(-1).sort(descending=True)
    within = int((chances.values.cumsum(0) - chances.values < 0.9).sum())
    nucleus = set(chances.indices[:within].tolist())
    torch.manual_seed(0)
    drawn = {answer.ids[0] for answer in answer_prompts(model, rows, 1, [], Sampling(0.7, 0.9))}
    assert drawn <= nucleus
    assert len(drawn) > 1 or within == 1
