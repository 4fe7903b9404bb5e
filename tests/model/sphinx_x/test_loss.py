"""The loss in chunks is the loss of full logits, value and gradient, also where nothing is supervised."""

import pytest
import torch
import torch.nn.functional as F

from model.sphinx_x import loss
from model.sphinx_x.loss import chunked_losses, supervised_losses


def inputs(num_tokens: int) -> tuple[torch.Tensor, torch.Tensor, torch.Tensor]:
    draw = torch.Generator().manual_seed(num_tokens)
    hidden = torch.randn(num_tokens, 24, generator=draw, requires_grad=True)
    head = torch.randn(97, 24, generator=draw, requires_grad=True)
    return hidden, head, torch.randint(0, 97, (num_tokens,), generator=draw)


@pytest.mark.parametrize("num_tokens", [0, 1, 7, 8, 9, 50])
@pytest.mark.parametrize("way", ["native", "chunked"])
def test_values_and_gradients_are_those_of_full_logits(way: str, num_tokens: int) -> None:
    hidden, head, targets = inputs(num_tokens)
    weights = torch.linspace(0.5, 2, num_tokens)
    full = F.cross_entropy(hidden @ head.T, targets, reduction="none")
    expected = torch.autograd.grad((full * weights).sum(), (hidden, head))
    losses = chunked_losses(hidden, head, targets, 8) if way == "chunked" else supervised_losses(hidden, head, targets)
    assert losses.dtype == torch.float32
    torch.testing.assert_close(losses, full)
    found = torch.autograd.grad((losses * weights).sum(), (hidden, head))
    torch.testing.assert_close(found, expected, rtol=1e-5, atol=1e-6)


def test_without_torchs_own_operation_the_chunks_serve(monkeypatch: pytest.MonkeyPatch) -> None:
    hidden, head, targets = inputs(20)
    expected = supervised_losses(hidden, head, targets)
    monkeypatch.delattr(loss.F, "linear_cross_entropy", raising=False)
    monkeypatch.setattr(loss, "CHUNK_TOKENS", 6)
    torch.testing.assert_close(supervised_losses(hidden, head, targets), expected)


@pytest.mark.parametrize("way", [supervised_losses, chunked_losses])
def test_no_supervised_token_keeps_the_graph(way) -> None:
    hidden, head, targets = inputs(0)
    total = way(hidden, head, targets).sum()
    assert total == 0
    assert total.requires_grad
    total.backward()
    assert head.grad is not None
    assert not head.grad.any()


def test_a_sum_in_half_precision_is_as_good_as_in_full() -> None:
    hidden, head, targets = (tensor.detach() for tensor in inputs(3000))
    full = F.cross_entropy(hidden @ head.T, targets, reduction="sum")
    half = supervised_losses(hidden.bfloat16(), head.bfloat16(), targets)
    assert half.dtype == torch.float32
    assert abs(float(half.sum() / full) - 1) < 2e-3
