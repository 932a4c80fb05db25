"""Bad input at scale: what random arguments and YAML rows ask for is built and trains, or is refused by name."""

import copy
import inspect
import math
import re
import traceback
import warnings
from collections import Counter
from fractions import Fraction
from pathlib import Path

import numpy as np
import pytest
import torch
from hypothesis import HealthCheck, event, given, settings
from hypothesis import strategies as st
from ultralytics.nn import tasks

import ultralytics_diffattn
from ultralytics_diffattn import (
    A2C2f_Diff,
    AAttn_Diff,
    AIFI_Diff,
    Attention_Diff,
    C2PSA_Diff,
    C3k2_Diff,
    DiffAttention,
    PairedAttention_Diff,
    PSABlock_Diff,
    diff_attention,
    lambda_init_schedule,
)
from ultralytics_diffattn.plugin import module_table

PACKAGE = Path(ultralytics_diffattn.__path__[0])
COUNTS = Counter()  # of outcomes, over all tests of this file


def tries(count):
    """Return the settings of a test that tries so many specifications, the same in each run."""
    return settings(max_examples=count, derandomize=True, deadline=None, suppress_health_check=list(HealthCheck))


def counted(outcome):
    """Count an outcome, here and among hypothesis' statistics."""
    COUNTS[outcome] += 1
    event(outcome)


# No huge number of channels or blocks: what does not fit into memory is PyTorch's to say
JUNK = st.sampled_from([
    0, -1, -64, 3, True, False, 0.0, 1.0, 1.5, -0.5, 64.0, math.nan, math.inf, -math.inf, None, "", "x", "64", "nan",
    "split", "paired", "token", "schedule", [], [64], (2, 2), {}, b"64", object, 1j, Fraction(1, 3),
    np.int64(64), np.float32(0.5), np.float64(0.5), np.bool_(True), torch.tensor(2), torch.nn.GELU(),
])  # fmt: skip
CHANNELS = st.sampled_from([1, 2, 8, 24, 32, 64, 64, 128, 130])
HEADS = st.sampled_from([1, 2, 2, 3, 4, 8])
RATIO = st.sampled_from([0.5, 0.5, 0.25, 1.0, 1, 0.01])
BLOCKS = st.integers(1, 2)
KIND = st.sampled_from(["split", "paired", "token"])
LAMBDA = st.one_of(st.floats(-10, 10), st.sampled_from(["schedule", 0, 1, 0.8]))
DROP = st.one_of(st.sampled_from([0, 0.0, 0.1]), st.floats(0, 1, exclude_max=True))
DEPTH = st.integers(1, 40)
AREA = st.sampled_from([1, 2, 4, 5])
ACT = st.sampled_from([None, torch.nn.GELU(), torch.nn.ReLU()])
WIDTH = st.sampled_from([1, 16, 64])
SAME = {"c1": CHANNELS, "c2": None}  # None: as the first
ANY = {"c1": CHANNELS, "c2": CHANNELS}

MODULES = [  # the module, sensible values of its arguments
    (DiffAttention, dict(dim=CHANNELS, num_heads=HEADS, qkv_bias=st.booleans(), attn_drop=DROP, proj_drop=DROP,
                         lambda_init=LAMBDA, lambda_per_head=st.booleans(), depth=DEPTH)),
    (Attention_Diff, dict(dim=CHANNELS, num_heads=HEADS, attn_ratio=RATIO, lambda_init=LAMBDA,
                          lambda_per_head=st.booleans(), depth=DEPTH)),
    (PairedAttention_Diff, dict(dim=CHANNELS, num_heads=HEADS, attn_ratio=RATIO)),
    (PSABlock_Diff, dict(c=CHANNELS, attn_ratio=RATIO, num_heads=HEADS, shortcut=st.booleans(), kind=KIND,
                         lambda_init=LAMBDA, depth=DEPTH)),
    (C2PSA_Diff, dict(SAME, n=BLOCKS, e=RATIO, kind=KIND, lambda_init=LAMBDA)),
    (C3k2_Diff, dict(ANY, n=BLOCKS, c3k=st.booleans(), e=RATIO, attn=st.just(True), kind=KIND, lambda_init=LAMBDA)),
    (AAttn_Diff, dict(dim=CHANNELS, num_heads=HEADS, area=AREA)),
    (A2C2f_Diff, dict(ANY, n=BLOCKS, a2=st.just(True), area=AREA, residual=st.booleans(), mlp_ratio=RATIO, e=RATIO,
                      g=st.just(1), shortcut=st.booleans())),
    (AIFI_Diff, dict(c1=CHANNELS, cm=WIDTH, num_heads=HEADS, dropout=DROP, act=ACT, normalize_before=st.booleans())),
]  # fmt: skip
CALLED = *(module for module, _ in MODULES), AAttn_Diff.forward, diff_attention, lambda_init_schedule
NAMES = {name for called in CALLED for name in inspect.signature(called).parameters} | {"H"}


@st.composite
def arguments(draw, sensible):
    """Draw sensible arguments, and now and then put junk in place of one or two."""
    given = {}
    for name, values in sensible.items():
        given[name] = next(iter(given.values())) if values is None else draw(values)
    for name in draw(st.one_of(st.just([]), st.lists(st.sampled_from(list(given)), max_size=2, unique=True))):
        given[name] = draw(JUNK)
    return given


def refused(function, *args, **kwargs):
    """Return what the function returns and None, or None and our own error; any other error passes."""
    try:
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")  # PyTorch's, of an empty layer
            return function(*args, **kwargs), None
    except (TypeError, ValueError) as caught:
        error = caught
    last = traceback.extract_tb(error.__traceback__)[-1]
    named = set(re.findall(r"\b(\w+)(?:=| \(| of\b)", str(error)))
    assert Path(last.filename).parent == PACKAGE / "nn", f"not our error: {error!r} in {last.filename}"
    assert last.line.startswith("raise"), f"not meant: {error!r}, {last}"
    assert named & NAMES, f"names no argument: {error!r}"
    counted(f"our {type(error).__name__}")
    return None, error


def assert_trains(module, x, shape, ours=None):
    """Run forward and backward; all that comes out is finite, and every parameter (of ours) gets a gradient."""
    y, error = refused(module, x.requires_grad_())
    if error is not None:
        assert re.match(r"H=\d+, W=\d+ give \d+ positions, which do not divide into area=", str(error))
        return
    assert y.shape == shape
    (y * torch.randn_like(y)).sum().backward()
    assert y.isfinite().all()
    for name, parameter in (("x", x), *(ours or module).named_parameters()):
        assert parameter.grad is not None, name
        assert parameter.grad.isfinite().all(), name
    counted("built")


@pytest.mark.parametrize(("module", "sensible"), MODULES, ids=[module.__name__ for module, _ in MODULES])
def test_module_arguments(module, sensible):
    @tries(80)
    @given(arguments(sensible))
    def run(kwargs):
        torch.manual_seed(0)
        built, _ = refused(module, **kwargs)
        if built is not None:
            c1, c2 = (
                kwargs[next(n for n in names if n in kwargs)]
                for names in (("c1", "dim", "c"), ("c2", "c1", "dim", "c"))
            )
            assert_trains(built, torch.randn(2, c1, 4, 6), (2, c2, 4, 6))

    run()


@tries(80)
@given(st.one_of(DEPTH, JUNK))
def test_schedule_argument(depth):
    value, error = refused(lambda_init_schedule, depth)
    if error is None:
        assert 0.2 <= value <= 0.8
        counted("built")


def drawn(*shape):
    """Return a tensor of normal numbers that wants its gradient."""
    return torch.randn(shape, requires_grad=True)


@st.composite
def calls(draw):
    """Draw the arguments of `diff_attention`, and now and then put junk in place of one or two."""
    lead, n, m, d, dv = draw(st.sampled_from([(), (2,), (1, 2), (2, 3)])), *(draw(st.integers(1, 4)) for _ in range(4))
    given = {"q1": drawn(*lead, n, d), "k1": drawn(*lead, m, d), "q2": drawn(*lead, n, d), "k2": drawn(*lead, m, d)}
    given |= {"v": drawn(*lead, m, dv), "lam": draw(st.one_of(st.floats(-3, 3), st.just(drawn(*lead[-1:]))))}
    given["attn_mask"] = draw(st.sampled_from([None, torch.randn(n, m), drawn(n, m)]))
    given["dropout_p"] = draw(DROP)
    given["scale"] = draw(st.one_of(st.none(), st.floats(-3, 3)))
    given["backend"] = draw(st.sampled_from(["auto", "auto", "formula", "flash", "tiled"]))
    shapes = st.lists(st.integers(1, 4), max_size=4).map(lambda shape: drawn(*shape))
    for name in draw(st.one_of(st.just([]), st.lists(st.sampled_from(list(given)), max_size=2, unique=True))):
        given[name] = draw(st.one_of(JUNK, shapes) if name != "lam" else JUNK)
    return given


@tries(250)
@given(calls())
def test_function_arguments(kwargs):
    torch.manual_seed(0)
    y, _ = refused(diff_attention, **kwargs)
    if y is not None:
        assert y.shape == (*kwargs["q1"].shape[:-1], kwargs["v"].shape[-1])
        y.sum().backward()
        assert y.isfinite().all()
        assert all(
            x.grad is not None and x.grad.isfinite().all()
            for x in kwargs.values()
            if isinstance(x, torch.Tensor) and x.requires_grad
        )
        counted("built")


ROWS = {  # the row, sensible values of its arguments; 64 channels come in, of 128 in all rows with width 0.5
    "C2PSA_Diff": [st.just(64), RATIO, KIND, LAMBDA],
    "C3k2_Diff": [CHANNELS, st.booleans(), RATIO, st.just(True), KIND, LAMBDA],
    "A2C2f_Diff": [st.sampled_from([64, 128]), st.just(True), AREA, st.booleans(), RATIO],
    "AIFI_Diff": [WIDTH, HEADS, DROP, st.none(), st.booleans()],
    "DiffAttention": [st.just(64), HEADS, st.booleans(), DROP, DROP, LAMBDA, st.booleans(), DEPTH],
}
OF_A_YAML = st.sampled_from([
    0, -1, 3, 1.5, True, False, None, math.nan, math.inf, "", "x", "token", "None", "nc", "[1]", "-1", "scales",
    [], [64], [[2]], {},
])  # fmt: skip


@st.composite
def models(draw, name):
    """Draw a classifier with one row of ours, and now and then junk in one or two places of that row."""
    args = [draw(values) for values in ROWS[name]]
    row = [-1, draw(st.sampled_from([1, 1, 2, 3, 0])), name, args[: draw(st.integers(0, len(args)))]]
    for place in draw(st.one_of(st.just([]), st.lists(st.integers(0, 9), max_size=2, unique=True))):
        junk = draw(OF_A_YAML)
        if place == 0:
            row[0] = draw(st.sampled_from([-2, -3, 0, 1, 7, -7, [-1], [0, 1], [], None, "x", 1.0, True]))
        elif place == 1:
            row[1] = draw(st.sampled_from([-1, 0, 1.5, 0.5, True, None, "2", [2]]))
        elif place == 2:
            row[3] = [*args, junk]  # one more than all
        elif place == 3:
            row[3] = draw(st.sampled_from([junk, [row[3]]]))
        elif isinstance(row[3], list) and row[3]:
            row[3][place % len(row[3])] = junk
    width = draw(st.sampled_from([1.0, 1.0, 0.5, 0.25]))
    stem = [[-1, 1, "Conv", [int(64 / width), 3, 2]] for _ in range(draw(st.integers(1, 2)))]
    if isinstance(row[3], list) and row[3][:1] == [64]:
        row[3][0] = int(64 / width)
    tail = draw(st.sampled_from([[], [[-1, 1, "Conv", [64]]]]))
    scale = draw(st.sampled_from("nsmlx"))
    d = {"nc": 2, "scales": {scale: [draw(st.sampled_from([1.0, 0.5])), width, 1024]}, "scale": scale}
    return d | {"backbone": [*stem, row, *tail], "head": [[-1, 1, "Classify", ["nc"]]]}, len(stem)


def built(d):
    """Return the model of a YAML and None, or None and the error."""
    torch.manual_seed(0)
    try:
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")
            model = tasks.BaseModel()  # ClassificationModel counts FLOPs at 640 px, which takes long
            model.model, model.save = tasks.parse_model(copy.deepcopy(d), ch=3, verbose=False)
            return model, None
    except Exception as error:
        return None, error


@pytest.mark.parametrize("name", ROWS)
def test_yaml_rows(name):
    @tries(120)
    @given(models(name))
    def run(drawn):
        d, i = drawn
        model, error = built(d)
        if error is None:
            assert_trains(model, torch.randn(2, 3, 8, 12), (2, 2), model.model[i])
        elif f"(row {i} of the model YAML: " in str(error):
            assert isinstance(error, (TypeError, ValueError)), repr(error)
            counted(f"our {type(error).__name__}")
        else:  # then the row was not ours yet, and stock's in its place is refused alike
            d["backbone"][i][2] = module_table.MODULES[name].like
            stock = built(d)[1]
            assert (type(stock), str(stock)) == (type(error), str(error))
            counted("stock's own")

    run()
