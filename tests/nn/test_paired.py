"""Kind `paired` with a lambda that is alive from the start, and still stock's output."""

import pytest
import torch
from torch import nn
from ultralytics.nn.modules.block import AAttn, Attention

from ultralytics_diffattn.nn.aifi import MultiheadAttention_Diff
from ultralytics_diffattn.nn.area import AAttn_Diff
from ultralytics_diffattn.nn.blocks import C2PSA_Diff
from ultralytics_diffattn.nn.lambdas import lambda_init_schedule
from ultralytics_diffattn.nn.paired import PairedAttention_Diff

KINDS = {
    "Attention": (lambda: Attention(64, 2), lambda lam: PairedAttention_Diff(64, 2, lambda_init=lam)),
    "AAttn": (lambda: AAttn(64, 2, area=4), lambda lam: AAttn_Diff(64, 2, area=4, lambda_init=lam)),
    "MultiheadAttention": (
        lambda: nn.MultiheadAttention(64, 4, batch_first=True),
        lambda lam: MultiheadAttention_Diff(64, 4, lambda_init=lam),
    ),
}


def output(module, x):
    if isinstance(module, nn.MultiheadAttention):
        tokens = x.flatten(2).transpose(1, 2)
        return module(tokens, tokens, tokens)[0]
    return module(x)


@pytest.fixture(params=KINDS)
def pair(request):
    """Return a stock module with statistics of its own, and what makes ours of a lambda from it, in float64."""
    torch.manual_seed(0)
    make_stock, make_ours = KINDS[request.param]
    stock = make_stock().double().eval()
    for name, tensor in stock.state_dict().items():
        if tensor.is_floating_point():
            tensor.normal_().abs_().add_(0.5) if "var" in name else tensor.normal_(0, 0.3)

    def ours(lam):
        module = make_ours(lam).double().eval()
        module.load_state_dict(stock.state_dict(), strict=False)
        return module

    return stock, ours


@pytest.mark.parametrize("lam", [0.5, 0.2, -0.4, 3.0])
def test_start_as_stock(pair, lam):
    stock, make_ours = pair
    ours, x = make_ours(lam), torch.randn(2, 64, 8, 4, dtype=torch.float64)
    expected = output(stock, x)
    assert not torch.allclose(output(ours, x), expected, atol=1e-3), "else there is nothing to mend"
    ours.start_as_stock()
    assert torch.allclose(output(ours, x), expected, atol=1e-10)
    output(ours, x).square().sum().backward()
    q2 = ours.q2.weight if isinstance(ours.q2, nn.Linear) else ours.q2.conv.weight
    assert q2.grad.abs().sum() > 0
    assert ours.lam.grad.abs().min() > 0


def test_a_lambda_of_one_is_refused(pair):
    with pytest.raises(ValueError, match="subtracts all of equal maps"):
        pair[1](1.0).start_as_stock()


@pytest.mark.parametrize(
    ("kind", "given", "expected"),
    [
        ("paired", None, 0.0),
        ("paired", 0.5, 0.5),
        ("paired", "schedule", 0.2),
        ("split", None, 0.2),
        ("split", 0.8, 0.8),
        ("split", 0, 0.0),
        ("token", None, 0.2),
    ],
)
def test_lambda_init_of_a_row(kind, given, expected):
    attention = C2PSA_Diff(256, 256, n=2, kind=kind, lambda_init=given).m[0].attn
    assert attention.lambda_init == pytest.approx(expected)
    attention.reset_parameters()
    near = 1e-6 if kind == "paired" else 0.3  # its vectors are drawn
    assert attention.compute_lambda().detach().mean().item() == pytest.approx(expected, abs=near)


def test_schedule_follows_the_block():
    blocks = C2PSA_Diff(128, 128, n=3, kind="paired", lambda_init="schedule").m
    assert [block.attn.lambda_init for block in blocks] == [lambda_init_schedule(i) for i in (1, 2, 3)]
