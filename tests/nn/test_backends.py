"""backends.py: every way to compute it against the formula in float64, and which way is taken."""

import math
import shutil

import pytest
import torch

from tests.oracles import equation_1
from ultralytics_diffattn import DiffAttention, diff_attention
from ultralytics_diffattn.evaluation.timing import peak_memory
from ultralytics_diffattn.nn import backends, functional, tiled

FLASH = "aten::_scaled_dot_product_flash_attention_for_cpu"
TOLERANCE = {torch.float64: 1e-10, torch.float32: 1e-5, torch.bfloat16: 3e-2, torch.float16: 4e-3}


@pytest.fixture(autouse=True)
def small_tiles(monkeypatch):
    """Make tiles so small that a few tokens need several, of heads and of rows."""
    monkeypatch.setattr(tiled, "TILE", 2**12)


def make(n=37, m=37, d=8, dv=12, lead=(2, 3), dtype=torch.float64, size=1.0):
    g = torch.Generator().manual_seed(0)
    q1, q2 = torch.randn(2, *lead, n, d, generator=g, dtype=torch.float64) * size
    k1, k2 = torch.randn(2, *lead, m, d, generator=g, dtype=torch.float64)
    v = torch.randn(*lead, m, dv, generator=g, dtype=torch.float64)
    return [x.to(dtype).requires_grad_() for x in (q1, k1, q2, k2, v)]


def run(tensors, lam, backend, mask=None, **arguments):
    """Return the output and the gradients of all inputs and lambda, in float64."""
    tensors = [x.detach().clone().requires_grad_() for x in tensors]
    lam = torch.as_tensor(lam).clone().requires_grad_()
    y = diff_attention(*tensors, lam, mask, backend=backend, **arguments)
    assert y.dtype == tensors[-1].dtype
    (y.double() * torch.linspace(-1, 1, y.numel()).view(y.shape)).sum().backward()
    return [y.detach().double(), *(x.grad.double() for x in (*tensors, lam))]


def kernels(function):
    """Return the names of the operators that a function runs."""
    with torch.profiler.profile() as profile:
        function()
    return {event.name for event in profile.events()}


CAUSAL = torch.full((37, 37), -math.inf).triu(1)
BIAS = torch.linspace(-3, 3, 37 * 37).view(37, 37)
PER_HEAD = torch.tensor([0.2, 0.8, 1.4])
CASES = {  # how the tensors are made, lambda, mask, further arguments
    "plain": ({}, 0.8, None, {}),
    "lambda per head": ({}, PER_HEAD, None, {}),
    "negative lambda": ({}, -0.3, None, {}),
    "causal": ({}, 0.8, CAUSAL, {}),
    "bias": ({}, 0.8, BIAS, {}),
    "more keys": (dict(m=80), 0.8, None, {}),
    "fewer keys": (dict(m=5), 0.8, torch.zeros(37, 5), {}),
    "one token": (dict(n=1, m=1), 0.8, None, {}),
    "equal widths": (dict(d=12), 0.8, None, {}),
    "narrow values": (dict(d=12, dv=4), 0.8, None, {}),
    "no batch": (dict(lead=(3,)), 0.8, None, {}),
    "no heads": (dict(lead=()), 0.8, None, {}),
    "two batches": (dict(lead=(2, 2, 3)), PER_HEAD, None, {}),
    "scale": ({}, 0.8, None, dict(scale=0.9)),
    "negative scale": ({}, 0.8, None, dict(scale=-0.9)),
    "logits beyond exp": (dict(size=300.0), 0.8, None, {}),
}


@pytest.mark.parametrize("backend", ["flash", "tiled"])
@pytest.mark.parametrize("case", CASES)
def test_backends_agree_in_float64(backend, case):
    made, lam, mask, arguments = CASES[case]
    expected = run(make(**made), lam, "formula", mask, **arguments)
    found = run(make(**made), lam, backend, mask, **arguments)
    for a, b in zip(found, expected, strict=True):
        torch.testing.assert_close(a, b, rtol=1e-6 if a.shape == torch.as_tensor(lam).shape else 0, atol=1e-10)


@pytest.mark.parametrize("backend", backends.BACKENDS)
@pytest.mark.parametrize("mask", [None, CAUSAL], ids=["plain", "causal"])
@pytest.mark.parametrize("dtype", TOLERANCE)
def test_dtypes_against_float64(backend, mask, dtype):
    rounded = [x.detach().to(dtype).double() for x in make()]  # the same inputs for both
    expected = run(rounded, torch.tensor(0.8, dtype=torch.float64), "formula", mask)
    found = run([x.to(dtype) for x in rounded], torch.tensor(0.8, dtype=torch.float64), backend, mask)
    for a, b in zip(found, expected, strict=True):
        torch.testing.assert_close(a, b, rtol=0, atol=TOLERANCE[dtype] * max(1, b.abs().max().item()))


@pytest.mark.parametrize("backend", backends.BACKENDS)
def test_backends_are_the_formula_written_out(backend):
    tensors = [x.detach() for x in make(lead=(1,))]
    y = diff_attention(*tensors, 0.8, CAUSAL.double(), backend=backend)
    expected = equation_1(*(x[0] for x in tensors), 0.8, CAUSAL.double())
    torch.testing.assert_close(y[0], expected, rtol=0, atol=1e-10)


@pytest.mark.parametrize("backend", backends.BACKENDS)
@pytest.mark.parametrize("dtype", [torch.bfloat16, torch.float16])
def test_autocast(backend, dtype):
    tensors = make(dtype=torch.float32)
    expected = diff_attention(*tensors, 0.8, backend="formula")
    with torch.autocast("cpu", dtype=dtype):
        y = diff_attention(*tensors, 0.8, backend=backend)
    assert y.dtype == dtype
    torch.testing.assert_close(y.float(), expected, rtol=0, atol=TOLERANCE[dtype])
    y.sum().backward()
    assert all(x.grad.dtype == torch.float32 for x in tensors)


@pytest.mark.parametrize("backend", backends.BACKENDS)
@pytest.mark.parametrize("context", [torch.no_grad, torch.inference_mode])
def test_without_gradients(backend, context):
    tensors = make(dtype=torch.float32)
    expected = diff_attention(*tensors, 0.8, backend=backend)
    kept = [x.detach().clone() for x in tensors]
    with context():
        y = diff_attention(*tensors, 0.8, backend=backend)
        mixed = diff_attention(*tensors, torch.full((3,), 0.8, dtype=torch.float64), backend=backend)
    torch.testing.assert_close(y, expected, rtol=0, atol=1e-6)
    torch.testing.assert_close(mixed, expected, rtol=0, atol=1e-6, check_dtype=False)
    assert all(torch.equal(a, b) for a, b in zip(tensors, kept, strict=True)), "no input is written to"


@pytest.mark.parametrize("backend", backends.BACKENDS)
@pytest.mark.parametrize("case", CASES)
def test_without_gradients_and_channels_first(backend, case):
    """Without gradients the maps' memory is used again; YOLO's blocks have channels before tokens."""
    sizes, lam, mask, arguments = CASES[case]
    tensors = make(**sizes)
    lam, mask = torch.as_tensor(lam, dtype=torch.float64), None if mask is None else mask.double()
    expected = diff_attention(*tensors, lam, mask, backend="formula", **arguments)
    with torch.inference_mode():
        y = diff_attention(*(x.mT.contiguous().mT for x in tensors), lam, mask, backend=backend, **arguments)
    torch.testing.assert_close(y.clone(), expected.detach(), rtol=0, atol=1e-12 * float(expected.detach().abs().max()))


@pytest.mark.parametrize("backend", ["formula", "tiled"])
def test_second_derivatives(backend):
    tensors = make(n=3, m=4, d=2, dv=2, lead=(2,))
    lam = torch.tensor([0.3, 1.1], dtype=torch.float64, requires_grad=True)

    def function(*inputs):
        return diff_attention(*inputs, backend=backend)

    assert torch.autograd.gradcheck(function, (*tensors, lam))
    assert torch.autograd.gradgradcheck(function, (*tensors, lam))


@pytest.mark.parametrize("backend", ["formula", "tiled"])
def test_function_transforms(backend):
    tensors = make(lead=(2,))

    def loss(v):
        return diff_attention(*tensors[:4], v, 0.8, backend=backend).square().sum()

    expected = torch.autograd.grad(loss(tensors[4]), tensors[4])[0]
    torch.testing.assert_close(torch.func.grad(loss)(tensors[4]), expected)


TRANSFORMS = {
    "vmap": lambda f, v: torch.vmap(f)(v),
    "jvp": lambda f, v: torch.func.jvp(f, (v,), (torch.ones_like(v),)),
    "jacrev": lambda f, v: torch.func.jacrev(f)(v),
}


@pytest.mark.parametrize("transform", TRANSFORMS.values(), ids=TRANSFORMS)
def test_transforms_work_with_any_number_of_tokens(monkeypatch, transform):
    tensors = [x.detach() for x in make(n=5, m=5, lead=(2,))]
    results = []
    lam = torch.tensor(0.8, dtype=torch.float64)
    for small in (2**19, 0):  # where tokens are few, and where they are many
        monkeypatch.setattr(backends, "SMALL", small)
        results.append(transform(lambda v: diff_attention(*tensors[:4], v, lam).sum(), tensors[4]))
    torch.testing.assert_close(*results)
    with torch.no_grad():
        torch.vmap(lambda v: diff_attention(*tensors[:4], v, lam))(torch.stack([tensors[4]] * 2))


@pytest.mark.parametrize("backend", ["auto", *backends.BACKENDS])
@pytest.mark.parametrize("shape", [dict(n=0), dict(m=0), dict(lead=(0, 3)), dict(lead=(2, 0)), dict(dv=0)])
def test_of_nothing_comes_nothing(backend, shape):
    tensors = make(**shape)
    y = diff_attention(*tensors, 0.8, backend=backend)
    assert y.shape == (*tensors[0].shape[:-1], tensors[4].shape[-1])
    assert not y.any()


@pytest.mark.parametrize("backend", backends.BACKENDS)
def test_logits_beyond_float16(backend):
    tensors = [x.detach().half() for x in make(size=1.0)]
    tensors[0], tensors[2] = tensors[0] * 1e4, tensors[2] * 1e4  # their products with the keys do not fit any more
    expected = diff_attention(*(x.double() for x in tensors), 0.8)
    y = diff_attention(*tensors, 0.8, backend=backend)
    torch.testing.assert_close(y.double(), expected, rtol=0, atol=1e-2)


@pytest.mark.parametrize("backend", backends.BACKENDS)
@pytest.mark.parametrize("lam", [0.0, 0.5, 1.5, -1.5])
def test_values_near_the_end_of_float16(backend, lam):
    """Where plain attention is finite, so is ours, which may reach beyond the largest value."""
    q1, k1, q2, k2, v = (x.detach().half() for x in make())
    v = (v / v.abs().max() * 5.4e4).half()
    q1, q2 = q1 * 300, -q1 * 300  # each map picks one value, the two maps different ones
    expected = diff_attention(*(x.double() for x in (q1, k1, q2, k2, v)), lam).clamp(-65504, 65504)
    y = diff_attention(q1, k1, q2, k2, v, lam, backend=backend)
    torch.testing.assert_close(y.double(), expected, rtol=2e-3, atol=50)


@pytest.mark.parametrize("backend", backends.BACKENDS)
@pytest.mark.parametrize("dtype", TOLERANCE)
def test_a_query_that_sees_no_key_gets_zeros(backend, dtype):
    mask = CAUSAL.clone()
    mask[[0, 5]] = -math.inf
    found = run(make(dtype=dtype), torch.tensor(0.8), backend, mask.to(dtype))
    expected = run(make(dtype=dtype), torch.tensor(0.8), backend, CAUSAL.to(dtype))
    assert all(x.isfinite().all() for x in found)
    assert not found[0][..., [0, 5], :].any()
    rest = [i for i in range(37) if i not in (0, 5)]
    torch.testing.assert_close(found[0][..., rest, :], expected[0][..., rest, :])
    assert not found[1][..., [0, 5], :].any(), "nor have its queries a gradient"


def test_fake_tensors_have_no_numbers():
    from torch._subclasses.fake_tensor import FakeTensorMode

    with FakeTensorMode():
        q = k = torch.randn(1, 2, 1600, 16)
        assert diff_attention(q, k, q, k, torch.randn(1, 2, 1600, 32), 0.8).shape == (1, 2, 1600, 32)


def test_distributed_tensors(tmp_path):
    from torch.distributed import destroy_process_group, init_process_group
    from torch.distributed._tensor import Replicate, distribute_tensor  # under this name in torch 2.4, too
    from torch.distributed.device_mesh import init_device_mesh

    init_process_group("gloo", init_method=f"file://{tmp_path / 'store'}", rank=0, world_size=1)
    try:
        mesh = init_device_mesh("cpu", (1,))
        g = torch.Generator().manual_seed(0)
        tensors = [torch.randn(1, 2, 800, 16, generator=g) for _ in range(5)]
        y = diff_attention(*(distribute_tensor(x, mesh, [Replicate()]) for x in tensors), 0.8)
        torch.testing.assert_close(y.full_tensor(), diff_attention(*tensors, 0.8), rtol=0, atol=1e-5)
    finally:
        destroy_process_group()


@pytest.mark.parametrize("dtype", TOLERANCE)
@pytest.mark.parametrize("mask", [None, CAUSAL], ids=["plain", "causal"])
def test_flash_kernel_runs(dtype, mask):
    """Not the intention: PyTorch falls back to the formula without a word, as for values that are not contiguous."""
    q1, k1, q2, k2, v = make(dtype=dtype)
    v = v.mT.contiguous().mT  # as C2PSA has them
    names = kernels(lambda: diff_attention(q1, k1, q2, k2, v, 0.8, mask, backend="flash").sum().backward())
    assert {FLASH, f"{FLASH}_backward"} <= names
    assert not {"aten::_softmax", "aten::_scaled_dot_product_attention_math"} & names


@pytest.mark.parametrize("backend", ["tiled", "flash"])
@pytest.mark.parametrize("masked", [False, True], ids=["plain", "masked"])
def test_no_map_is_ever_held(backend, masked):
    tensors = make(n=1024, m=1024, lead=(1, 2), dtype=torch.float32)
    mask = torch.zeros(1024, 1024) if masked else None
    peak = peak_memory(lambda: diff_attention(*tensors, 0.8, mask, backend=backend).sum().backward())
    assert peak < 1024 * 1024 * 4, "the map of one head has 4 MiB"


@pytest.mark.parametrize("backend", ["tiled", "flash"])
def test_memory_is_linear(backend):
    peaks = []
    for n in (1024, 4096):
        tensors = make(n=n, m=n, d=8, dv=8, lead=(1,), dtype=torch.float32)
        peaks.append(peak_memory(lambda t=tensors: diff_attention(*t, 0.8, backend=backend).sum().backward()))
    assert peaks[1] < 4.4 * peaks[0]


def test_learned_mask_has_a_gradient():
    tensors, mask = make(dtype=torch.float32), BIAS.clone().requires_grad_()
    diff_attention(*tensors, 0.8, mask).square().sum().backward()
    assert mask.grad.abs().max() > 0


@pytest.mark.parametrize("backend", ["formula", "flash"])
def test_dropout_drops(backend):
    torch.manual_seed(0)
    tensors = [x.detach() for x in make(dtype=torch.float32)]
    dropped = torch.stack([diff_attention(*tensors, 0.8, dropout_p=0.3, backend=backend) for _ in range(500)])
    assert dropped.std(0).median() > 0.01
    torch.testing.assert_close(dropped.mean(0), diff_attention(*tensors, 0.8), rtol=0, atol=0.15)


def like(n, heads=2, device="cpu", dtype=torch.float32):
    return torch.empty(1, heads, n, 16, device=device, dtype=dtype)


CHOICES = [  # tensor, dropout, backend
    (like(100), 0.0, "formula"),
    (like(400), 0.0, "formula"),  # YOLO11n at 640 px
    (like(400, heads=4), 0.0, "tiled"),  # s and m
    (like(1600), 0.0, "tiled"),
    (like(1600, dtype=torch.bfloat16), 0.0, "tiled"),
    (like(1600), 0.1, "formula"),
    (like(100, device="meta"), 0.0, "formula"),  # a device that nobody measured
]


@pytest.mark.parametrize(("x", "dropout", "expected"), CHOICES)
def test_choice(x, dropout, expected):
    assert backends.choose(x, x, x, None, dropout) == expected


def test_choice_is_followed(monkeypatch):
    tensors = make(dtype=torch.float32)
    for backend in backends.BACKENDS:
        monkeypatch.setattr(functional, "choose", lambda *_, backend=backend: backend)
        names = kernels(lambda: diff_attention(*tensors, 0.8))
        assert (FLASH in names, "aten::_softmax" in names) == (backend == "flash", backend == "formula")


@pytest.mark.parametrize("large", [2**10, 2**20], ids=["flash", "formula"])
@pytest.mark.parametrize("compiler", ["aot_eager", "inductor"])
def test_compiles_as_one_graph(monkeypatch, large, compiler):
    if compiler == "inductor" and not shutil.which("g++"):
        pytest.skip("inductor needs a C++ compiler")
    monkeypatch.setattr(backends, "LARGE", large)
    torch.compiler.reset()
    compiled = torch.compile(diff_attention, fullgraph=True, backend=compiler)
    results = []
    for function in (diff_attention, compiled):
        tensors, lam = make(dtype=torch.float32), PER_HEAD.clone().requires_grad_()
        y = function(*tensors, lam)
        y.square().sum().backward()
        results.append([y.detach(), *(x.grad for x in (*tensors, lam))])
    for a, b in zip(*results, strict=True):
        torch.testing.assert_close(a, b, rtol=1e-5, atol=1e-5)
    with torch.no_grad():
        large_enough = large == 2**10 and hasattr(torch.compiler, "is_exporting")
        assert (FLASH in kernels(lambda: compiled(*tensors, lam))) == large_enough


def test_compiles_with_dynamic_shapes():
    torch.compiler.reset()
    compiled = torch.compile(diff_attention, fullgraph=True, dynamic=True, backend="aot_eager")
    for n in (37, 41):
        tensors = make(n=n, m=n, dtype=torch.float32)
        torch.testing.assert_close(compiled(*tensors, 0.8), diff_attention(*tensors, 0.8), rtol=1e-5, atol=1e-5)


@pytest.mark.parametrize("dynamic", [False, True])
def test_exports_as_the_formula(dynamic):
    module = DiffAttention(32, 4).eval()
    tokens = torch.export.Dim("tokens", min=2, max=4096)
    x = torch.randn(1, 1100, 32)
    program = torch.export.export(module, (x,), dynamic_shapes=({1: tokens},) if dynamic else None)
    torch.testing.assert_close(program.module()(x), module(x), rtol=0, atol=1e-5)
    if dynamic:
        x = torch.randn(1, 700, 32)
        torch.testing.assert_close(program.module()(x), module(x), rtol=0, atol=1e-5)
    assert not any("scaled_dot" in str(node.target) for node in program.graph.nodes)


BAD = [  # arguments, what the message names
    (dict(backend="fast"), "backend='fast' must be 'auto' or one of 'formula', 'flash', 'tiled'"),
    (dict(backend="tiled", dropout_p=0.1), "without dropout"),
    (dict(backend="tiled", attn_mask=torch.zeros(37, 37, requires_grad=True)), "gradient of attn_mask"),
]


@pytest.mark.parametrize(("arguments", "message"), BAD)
def test_bad_backends(arguments, message):
    with pytest.raises(ValueError, match=message):
        diff_attention(*make(dtype=torch.float32), lam=0.8, **arguments)


def test_tiles_are_not_traced():
    """Their number would be that of the example."""
    with pytest.raises(ValueError, match="cannot be exported; use 'auto'"):
        torch.jit.trace(lambda *x: diff_attention(*x, 0.8, backend="tiled"), make(dtype=torch.float32))


def test_whole_numbers_are_refused():
    *tensors, v = make(dtype=torch.float32)
    with pytest.raises(TypeError, match=r"torch\.float32, torch\.int64 must be floating"):
        diff_attention(*tensors, v.long(), 0.8)
