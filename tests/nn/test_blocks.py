"""blocks.py against stock's blocks and against the formula written out."""

import copy
import inspect
import pickle

import pytest
import torch
from ultralytics.nn.modules.block import C2PSA, Attention, Bottleneck, C3k2, PSABlock

from tests.oracles import equation_1
from tests.samples import randomize
from ultralytics_diffattn import (
    Attention_Diff,
    C2PSA_Diff,
    C3k2_Diff,
    DiffAttention,
    PairedAttention_Diff,
    PSABlock_Diff,
    lambda_init_schedule,
)
from ultralytics_diffattn.nn.token import TokenAttention_Diff

ADDED = {"lambda_q1", "lambda_k1", "lambda_q2", "lambda_k2", "diff_norm.weight"}  # to each attention of kind split


@pytest.mark.parametrize(
    ("ours", "stock", "arguments"),
    [
        (Attention_Diff, Attention, dict(dim=128, num_heads=2)),
        (PSABlock_Diff, PSABlock, dict(c=128, num_heads=2)),
        (C2PSA_Diff, C2PSA, dict(c1=256, c2=256, n=1)),  # YOLO11 n
        (C2PSA_Diff, C2PSA, dict(c1=512, c2=512, n=2)),  # YOLO11 l
        (C2PSA_Diff, C2PSA, dict(c1=768, c2=768, n=2)),  # YOLO11 x
        (C2PSA_Diff, C2PSA, dict(c1=256, c2=256, n=1, e=0.25)),
    ],
)
def test_split_keeps_stock_tensors(ours, stock, arguments):
    torch.manual_seed(0)
    a = ours(**arguments).state_dict()
    after_ours = torch.rand(1)
    torch.manual_seed(0)
    b = stock(**arguments).state_dict()
    assert {n: v.shape for n, v in a.items() if n in b} == {n: v.shape for n, v in b.items()}
    assert {n.split("attn.")[-1] for n in a.keys() - b.keys()} == ADDED
    assert all(torch.equal(a[n], v) for n, v in b.items()), "the same seed must give the same starting weights"
    assert torch.equal(after_ours, torch.rand(1)), "what is built after it must get stock's random numbers"


def test_split_is_the_formula():
    torch.manual_seed(0)
    module = randomize(Attention_Diff(24, num_heads=3, lambda_init=0.4))  # heads of width 8, keys of width 4
    x = torch.randn(1, 24, 3, 2)
    with torch.no_grad():
        qkv, lam = module.qkv(x)[0].flatten(1).double(), float(module.compute_lambda())
        heads, values = [], []
        for i in range(3):
            q, k, v = (t.T for t in qkv[16 * i : 16 * (i + 1)].split([4, 4, 8]))
            y = equation_1(q[:, :2], k[:, :2], q[:, 2:], k[:, 2:], v, lam)
            y = y / y.square().mean(1, keepdim=True).add(1e-5).sqrt() * module.diff_norm.weight.double() * (1 - 0.4)
            heads.append(y.T)
            values.append(v.T)
        y, v = (torch.cat(t).reshape(1, 24, 3, 2).float() for t in (heads, values))
        torch.testing.assert_close(module(x), module.proj(y + module.pe(v)), rtol=1e-5, atol=1e-5)


def test_lambda_zero_is_stock_attention_on_the_first_half():
    torch.manual_seed(0)
    stock = randomize(Attention(64, num_heads=2))
    ours = Attention_Diff(64, num_heads=2, lambda_init=0).eval()
    ours.load_state_dict(stock.state_dict(), strict=False)
    for name in ("lambda_q1", "lambda_q2"):
        torch.nn.init.zeros_(getattr(ours, name))
    ours.diff_norm = torch.nn.Identity()
    for h in range(2):  # stock without the second half of each query: 32 rows a head, 16 + 16 + 32
        stock.qkv.bn.weight.data[64 * h + 8 : 64 * h + 16] = 0
        stock.qkv.bn.bias.data[64 * h + 8 : 64 * h + 16] = 0
    stock.scale = ours.scale
    x = torch.randn(2, 64, 5, 5)
    assert ours.compute_lambda() == 0
    torch.testing.assert_close(ours(x), stock(x), rtol=1e-5, atol=1e-5)


def test_token_has_the_heads_of_the_published_module():
    block = C2PSA_Diff(256, 256, n=2, kind="token", lambda_init="schedule")
    for i, psa in enumerate(block.m, 1):
        assert type(psa.attn) is TokenAttention_Diff
        assert psa.attn.q_proj.weight.shape == (128, 128)
        assert (psa.attn.num_heads, psa.attn.head_dim) == (1, 64)  # 2 published heads make one differential head
        assert psa.attn.lambda_init == lambda_init_schedule(i)


PAIRED = [
    (lambda: PairedAttention_Diff(192, 3), lambda: Attention(192, 3), 192),
    (lambda: C2PSA_Diff(128, 128, n=2, kind="paired"), lambda: C2PSA(128, 128, n=2), 128),
    pytest.param(
        lambda: C3k2_Diff(128, 256, n=2, c3k=True),
        lambda: C3k2(128, 256, n=2, c3k=True, attn=True),
        128,
        marks=pytest.mark.skipif("attn" not in inspect.signature(C3k2).parameters, reason="C3k2 has no attn yet"),
    ),
]


@pytest.mark.parametrize(("ours", "stock", "channels"), PAIRED)
def test_paired_starts_as_stock_from_the_same_seed(ours, stock, channels):
    torch.manual_seed(0)
    ours, after_ours = ours(), torch.rand(1)
    torch.manual_seed(0)
    stock = stock()
    a, b = ours.state_dict(), stock.state_dict()
    assert all(torch.equal(a[n], v) for n, v in b.items()), "the same seed must give the same starting weights"
    assert {n.split("attn.")[-1].split(".")[0] for n in a.keys() - b.keys()} == {"lam", "q2"}
    assert torch.equal(after_ours, torch.rand(1)), "what is built after it must get stock's random numbers"
    assert not ours.load_state_dict(randomize(stock).state_dict(), strict=False).unexpected_keys
    x = torch.randn(2, channels, 5, 3, dtype=torch.float64)
    for train in (True, False):
        ours, stock = ours.double().train(train), stock.double().train(train)
        torch.testing.assert_close(ours(x), stock(x), rtol=1e-10, atol=1e-10)


def test_paired_is_the_formula():
    torch.manual_seed(0)
    module = randomize(PairedAttention_Diff(24, num_heads=3)).double()  # heads of width 8, keys of width 4
    x = torch.randn(1, 24, 3, 2, dtype=torch.float64)
    with torch.no_grad():
        qkv, q2, lam = module.qkv(x)[0].flatten(1), module.q2(x)[0].flatten(1), module.lam
        assert lam.abs().min() > 1e-3
        heads, values = [], []
        for h in range(3):
            q, k, v = (t.T for t in qkv[16 * h : 16 * (h + 1)].split([4, 4, 8]))
            heads.append(equation_1(q, k, q2[4 * h : 4 * (h + 1)].T, k, v, float(lam[h])).T)
            values.append(v.T)
        y, v = (torch.cat(t).reshape(1, 24, 3, 2) for t in (heads, values))
        torch.testing.assert_close(module(x), module.proj(y + module.pe(v)), rtol=1e-10, atol=1e-10)


def test_paired_gradients():
    torch.manual_seed(0)
    module = randomize(PairedAttention_Diff(8, num_heads=2)).double()
    x = torch.randn(1, 8, 2, 2, dtype=torch.float64, requires_grad=True)
    assert torch.autograd.gradcheck(lambda x, *_: module(x), (x, *module.parameters()))


@pytest.mark.parametrize("dtype", [torch.float64, torch.float32, torch.bfloat16, torch.float16])
@pytest.mark.parametrize("block", [C2PSA_Diff, C3k2_Diff])
def test_lambda_of_paired_moves_from_the_first_step_on(block, dtype):
    torch.manual_seed(0)
    block = block(128, 128, kind="paired").to(dtype)
    y = block(torch.randn(2, 128, 4, 5, dtype=dtype))
    assert y.dtype == dtype
    y.square().sum().backward()
    assert all(p.grad is not None and p.grad.isfinite().all() for p in block.parameters())
    assert all(p.grad.abs().min() > 0 for n, p in block.named_parameters() if n.endswith(".lam"))


@pytest.mark.parametrize(("kind", "attention"), [("split", Attention_Diff), ("token", TokenAttention_Diff)])
def test_c3k2_of_the_other_kinds(kind, attention):
    block = C3k2_Diff(128, 256, n=2, kind=kind, lambda_init="schedule")
    for i, (bottleneck, psa) in enumerate(block.m, 1):
        assert (type(bottleneck), type(psa.attn)) == (Bottleneck, attention)
        assert psa.attn.lambda_init == lambda_init_schedule(i)
    assert block(torch.randn(1, 128, 4, 5)).shape == (1, 256, 4, 5)


@pytest.mark.parametrize("kind", ["split", "token"])
@pytest.mark.parametrize("dtype", [torch.float64, torch.float32, torch.bfloat16, torch.float16])
def test_forward_and_backward(kind, dtype):
    torch.manual_seed(0)
    block = C2PSA_Diff(128, 128, n=2, e=1.0, kind=kind).to(dtype)
    x = torch.randn(2, 128, 7, 5, dtype=dtype, requires_grad=True)
    y = block(x)
    assert (y.shape, y.dtype) == (x.shape, dtype)
    y.sum().backward()
    used = {n: p.grad for n, p in block.named_parameters()}
    assert all(g is not None and g.isfinite().all() for g in used.values())
    assert all(used[f"m.0.attn.{n}"].abs().max() > 0 for n in ADDED)


@pytest.mark.parametrize("kind", ["split", "paired", "token"])
@pytest.mark.parametrize("shape", [(1, 64, 1, 1), (3, 64, 2, 9)], ids=["one position", "not square"])
def test_shapes(kind, shape):
    block = PSABlock_Diff(64, num_heads=2, kind=kind, shortcut=False).eval()
    assert block(torch.randn(shape)).shape == shape


@pytest.mark.parametrize("kind", ["split", "paired", "token"])
def test_copies(kind):
    block, x = C2PSA_Diff(128, 128, e=1.0, kind=kind).eval(), torch.randn(1, 128, 4, 4)
    for twin in (copy.deepcopy(block), pickle.loads(pickle.dumps(block))):
        assert torch.equal(twin(x), block(x))


def test_positions_matter_to_split_and_not_to_the_published_module():
    """`pe` tells split where a token stands; the published module does not know."""
    torch.manual_seed(0)
    x, order = torch.randn(1, 64, 4, 4), torch.randperm(16)
    shuffled = x.flatten(2)[..., order].reshape(x.shape)
    for module, knows in ((Attention_Diff(64, 2), True), (DiffAttention(64, 2), False)):
        y = randomize(module)(x).flatten(2)[..., order].reshape(x.shape)
        assert torch.allclose(module(shuffled), y, atol=1e-4) != knows


BAD = [  # how it is built, the exception, what its message names
    (lambda: Attention_Diff(128, 3), ValueError, "dim=128 must be a multiple of num_heads=3"),
    (lambda: Attention_Diff(128, 2, attn_ratio=0.05), ValueError, "keys of width 3, which do not split"),
    (lambda: Attention_Diff(128, 2, attn_ratio=0), ValueError, "keys of width 0"),
    (lambda: Attention_Diff(128, 2, lambda_init="deep"), ValueError, "lambda_init='deep'"),
    (lambda: Attention_Diff(128.0, 2), TypeError, r"dim=128\.0 must be an integer"),
    (lambda: PSABlock_Diff(128, 2, kind="both"), ValueError, "kind='both' is unknown.*'paired'.*'split'.*'token'"),
    (lambda: PairedAttention_Diff(128, 3), ValueError, "dim=128 must be a multiple of num_heads=3"),
    (lambda: PSABlock_Diff(192, num_heads=3, kind="token"), ValueError, "192 channels give num_heads=3"),
    (lambda: C2PSA_Diff(128, 256), ValueError, "c1=128 must equal c2=256"),
    (lambda: C2PSA_Diff(128, "256"), TypeError, "c2='256'"),
    (lambda: C2PSA_Diff(128, 128, n=0), ValueError, "n=0 must be an integer >= 1"),
    (lambda: C2PSA_Diff(128, 128, e=0), ValueError, r"e=0 must be a number in \(0, 1\]"),
    (lambda: C2PSA_Diff(128, 128, e="token"), ValueError, "e='token'"),
    (lambda: C2PSA_Diff(128, 128, e=None), ValueError, "e=None"),
    (lambda: C2PSA_Diff(128, 128, kind="Split"), ValueError, "kind='Split'"),
    (lambda: C2PSA_Diff(128, 128, kind=None), ValueError, "kind=None"),
    (lambda: C2PSA_Diff(128, 128, lambda_init=float("nan")), ValueError, "lambda_init=nan"),
    (lambda: C2PSA_Diff(384, 384, kind="token"), ValueError, "192 channels give num_heads=3"),
    (lambda: C2PSA_Diff(2, 2), ValueError, "keys of width 0"),
    (lambda: C3k2_Diff(128, 128, c3k=0.25), TypeError, r"c3k=0\.25 must be True or False"),
    (lambda: C3k2_Diff(128, 128, attn=False), ValueError, "attn=False leaves this row without attention: write C3k2"),
    (lambda: C3k2_Diff(128, 128, attn="paired"), ValueError, "attn='paired'"),
    (lambda: C3k2_Diff(128, 128, n=0), ValueError, "n=0 must be an integer >= 1"),
    (lambda: C3k2_Diff(128, 128, e=2), ValueError, r"e=2 must be a number in \(0, 1\]"),
    (lambda: C3k2_Diff(128, 128, kind="area"), ValueError, "kind='area' is unknown"),
]


@pytest.mark.parametrize(("build", "error", "message"), BAD)
def test_bad_arguments(build, error, message):
    with pytest.raises(error, match=message):
        build()
