"""attention.py against the published implementation, timm, and the formula written out in float64."""

import copy
import math
from types import SimpleNamespace

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from timm.layers import DiffAttention as TimmDiffAttention
from ultralytics.engine.trainer import BaseTrainer
from ultralytics.nn.tasks import DetectionModel

from tests.oracles import equation_1
from ultralytics_diffattn import DiffAttention, diff_attention
from ultralytics_diffattn.nn.backends import BACKENDS


def inputs(n=5, d=4, dv=6, heads=2, dtype=torch.float64, seed=0):
    g = torch.Generator().manual_seed(seed)
    q1, k1, q2, k2 = torch.randn(4, 1, heads, n, d, generator=g, dtype=torch.float64).to(dtype)
    return q1, k1, q2, k2, torch.randn(1, heads, n, dv, generator=g, dtype=torch.float64).to(dtype)


CAUSAL = torch.full((5, 5), -math.inf, dtype=torch.float64).triu(1)


@pytest.mark.parametrize("mask", [None, CAUSAL], ids=["plain", "causal"])
@pytest.mark.parametrize("lam", [0.0, 0.8, 1.7, -0.3])
def test_function_is_the_formula(lam, mask):
    q1, k1, q2, k2, v = inputs()
    y = diff_attention(q1, k1, q2, k2, v, lam, mask)
    for h in range(2):
        expected = equation_1(q1[0, h], k1[0, h], q2[0, h], k2[0, h], v[0, h], lam, mask)
        torch.testing.assert_close(y[0, h], expected, rtol=0, atol=1e-12)


def test_one_lambda_per_head():
    q1, k1, q2, k2, v = inputs()
    y = diff_attention(q1, k1, q2, k2, v, torch.tensor([0.2, 0.9]))
    for h, lam in enumerate((0.2, 0.9)):
        one = diff_attention(q1[:, h], k1[:, h], q2[:, h], k2[:, h], v[:, h], torch.tensor(lam))
        torch.testing.assert_close(y[:, h], one, rtol=0, atol=1e-12)


def test_lambda_zero_is_plain_attention():
    q1, k1, q2, k2, v = inputs()
    plain = torch.nn.functional.scaled_dot_product_attention(q1, k1, v)
    torch.testing.assert_close(diff_attention(q1, k1, q2, k2, v, 0.0), plain, rtol=0, atol=1e-12)


def test_equal_maps_cancel():
    q1, k1, _, _, v = inputs()
    assert diff_attention(q1, k1, q1, k1, v, 1.0).abs().max() == 0


def test_gradients():
    q1, k1, q2, k2, v = (x.requires_grad_() for x in inputs(n=3, d=2, dv=2))
    lam = torch.tensor([0.3, 1.1], dtype=torch.float64, requires_grad=True)
    assert torch.autograd.gradcheck(diff_attention, (q1, k1, q2, k2, v, lam, CAUSAL[:3, :3]))
    assert torch.autograd.gradgradcheck(diff_attention, (q1, k1, q2, k2, v, lam))


@settings(max_examples=50, deadline=None)
@given(n=st.integers(1, 9), m=st.integers(1, 9), d=st.integers(1, 9), lam=st.floats(-3, 3))
def test_rows_sum_to_one_minus_lambda(n, m, d, lam):
    q1, q2 = torch.randn(2, 2, n, d, dtype=torch.float64)
    k1, k2 = torch.randn(2, 2, m, d, dtype=torch.float64)
    y = diff_attention(q1, k1, q2, k2, torch.ones(2, m, 1, dtype=torch.float64), lam)
    torch.testing.assert_close(y, torch.full_like(y, 1 - lam), rtol=0, atol=1e-12)


def test_dropout_keeps_the_mean():
    torch.manual_seed(0)
    q1, k1, q2, k2, v = inputs()
    dropped = torch.stack([diff_attention(q1, k1, q2, k2, v, 0.8, dropout_p=0.3) for _ in range(4000)])
    assert dropped.std(0).min() > 0.01
    torch.testing.assert_close(dropped.mean(0), diff_attention(q1, k1, q2, k2, v, 0.8), rtol=0, atol=0.06)


VECTORS = ["attention_dim64_heads4", "attention_dim96_heads6_nobias", "attention_dim128_heads2"]


def load_vectors(shared, name):
    from safetensors import safe_open

    with safe_open(shared / "vectors" / "diffclip" / f"{name}.safetensors", "pt") as f:
        meta, tensors = f.metadata(), {k: f.get_tensor(k) for k in f.keys()}  # noqa: SIM118 - not a dict
    module = DiffAttention(
        int(meta["dim"]),
        int(meta["num_heads"]),
        qkv_bias=meta.get("qkv_bias", "True") == "True",
        lambda_init=float(meta["lambda_init"]),
    )
    module.load_state_dict({k.removeprefix("param."): v for k, v in tensors.items() if k.startswith("param.")})
    return module, tensors


@pytest.mark.parametrize("name", VECTORS)
def test_published_outputs_and_gradients(shared, name):
    module, t = load_vectors(shared, name)
    x = t["x"].requires_grad_()
    y = module(x)
    torch.testing.assert_close(y, t["y"], rtol=0, atol=1e-5)
    (y * t["w"]).sum().backward()
    gradients = {"x": x.grad, **{n: p.grad for n, p in module.named_parameters()}}
    assert gradients.keys() == {k.removeprefix("grad.") for k in t if k.startswith("grad.")}
    for n, gradient in gradients.items():
        torch.testing.assert_close(gradient, t[f"grad.{n}"], rtol=0, atol=1e-4, msg=n)


def test_published_causal_text_attention(shared):
    module, t = load_vectors(shared, "text_attention_causal_dim64_heads4")
    y = module(t["x"].transpose(0, 1), t["mask"]).transpose(0, 1)  # the vectors are (N, B, C)
    torch.testing.assert_close(y, t["y"], rtol=0, atol=1e-5)


@pytest.mark.parametrize(("dim", "heads", "bias"), [(64, 4, True), (96, 6, False), (128, 2, True)])
def test_equals_timm_on_copied_weights(dim, heads, bias):
    torch.manual_seed(0)
    theirs = TimmDiffAttention(dim, num_heads=heads // 2, qkv_bias=bias, depth=3).eval()
    ours = DiffAttention(dim, heads, qkv_bias=bias, lambda_init="schedule", depth=4).eval()  # timm counts from 0
    state = theirs.state_dict()
    weights = {}
    for kind in ("weight", "bias") if bias else ("weight",):
        for i, name in enumerate("qkv"):
            weights[f"{name}_proj.{kind}"] = state[f"qkv.{kind}"].chunk(3)[i]
    for kind in ("weight", "bias"):
        weights[f"out_proj.{kind}"] = state[f"proj.{kind}"]
    weights["diff_norm.weight"] = state["sub_norm.weight"]
    weights |= {n: v for n, v in state.items() if n.startswith("lambda_")}
    ours.load_state_dict(weights)
    x = torch.randn(2, 33, dim)
    torch.testing.assert_close(ours(x), theirs(x), rtol=0, atol=1e-5)


def module_formula(module, x):
    """Write the whole module out in float64 for tokens (N, C)."""
    p = {n: v.detach().double() for n, v in module.named_parameters()}
    h, d = module.num_heads, module.head_dim
    q, k, v = (x.double() @ p[f"{n}_proj.weight"].T + p[f"{n}_proj.bias"] for n in "qkv")
    dots = [(p[f"lambda_q{i}"] * p[f"lambda_k{i}"]).sum(-1).expand(h).tolist() for i in (1, 2)]
    lam = [math.exp(one) - math.exp(two) + module.lambda_init for one, two in zip(*dots, strict=True)]  # per head
    heads = []
    for i in range(h):
        a, b = (slice((2 * i + j) * d, (2 * i + j + 1) * d) for j in (0, 1))
        value = v[:, 2 * i * d : 2 * (i + 1) * d]
        y = equation_1(q[:, a], k[:, a], q[:, b], k[:, b], value, lam[i])
        rms = torch.stack([(row * row).mean().add(1e-5).sqrt() for row in y])
        heads.append(y / rms[:, None] * p["diff_norm.weight"] * (1 - module.lambda_init))
    return torch.cat(heads, 1) @ p["out_proj.weight"].T + p["out_proj.bias"]


@pytest.mark.parametrize("per_head", [False, True], ids=["shared lambda", "lambda per head"])
def test_module_is_the_formula(per_head):
    torch.manual_seed(0)
    module = DiffAttention(24, 6, lambda_init=0.4, lambda_per_head=per_head)
    for p in module.parameters():
        torch.nn.init.normal_(p, std=0.5)
    x = torch.randn(7, 24)
    assert module.compute_lambda().shape == ((3,) if per_head else ())
    torch.testing.assert_close(module(x[None])[0].double(), module_formula(module, x), rtol=0, atol=1e-5)
    torch.testing.assert_close(module.double()(x[None].double())[0], module_formula(module, x), rtol=0, atol=1e-10)


def test_feature_map_is_its_tokens():
    module, x = DiffAttention(32, 4), torch.randn(2, 32, 5, 3)
    expected = module(x.flatten(2).transpose(1, 2)).transpose(1, 2).reshape(x.shape)
    torch.testing.assert_close(module(x), expected, rtol=0, atol=0)


@pytest.mark.parametrize(
    ("dtype", "autocast", "atol"),
    [
        (torch.float64, None, 1e-10),
        (torch.float32, None, 1e-5),
        (torch.bfloat16, None, 2e-2),
        (torch.float16, None, 3e-3),
        (torch.float32, torch.bfloat16, 2e-2),
        (torch.float32, torch.float16, 3e-3),
    ],
)
def test_dtypes(dtype, autocast, atol):
    torch.manual_seed(0)
    module, x = DiffAttention(32, 4, lambda_init=0.5), torch.randn(1, 9, 32)
    expected = module_formula(module, x[0])
    module = copy.deepcopy(module).to(dtype)
    with torch.autocast("cpu", dtype=autocast or torch.bfloat16, enabled=autocast is not None):
        y = module(x.to(dtype))
        assert y.dtype == (autocast or dtype)
        assert module.compute_lambda().dtype == (torch.float64 if dtype == torch.float64 else torch.float32)
    torch.testing.assert_close(y[0].double(), expected, rtol=0, atol=atol)
    big = (x * 1e4).to(dtype)
    with torch.autocast("cpu", dtype=autocast or torch.bfloat16, enabled=autocast is not None):
        y = module(big)
    y.float().sum().backward()
    assert y.isfinite().all()
    assert all(p.grad.isfinite().all() for p in module.parameters())


def test_norm_statistics_are_wide():
    norm = DiffAttention(32, 4).diff_norm
    x = torch.full((1, 16), 300.0, dtype=torch.float16)  # 300 ** 2 overflows float16
    torch.testing.assert_close(norm(x), torch.ones_like(x))


def test_single_token_and_dropout_only_in_training():
    module = DiffAttention(32, 4, attn_drop=0.5, proj_drop=0.5)
    x = torch.randn(1, 1, 32)
    assert module.eval()(x).isfinite().all()
    assert torch.equal(module(x), module(x))
    x = torch.randn(1, 64, 32)
    module.train()
    assert not torch.equal(module(x), module(x))


BAD_MODULES = [  # arguments, the exception, what its message names
    (dict(dim=64, num_heads=3), ValueError, "dim=64 .*num_heads=3"),  # does not divide
    (dict(dim=63, num_heads=3), ValueError, "num_heads=3 must be even"),
    (dict(dim=64, num_heads=1), ValueError, "num_heads=1 must be even"),
    (dict(dim=64, num_heads=0), ValueError, "num_heads=0 must be at least 1"),
    (dict(dim=-64, num_heads=4), ValueError, "dim=-64 must be at least 1"),
    (dict(dim=64.0, num_heads=4), TypeError, r"dim=64\.0 must be an integer"),
    (dict(dim=64, num_heads="4"), TypeError, "num_heads='4' must be an integer"),
    (dict(dim=64, num_heads=True), TypeError, "num_heads=True must be an integer"),
    (dict(dim=64, qkv_bias=0.8), TypeError, r"qkv_bias=0\.8 must be True or False, not float"),
    (dict(dim=64, lambda_per_head=1), TypeError, "lambda_per_head=1 must be True or False"),
    (dict(dim=64, attn_drop=1.0), ValueError, r"attn_drop=1\.0 must be a number in \[0, 1\)"),
    (dict(dim=64, attn_drop=-0.1), ValueError, r"attn_drop=-0\.1"),
    (dict(dim=64, proj_drop=1.5), ValueError, r"proj_drop=1\.5"),
    (dict(dim=64, proj_drop=math.nan), ValueError, "proj_drop=nan"),
    (dict(dim=64, proj_drop="0.1"), ValueError, "proj_drop='0.1'"),
    (dict(dim=64, lambda_init=math.inf), ValueError, "lambda_init=inf must be a finite number"),
    (dict(dim=64, lambda_init=math.nan), ValueError, "lambda_init=nan"),
    (dict(dim=64, lambda_init="0.8"), ValueError, "lambda_init='0.8'"),
    (dict(dim=64, lambda_init=None), ValueError, "lambda_init=None"),
    (dict(dim=64, lambda_init="schedule", depth=0), ValueError, "depth=0 must be an integer >= 1"),
]


@pytest.mark.parametrize(("arguments", "error", "message"), BAD_MODULES)
def test_bad_modules(arguments, error, message):
    with pytest.raises(error, match=message):
        DiffAttention(**arguments)


BAD_INPUTS = [  # shape of x, mask, the exception, what its message names
    ((9, 64), None, ValueError, r"\(9, 64\) has rank 2"),
    ((1, 1, 64, 3, 3), None, ValueError, "rank 5"),
    ((1, 9, 32), None, ValueError, "x has 32 channels.*dim=64"),
    ((1, 32, 3, 3), None, ValueError, "x has 32 channels.*dim=64"),
    ((1, 9, 64), torch.zeros(8, 9), ValueError, r"attn_mask \(8, 9\) must have shape .*\(9, 9\)"),
    ((1, 9, 64), torch.zeros(1, 9, 9), ValueError, r"attn_mask \(1, 9, 9\)"),
    ((1, 64, 3, 3), torch.zeros(3, 3), ValueError, r"attn_mask \(3, 3\)"),
    ((1, 9, 64), torch.ones(9, 9, dtype=torch.bool), TypeError, "torch.bool must be a floating tensor"),
    ((1, 9, 64), (9, 9), TypeError, "of type tuple must be a floating tensor"),
]


@pytest.mark.parametrize(("shape", "mask", "error", "message"), BAD_INPUTS)
def test_bad_inputs(shape, mask, error, message):
    with pytest.raises(error, match=message):
        DiffAttention(64)(torch.randn(shape), mask)


BAD_CALLS = [  # what replaces a good argument, what the message names
    (dict(q2=torch.zeros(1, 2, 5, 3)), r"q2 \(1, 2, 5, 3\)"),
    (dict(k2=torch.zeros(1, 2, 4, 4)), r"k2 \(1, 2, 4, 4\)"),
    (dict(v=torch.zeros(1, 2, 4, 6)), r"v \(1, 2, 4, 6\)"),
    (dict(lam=torch.zeros(3)), r"lam \(3,\)"),
    (dict(lam=torch.zeros(2, 1)), r"lam \(2, 1\)"),
    (dict(dropout_p=1), "dropout_p=1"),
]


@pytest.mark.parametrize(("change", "message"), BAD_CALLS)
def test_bad_calls(change, message):
    good = dict(zip(("q1", "k1", "q2", "k2", "v"), inputs(), strict=True), lam=0.8)
    with pytest.raises(ValueError, match=message):
        diff_attention(**(good | change))


def test_the_gain_of_the_norm_is_not_decayed():
    """As those of stock's norms: ultralytics does not decay what is in a class of PyTorch with Norm in its name."""
    model = DetectionModel("yolo11n-diffattn.yaml", verbose=False)
    trainer = SimpleNamespace(args=SimpleNamespace(), data={"nc": 80})
    optimizer = BaseTrainer.build_optimizer(trainer, model, "SGD", decay=5e-4)
    decay = {id(p): group["weight_decay"] for group in optimizer.param_groups for p in group["params"]}
    attn = model.model[10].m[0].attn
    assert decay[id(attn.diff_norm.weight)] == decay[id(attn.qkv.bn.weight)] == 0
    assert decay[id(attn.lambda_q1)] == decay[id(attn.qkv.conv.weight)] == 5e-4


@pytest.mark.parametrize("backend", BACKENDS)
def test_a_difference_beyond_float16_is_normalized(backend):
    """Where the maps pick values of opposite sign it is (1 + lambda) times as large as what plain attention gives."""
    q, v = torch.full((1, 1, 2, 4), 10.0), torch.tensor([1.0, -1.0]).mul(60000).view(1, 1, 2, 1).expand(1, 1, 2, 8)
    k = torch.tensor([10.0, -10.0]).view(1, 1, 2, 1).expand(1, 1, 2, 4)
    y = diff_attention(*(x.half().contiguous() for x in (q, k, -q, k, v)), 0.8, backend=backend)
    module = DiffAttention(8, num_heads=2)
    expected = module.normalize(torch.full_like(y, 108000.0, dtype=torch.float64))
    torch.testing.assert_close(module.half().normalize(y).double(), expected, rtol=1e-3, atol=0)
