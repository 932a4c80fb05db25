"""precision.py: errors in narrow types, of which no kind has more than plain attention."""

import math
import re

import pytest
import torch
from torch.utils._python_dispatch import TorchDispatchMode
from torch.utils.flop_counter import flop_registry
from ultralytics.nn.modules.block import AAttn, Attention

from ultralytics_diffattn import DiffAttention
from ultralytics_diffattn.errors import MissingFileError
from ultralytics_diffattn.nn import functional
from ultralytics_diffattn.nn.aifi import MultiheadAttention_Diff
from ultralytics_diffattn.nn.area import AAttn_Diff
from ultralytics_diffattn.nn.attention import DiffRMSNorm
from ultralytics_diffattn.nn.blocks import Attention_Diff
from ultralytics_diffattn.nn.paired import PairedAttention_Diff
from ultralytics_diffattn.numerics.precision import (
    EXACT,
    MODES,
    Mode,
    attention_tensors,
    floating_tensors,
    forced_backend,
    load_images,
    relative_error,
)
from ultralytics_diffattn.numerics.tf32 import FACTORS

FLOAT32 = Mode("cast", torch.float32)
KINDS = [  # ours, and the plain attention that it stands for
    pytest.param(Attention_Diff, (128, 2), Attention, id="split"),
    pytest.param(PairedAttention_Diff, (128, 2), Attention, id="paired"),
    pytest.param(DiffAttention, (128, 2), Attention, id="token"),
    pytest.param(AAttn_Diff, (128, 4, 4), AAttn, id="area"),
    pytest.param(MultiheadAttention_Diff, (128, 4), torch.nn.MultiheadAttention, id="aifi"),
]


def pair(kind, size, stock):
    """Return plain attention and ours with its tensors, both with λ = 0.8 where it is a parameter, and their inputs."""
    torch.manual_seed(0)
    plain = stock(*size, batch_first=True) if stock is torch.nn.MultiheadAttention else stock(*size)
    ours = kind(*size)
    ours.load_state_dict(plain.state_dict(), strict=False)
    if hasattr(ours, "lam"):
        ours.lam.data.fill_(0.8)
    x = torch.randn(1, 100, 128) if stock is torch.nn.MultiheadAttention else torch.randn(1, 128, 10, 10)
    return plain.eval(), ours.eval(), (x, x, x) if stock is torch.nn.MultiheadAttention else (x,)


@pytest.mark.parametrize(
    ("result", "exact", "expected"),
    [
        ([3.0, 4.0], [3.0, 4.0], 0.0),
        ([3.0, 4.0], [0.0, 5.0], math.sqrt(10) / 5),
        ([0.0, 0.0], [3.0, 4.0], 1.0),
        ([math.nan, 4.0], [3.0, 4.0], math.inf),
        ([math.inf, 4.0], [3.0, 4.0], math.inf),
    ],
)
def test_relative_error(result, exact, expected):
    assert relative_error(torch.tensor(result), torch.tensor(exact)) == pytest.approx(expected)


@pytest.mark.parametrize(("kind", "size", "stock"), KINDS)
@pytest.mark.parametrize("backend", ["formula", "flash", "tiled"])
def test_every_product_is_emulated(kind, size, stock, backend):
    """PyTorch's own list of what has FLOPs is the oracle."""
    known, seen = {str(op).removeprefix("aten.") for op in flop_registry}, set()

    class Names(TorchDispatchMode):
        def __torch_dispatch__(self, func, types, args=(), kwargs=None):
            seen.add(func._schema.name.removeprefix("aten::").rstrip("_"))
            return func(*args, **kwargs or {})

    plain, ours, x = pair(kind, size, stock)
    for module in (plain, ours):
        with Names(), forced_backend(backend):
            attention_tensors(module, x, {}, FLOAT32)
    products = {n for n in seen if n in known or re.search(r"mm$|conv.*|scaled_dot", n)}
    assert {"bmm", "convolution"} & products
    assert products <= FACTORS.keys()


@pytest.mark.parametrize(("kind", "size", "stock"), KINDS)
def test_float32_is_exact_beside_the_others(kind, size, stock):
    _, ours, x = pair(kind, size, stock)
    exact, wide = (attention_tensors(ours, x, {}, mode) for mode in (EXACT, FLOAT32))
    assert {"output", "gradient of the input", "gradient of λ"} <= exact.keys() == wide.keys()
    for key in exact.keys() - {"gradient of λ"}:
        assert relative_error(wide[key], exact[key]) < 2e-6, key
        for mode in MODES.values():
            assert 2e-5 < relative_error(attention_tensors(ours, x, {}, mode)[key], exact[key]) < 5e-2, (key, mode)
    assert relative_error(wide["gradient of λ"], exact["gradient of λ"]) < 1e-4  # a sum in which much cancels


@pytest.mark.parametrize("mode", MODES)
@pytest.mark.parametrize(("kind", "size", "stock"), KINDS)
def test_no_kind_drifts_further_than_plain_attention(kind, size, stock, mode):
    """By more than half again, on the same tensors; docs/numerics.md has the figures for whole models."""
    drifts = []
    plain, ours, x = pair(kind, size, stock)
    for module in (plain, ours):
        exact = attention_tensors(module, x, {}, EXACT)
        drifts.append(
            {k: relative_error(v, exact[k]) for k, v in attention_tensors(module, x, {}, MODES[mode]).items()}
        )
    for key in ("output", "gradient of the input"):
        assert drifts[1][key] < 1.5 * drifts[0][key], key


@pytest.mark.parametrize("dtype", [torch.float16, torch.bfloat16])
def test_lambda_and_the_statistics_of_the_norm_are_float32_under_autocast(dtype):
    seen = []

    class Types(TorchDispatchMode):
        def __torch_dispatch__(self, func, types, args=(), kwargs=None):
            if func._schema.name in {"aten::rsqrt", "aten::exp"}:
                seen.append((func._schema.name, args[0].dtype))
            return func(*args, **kwargs or {})

    with torch.autocast("cpu", dtype), Types():
        Attention_Diff(128, 2)(torch.randn(1, 128, 4, 4))
    assert {name for name, _ in seen} == {"aten::rsqrt", "aten::exp"}
    assert {t for _, t in seen} == {torch.float32}


def test_small_and_large_outputs_of_a_head_survive_float16():
    """The norm divides by an RMS whose square underflows, or overflows, float16."""
    x = torch.randn(64, dtype=torch.float64)
    for size in (1e-2, 3e3):
        narrow = (x * size).half()
        assert relative_error(DiffRMSNorm(64).half()(narrow), DiffRMSNorm(64).double()(narrow.double())) < 1e-3


def test_head_is_boxes_and_scores_before_they_are_decoded():
    boxes, scores, feature = torch.zeros(1), torch.ones(1), torch.full((1,), 2.0)
    output = {"boxes": boxes, "scores": [scores, None, torch.arange(3)], "feats": [feature]}
    assert floating_tensors(output) == [boxes, scores]


def test_a_forced_backend_computes(monkeypatch):
    """`flash` has its own function, which nothing else calls; behind the context the choice is free again."""
    calls, flash, choose = [], functional.flash, functional.choose
    monkeypatch.setattr(functional, "flash", lambda *inputs: calls.append(1) or flash(*inputs))
    module, x = Attention_Diff(128, 2), torch.randn(1, 128, 2, 2)
    for backend, expected in (("", 0), ("flash", 1)):
        with forced_backend(backend):
            module(x)
        assert len(calls) == expected
    assert functional.choose is choose


def test_a_folder_without_images_is_refused(tmp_path):
    with pytest.raises(MissingFileError, match=r"has no \.jpg or \.png"):
        load_images(str(tmp_path), 64, 1)
