"""area.py against stock's blocks and against the formula written out."""

import pytest
import torch
from ultralytics.nn.modules.block import A2C2f, AAttn

from tests.oracles import equation_1
from tests.samples import randomize
from ultralytics_diffattn import A2C2f_Diff, AAttn_Diff

ADDED = {"lam", "q2.conv.weight", "q2.bn.weight", "q2.bn.bias", "q2.bn.running_mean", "q2.bn.running_var"}


@pytest.mark.parametrize("train", [False, True])
@pytest.mark.parametrize("area", [1, 4])
@pytest.mark.parametrize("num_heads", [1, 3])
def test_starts_as_stock(num_heads, area, train):
    torch.manual_seed(0)
    stock = randomize(AAttn(24 * num_heads, num_heads, area)).double().train(train)
    ours = AAttn_Diff(24 * num_heads, num_heads, area).double().train(train)
    assert not ours.load_state_dict(stock.state_dict(), strict=False).unexpected_keys
    x = torch.randn(2, 24 * num_heads, 4, 6, dtype=torch.float64)
    torch.testing.assert_close(ours(x), stock(x), rtol=1e-10, atol=1e-10)


@pytest.mark.parametrize(
    "arguments",
    [
        dict(c1=128, c2=128, n=2, area=4),  # YOLO12 n
        dict(c1=64, c2=128, n=1),
        dict(c1=128, c2=128, n=2, area=4, residual=True, mlp_ratio=1.2),  # as YOLO12 l and x have it
    ],
)
def test_block_starts_as_stock_from_the_same_seed(arguments):
    torch.manual_seed(0)
    ours = A2C2f_Diff(**arguments)
    after_ours = torch.rand(1)
    torch.manual_seed(0)
    stock = A2C2f(**arguments)
    a, b = ours.state_dict(), stock.state_dict()
    assert all(torch.equal(a[n], v) for n, v in b.items()), "the same seed must give the same starting weights"
    assert {n.split("attn.")[-1] for n in a.keys() - b.keys()} == ADDED | {"q2.bn.num_batches_tracked"}
    assert torch.equal(after_ours, torch.rand(1)), "what is built after it must get stock's random numbers"
    x = torch.randn(2, arguments["c1"], 4, 6, dtype=torch.float64)
    torch.testing.assert_close(ours.double()(x), stock.double()(x), rtol=1e-10, atol=1e-10)


def test_pruned_round_it_it_is_still_stocks():
    """A network that is pruned takes channels from its input and output, and leaves the heads as they are."""
    torch.manual_seed(0)
    stock, ours = randomize(AAttn(64, 2, area=4)).eval(), AAttn_Diff(64, 2, area=4).eval()
    ours.load_state_dict(stock.state_dict(), strict=False)
    for module in (stock, ours):
        for conv in (module.qkv.conv, getattr(module, "q2", module.qkv).conv):
            conv.weight = torch.nn.Parameter(conv.weight[:, :48])
        module.proj.conv.weight = torch.nn.Parameter(module.proj.conv.weight[:48])
        for name in ("weight", "bias", "running_mean", "running_var"):
            value = getattr(module.proj.bn, name)[:48]
            setattr(module.proj.bn, name, torch.nn.Parameter(value) if name in ("weight", "bias") else value)
    x = torch.randn(2, 48, 8, 8)
    torch.testing.assert_close(ours(x), stock(x), rtol=0, atol=1e-5)


def test_is_the_formula_within_each_area():
    torch.manual_seed(0)
    module = randomize(AAttn_Diff(12, num_heads=3, area=2)).double()  # heads of width 4
    x = torch.randn(1, 12, 3, 4, dtype=torch.float64)
    with torch.no_grad():
        qkv, q2, lam = module.qkv(x)[0].flatten(1), module.q2(x)[0].flatten(1), module.lam
        assert lam.abs().min() > 1e-3
        heads, values = [], []
        for h in range(3):
            q, k, v = (t.T for t in qkv[12 * h : 12 * (h + 1)].split(4))  # each (12 positions, 4)
            r = q2[4 * h : 4 * (h + 1)].T
            areas = (slice(0, 6), slice(6, 12))  # the first row and a half, and the rest
            heads.append(torch.cat([equation_1(q[a], k[a], r[a], k[a], v[a], float(lam[h])) for a in areas]).T)
            values.append(v.T)
        y, v = (torch.cat(t).reshape(1, 12, 3, 4) for t in (heads, values))
        torch.testing.assert_close(module(x), module.proj(y + module.pe(v)), rtol=1e-10, atol=1e-10)


def test_gradients():
    torch.manual_seed(0)
    module = randomize(AAttn_Diff(4, num_heads=2, area=2)).double()
    x = torch.randn(1, 4, 2, 3, dtype=torch.float64, requires_grad=True)
    assert torch.autograd.gradcheck(lambda x, *_: module(x), (x, *module.parameters()))


@pytest.mark.parametrize("dtype", [torch.float32, torch.bfloat16, torch.float16])
def test_lambda_moves_from_the_first_step_on(dtype):
    torch.manual_seed(0)
    block = A2C2f_Diff(64, 64, area=2).to(dtype)
    y = block(torch.randn(2, 64, 4, 4, dtype=dtype))
    assert y.dtype == dtype
    y.square().sum().backward()
    assert all(p.grad is not None and p.grad.isfinite().all() for p in block.parameters())
    assert all(p.grad.abs().min() > 0 for n, p in block.named_parameters() if n.endswith(".lam"))


BAD = [  # how it is built, the exception, what its message names
    (lambda: AAttn_Diff(64, 3), ValueError, "dim=64 must be a multiple of num_heads=3"),
    (lambda: AAttn_Diff(64, "2"), TypeError, "num_heads='2'"),
    (lambda: AAttn_Diff(64, 2, area=4)(torch.zeros(1, 64, 3, 5)), ValueError, "H=3, W=5 give 15.*area=4"),
    (lambda: A2C2f_Diff(64, 64, a2=False), ValueError, "a2=False leaves this row without attention: write A2C2f"),
    (lambda: A2C2f_Diff(64, 64, area=-1), ValueError, "area=-1 must be an integer >= 1"),
    (lambda: A2C2f_Diff(64, 64, area=True), ValueError, "area=True"),
    (lambda: A2C2f_Diff(64, 80), ValueError, "c2=80, e=0.5 give 40 hidden channels"),
    (lambda: A2C2f_Diff(64, 64, e=0.1), ValueError, "give 6 hidden channels"),
]


@pytest.mark.parametrize(("build", "error", "message"), BAD)
def test_bad_arguments(build, error, message):
    with pytest.raises(error, match=message):
        build()


@pytest.mark.parametrize("area", [1, 4])
def test_exported_graph(area):
    """It computes the same, for any batch and size, without a tensor of five dimensions: few converters know those."""
    torch.manual_seed(0)
    module = randomize(AAttn_Diff(64, num_heads=2, area=area)).requires_grad_(False)
    traced = torch.jit.trace(module, torch.randn(1, 64, 4, 8), check_trace=False)
    for shape in ((1, 4, 8), (3, 4, 8), (2, 12, 6)):
        x = torch.randn(shape[0], 64, *shape[1:])
        torch.testing.assert_close(traced(x), module(x), rtol=0, atol=1e-5)
    shapes = [v.type().sizes() for node in traced.inlined_graph.nodes() for v in node.outputs() if v.isCompleteTensor()]
    assert len(shapes) > 20
    assert max(map(len, shapes)) <= 4
