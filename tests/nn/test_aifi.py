"""aifi.py against PyTorch's attention, against stock's block and against the formula written out."""

import pytest
import torch
from ultralytics.nn.modules.transformer import AIFI

from tests.oracles import equation_1
from tests.samples import randomize
from ultralytics_diffattn import AIFI_Diff
from ultralytics_diffattn.nn.aifi import MultiheadAttention_Diff


@pytest.mark.parametrize("masked", [False, True])
@pytest.mark.parametrize("num_heads", [1, 3])
def test_starts_as_pytorchs(num_heads, masked):
    torch.manual_seed(0)
    stock = randomize(torch.nn.MultiheadAttention(24, num_heads, batch_first=True)).double()
    ours = MultiheadAttention_Diff(24, num_heads).eval().double()
    missing, unexpected = ours.load_state_dict(stock.state_dict(), strict=False)
    assert (set(missing), unexpected) == ({"lam", "q2.weight", "q2.bias"}, [])
    q, k, v = torch.randn(2, 7, 24).double(), torch.randn(2, 5, 24).double(), torch.randn(2, 5, 24).double()
    mask = torch.randn(7, 5).double() if masked else None
    y, weights = ours(q, k, v, attn_mask=mask)
    torch.testing.assert_close(y, stock(q, k, v, attn_mask=mask)[0], rtol=1e-10, atol=1e-10)
    assert weights is None


def test_is_the_formula():
    torch.manual_seed(0)
    module = randomize(MultiheadAttention_Diff(12, num_heads=3)).double()  # heads of width 4
    q, k, v = torch.randn(3, 5, 12).double()
    with torch.no_grad():
        (wq, wk, wv), (bq, bk, bv) = module.in_proj_weight.split(12), module.in_proj_bias.split(12)
        made = (q @ wq.T + bq, k @ wk.T + bk, module.q2(q), k @ wk.T + bk, v @ wv.T + bv)
        assert module.lam.abs().min() > 1e-3
        heads = [equation_1(*(t[:, 4 * h : 4 * (h + 1)] for t in made), float(module.lam[h])) for h in range(3)]
        expected = module.out_proj(torch.cat(heads, 1))
        torch.testing.assert_close(module(q[None], k[None], v[None])[0][0], expected, rtol=1e-10, atol=1e-10)


def test_gradients():
    torch.manual_seed(0)
    module = randomize(MultiheadAttention_Diff(4, num_heads=2)).double()
    x = torch.randn(1, 5, 4, dtype=torch.float64, requires_grad=True)
    assert torch.autograd.gradcheck(lambda x, *_: module(x, x, x)[0], (x, *module.parameters()))


@pytest.mark.parametrize("before", [False, True])
def test_block_starts_as_stock_from_the_same_seed(before):
    torch.manual_seed(0)
    ours = AIFI_Diff(64, 128, 8, normalize_before=before)
    after_ours = torch.rand(1)
    torch.manual_seed(0)
    stock = AIFI(64, 128, 8, act=torch.nn.GELU(), normalize_before=before)
    a, b = ours.state_dict(), stock.state_dict()
    assert all(torch.equal(a[n], v) for n, v in b.items()), "the same seed must give the same starting weights"
    assert a.keys() - b.keys() == {"ma.lam", "ma.q2.weight", "ma.q2.bias"}
    assert torch.equal(after_ours, torch.rand(1)), "what is built after it must get stock's random numbers"
    x = torch.randn(2, 64, 3, 5, dtype=torch.float64)
    for train in (True, False):
        ours, stock = ours.double().train(train), stock.double().train(train)
        torch.testing.assert_close(ours(x), stock(x), rtol=1e-10, atol=1e-10)


def test_dropout_while_training_alone():
    torch.manual_seed(0)
    module, x = MultiheadAttention_Diff(64, 2, dropout=0.5), torch.randn(1, 9, 64)
    assert not torch.equal(module(x, x, x)[0], module(x, x, x)[0])
    module.eval()
    assert torch.equal(module(x, x, x)[0], module(x, x, x)[0])


@pytest.mark.parametrize("dtype", [torch.float32, torch.bfloat16, torch.float16])
def test_lambda_moves_from_the_first_step_on(dtype):
    torch.manual_seed(0)
    block = AIFI_Diff(64, 128, 8).to(dtype)
    y = block(torch.randn(2, 64, 3, 5, dtype=dtype))
    assert y.dtype == dtype
    (y * torch.randn_like(y)).sum().backward()  # a plain sum of what a norm has left is the same for all weights
    assert all(p.grad is not None and p.grad.isfinite().all() for p in block.parameters())
    assert block.ma.lam.grad.abs().min() > 0


BAD = [  # how it is built, the exception, what its message names
    (lambda: AIFI_Diff(64, 128, 3), ValueError, "dim=64 must be a multiple of num_heads=3"),
    (lambda: AIFI_Diff(64, 128, "8"), TypeError, "num_heads='8'"),
    (lambda: AIFI_Diff(64, 128, 8, 1.0).train()(torch.zeros(1, 64, 2, 2)), ValueError, r"dropout=1\.0"),
    (
        lambda: MultiheadAttention_Diff(8, 2)(*torch.zeros(3, 1, 4, 8), torch.zeros(1, 4, dtype=torch.bool)),
        ValueError,
        "key_padding_mask must be None",
    ),
]


@pytest.mark.parametrize(("build", "error", "message"), BAD)
def test_bad_arguments(build, error, message):
    with pytest.raises(error, match=message):
        build()
