"""Kind `paired` with a lambda that is alive from the start, and still stock's output."""

import copy
from collections import Counter

import pytest
import torch
from torch import nn
from ultralytics.nn.modules.block import AAttn, Attention
from ultralytics.nn.modules.conv import Conv
from ultralytics.utils.torch_utils import fuse_conv_and_bn

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


def fuse(module):
    """Fold BatchNorm into the convolutions, as ultralytics' `BaseModel.fuse` does, without our own folding."""
    for conv in [m for m in module.modules() if isinstance(m, Conv)]:
        conv.conv = fuse_conv_and_bn(conv.conv, conv.bn)
        delattr(conv, "bn")
        conv.forward = conv.forward_fuse
    return module


@pytest.mark.parametrize("fused", [True, False])
@pytest.mark.parametrize("lam", [0.0, 1e-3, -0.7, 1.0, 2.3])
def test_folding_changes_no_bit(pair, lam, fused):
    ours = pair[1](lam).float()
    ours.lam.data[0] *= 0.3  # each head has a lambda of its own
    if fused:
        fuse(ours)
    folded = copy.deepcopy(ours)
    for _ in range(2):  # nothing is folded twice
        folded.fold()
    x = torch.randn(2, 64, 8, 4)
    assert torch.equal(output(folded, x), output(ours, x))


def with_large_values(module, x, size):
    """Set the weights so that v reaches `size`, the maps pick single values, and the output fits float16."""
    if isinstance(module, nn.MultiheadAttention):
        proj, rows = module.out_proj.weight, module.in_proj_weight.data.chunk(3)[2]
    else:
        proj, rows, pe = (
            module.proj.conv.weight,
            module.qkv.conv.weight.data.view(2, -1, 64),
            module.pe.conv.weight.data,
        )
        rows, middle = rows[:, 2 * getattr(module, "key_dim", 32) :], pe.shape[-1] // 2  # v of each head
        pe.zero_()[:, :, middle, middle] = 0.25  # of v itself
    tokens = x.flatten(2).transpose(1, 2)
    rows *= size / (tokens @ rows.reshape(-1, 64).T).abs().max()
    proj.data *= 1e-4
    return module


@pytest.mark.parametrize("fold", [True, False])
@pytest.mark.parametrize("lam", [0.0, 0.9, -1.5, 3.0])
@pytest.mark.parametrize("size", [3e4, 5e4])
def test_values_near_the_end_of_float16(pair, size, lam, fold):
    """Where stock is finite, so is ours, though it may reach beyond; folded, it keeps its accuracy, too."""
    stock, make_ours = pair
    x = torch.randn(2, 64, 8, 4, dtype=torch.float64)
    ours = with_large_values(make_ours(lam), x, size)
    for name, tensor in ours.state_dict().items():  # convolutions alone: norms have nothing to do with it
        if ".bn." in name and tensor.is_floating_point():
            tensor.fill_(float("var" in name or "weight" in name))
    stock.load_state_dict(ours.state_dict(), strict=False)
    expected = output(ours, x)
    if fold:
        ours.fold()
    assert output(stock.half(), x.half()).isfinite().all()
    result = output(ours.half(), x.half())
    assert result.isfinite().all()
    if fold or lam == 0:
        assert (result.double() - expected).square().mean().sqrt() < 5e-3 * expected.std()


def test_folding_and_the_limit_of_float16_add_no_node_to_a_graph(pair):
    ours = pair[1](0.9).float().requires_grad_(False)
    x = torch.randn(1, 64, 8, 4)

    def nodes():
        traced = torch.jit.trace(lambda x: output(ours, x), x, check_trace=False)
        return Counter(node.kind() for node in traced.inlined_graph.nodes())

    plain = nodes()
    ours.fold()
    assert nodes() == plain
    assert "aten::clamp" not in plain


def test_graph_of_the_second_query():
    """PaddlePaddle fuses a reshape, a transposition and a product, with a scale between them, and computes nonsense."""
    ours = PairedAttention_Diff(64, 2).eval().requires_grad_(False)
    graph = torch.jit.trace(ours, torch.randn(1, 64, 8, 4), check_trace=False).inlined_graph
    products = [node for node in graph.nodes() if node.kind() == "aten::matmul"]
    assert len(products) == 3
    for product in products:
        left = next(product.inputs()).node()
        left = next(left.inputs()).node() if left.kind() == "aten::mul" else left
        before = next(left.inputs()).node() if left.kind() == "aten::transpose" else left
        assert before.kind() not in ("aten::view", "aten::reshape")
