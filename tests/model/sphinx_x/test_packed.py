"""A pack is its samples, one by one: same logits, same losses, no sample touches another."""

import pytest
import torch
from transformers import AutoConfig, AutoModelForCausalLM

from model.build import text_config
from model.sphinx_x.modeling_sphinx_x import SphinxXForConditionalGeneration
from tests.model.sphinx_x.tiny_models import (
    FULL,
    KINDS,
    WIDE,
    TinySample,
    make_pack,
    mixed_samples,
    prompt_tensors,
    tiny_model,
    tiny_sample,
    tiny_variant,
)


def alone(model: SphinxXForConditionalGeneration, sample: TinySample) -> torch.Tensor:
    """Logits of a sample by itself, through transformers' own attention."""
    tensors = prompt_tensors([sample], model.config.tokens_per_view)
    return model(**tensors).logits[0]


def trained(model: SphinxXForConditionalGeneration) -> dict[str, torch.nn.Parameter]:
    return {name: parameter for name, parameter in model.named_parameters() if parameter.requires_grad}


@pytest.mark.parametrize("kind", KINDS)
@torch.no_grad()
def test_packed_logits_are_those_of_each_sample_alone(kind: str) -> None:
    model, samples = tiny_model(kind), mixed_samples()
    pack = make_pack(samples, model)
    logits = model.language.lm_head(model.pack_outputs(pack).last_hidden_state[0])
    expected = torch.cat([alone(model, sample) for sample in samples])
    assert expected.std() > 0.5  # the answers differ, so equality says something
    torch.testing.assert_close(logits, expected, rtol=1e-4, atol=1e-4)


@pytest.mark.parametrize("kind", KINDS)
def test_losses_are_those_of_the_logits_at_supervised_positions(kind: str) -> None:
    model, samples = tiny_model(kind), mixed_samples()
    pack = make_pack(samples, model)
    loss = model(pack=pack)
    expected = []
    for sample in samples:
        labels = sample.labels(model.config.tokens_per_view)
        rows = alone(model, sample).log_softmax(-1)
        expected += [-rows[place - 1, label] for place, label in enumerate(labels) if label != -100]
    torch.testing.assert_close(loss.token_losses, torch.stack(expected).detach(), rtol=1e-4, atol=1e-4)
    torch.testing.assert_close(loss.loss_sum, loss.token_losses.sum())
    assert (loss.balance_loss is not None) == (kind == "mixtral")


@pytest.mark.parametrize("kind", KINDS)
@pytest.mark.parametrize("checkpointing", [False, True])
def test_the_gradient_of_a_sample_touches_that_sample_only(kind: str, checkpointing: bool) -> None:
    model, samples = tiny_model(kind), mixed_samples()
    pack = make_pack(samples, model)
    embeds = model._pack_embeddings(pack).detach().requires_grad_()
    if checkpointing:
        model.train()
        model.gradient_checkpointing_enable({"use_reentrant": False})
    try:
        hidden = model.language.model(
            inputs_embeds=embeds[None],
            position_ids=pack.position_ids[None],
            attention_mask=embeds.new_zeros(1, 1, 1, 1),
            cu_seq_lens_q=pack.cu_seqlens,
            max_length_q=pack.max_seqlen,
            use_cache=False,
        ).last_hidden_state[0]
        start, end = pack.cu_seqlens[3:5].tolist()
        hidden[start:end].square().sum().backward()
    finally:
        model.gradient_checkpointing_disable()
        model.eval()
    assert embeds.grad is not None
    touched = embeds.grad.abs().sum(-1) > 0
    assert touched[start:end].all()
    assert not touched[:start].any()
    assert not touched[end:].any()


@torch.no_grad()
def test_a_skipped_view_is_the_view_absent_plus_one_token() -> None:
    model = tiny_model("llama")
    per_view = model.config.tokens_per_view
    sample = tiny_sample(7, 8, [WIDE])
    pack = make_pack([sample], model)
    embeds = model._pack_embeddings(pack)
    words = model.get_input_embeddings()(torch.tensor(sample.text))
    tokens = model.fusion(model.encode_views(sample.conv_views, sample.vit_views)).flatten(0, 1)
    begin = model.get_input_embeddings()(torch.tensor([1]))
    skips = model.fusion.skip.expand(2, -1)
    torch.testing.assert_close(embeds, torch.cat([begin, tokens, skips, words]))
    assert len(embeds) == 1 + 3 * per_view + 2 + len(words)


@torch.no_grad()
def test_every_view_skipped_but_the_first_still_reads_the_picture() -> None:
    model = tiny_model("llama")
    one = tiny_sample(8, 5, [(True, False, False, False, False)])
    other = tiny_sample(8, 5, [(True, False, False, False, False)])
    other.conv_views = 255 - other.conv_views
    assert (alone(model, one) - alone(model, other)).abs().max() > 0.1


@pytest.mark.parametrize("kind", KINDS)
@torch.no_grad()
def test_text_only_is_the_bare_language_model(kind: str) -> None:
    model, sample = tiny_model(kind), tiny_sample(9, 12)
    bare_model = AutoModelForCausalLM.from_config(AutoConfig.for_model(**text_config(tiny_variant(kind).language)))
    bare_model.load_state_dict(model.language.state_dict())
    bare = bare_model.eval()(input_ids=torch.tensor([[1, *sample.text]]), use_cache=False).logits[0]
    torch.testing.assert_close(alone(model, sample), bare, rtol=1e-5, atol=1e-5)


@pytest.mark.parametrize("kind", KINDS)
def test_every_trained_parameter_is_in_the_graph_whatever_a_pack_holds(kind: str) -> None:
    model = tiny_model(kind)
    unsupervised = tiny_sample(11, 4, [FULL])
    unsupervised.supervised = [False] * 4
    packs = {
        "text only": make_pack([tiny_sample(10, 6)], model),
        "pictures without skips": make_pack([tiny_sample(12, 6, [FULL])], model),
        "no view is real": make_pack([tiny_sample(13, 6, [(False,) * 5])], model),
        "nothing supervised": make_pack([unsupervised], model),
    }
    for name, pack in packs.items():
        model.zero_grad()
        loss = model(pack=pack)
        total = loss.loss_sum if loss.balance_loss is None else loss.loss_sum + loss.balance_loss
        total.backward()
        without = [parameter for parameter, value in trained(model).items() if value.grad is None]
        assert not without, f"{name}: {without}"
        assert all(bool(value.grad.isfinite().all()) for value in trained(model).values() if value.grad is not None)
    model.zero_grad()


def test_cached_features_give_the_same_loss_as_the_views() -> None:
    model, samples = tiny_model("llama"), mixed_samples()
    pack = make_pack(samples, model)
    features = model.encode_views(pack.conv_views, pack.vit_views)
    cached = make_pack(samples, model, conv_views=None, vit_views=None, features=features)
    assert torch.equal(model(pack=pack).loss_sum, model(pack=cached).loss_sum)


def test_the_encoders_stay_frozen_and_in_evaluation_mode() -> None:
    model = tiny_model("llama")
    model.train()
    assert not any(module.training for part in (model.conv, model.vit) for module in part.modules())
    assert not any(parameter.requires_grad for part in (model.conv, model.vit) for parameter in part.parameters())
    assert model.language.training
    model.eval()


@torch.no_grad()
def test_balance_loss_is_one_for_an_even_router_and_the_number_of_experts_over_active_for_a_collapsed_one() -> None:
    model = tiny_model("mixtral")
    even = torch.zeros(4000, 4).scatter_(1, torch.arange(4000).unsqueeze(1) % 4, 1e-3)
    even = even.scatter_(1, (torch.arange(4000).unsqueeze(1) + 1) % 4, 1e-3)
    assert float(model._balance_loss((even, even))) == pytest.approx(1.0, abs=1e-3)
    collapsed = torch.tensor([[50.0, 50.0, 0.0, 0.0]]).repeat(10, 1)
    assert float(model._balance_loss((collapsed,))) == pytest.approx(2.0, abs=1e-3)


@torch.no_grad()
def test_a_prompt_with_another_number_of_views_than_pixels_is_refused() -> None:
    model = tiny_model("llama")
    tensors = prompt_tensors([tiny_sample(14, 3, [FULL])], model.config.tokens_per_view)
    with pytest.raises(ValueError, match="places for 5 views and 4 came"):
        model(**tensors | {"conv_views": tensors["conv_views"][:4], "vit_views": tensors["vit_views"][:4]})
