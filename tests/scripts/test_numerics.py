"""scripts/numerics.py measures what it says, narrow types cost no kind more than plain attention, docs/numerics.md."""

import math
import re
import runpy
import sys

import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st
from torch.utils._python_dispatch import TorchDispatchMode
from torch.utils.flop_counter import flop_registry
from ultralytics.nn.modules.block import AAttn, Attention
from ultralytics.utils import LOGGER

from tests.pages import PAGES
from tests.places import ROOT
from ultralytics_diffattn import DiffAttention
from ultralytics_diffattn.cli import parse
from ultralytics_diffattn.nn import attention
from ultralytics_diffattn.nn.aifi import MultiheadAttention_Diff
from ultralytics_diffattn.nn.area import AAttn_Diff
from ultralytics_diffattn.nn.attention import DiffRMSNorm
from ultralytics_diffattn.nn.blocks import Attention_Diff
from ultralytics_diffattn.nn.paired import PairedAttention_Diff

SCRIPT = runpy.run_path(str(ROOT / "scripts" / "numerics.py"))
MODES, inside, error = SCRIPT["MODES"], SCRIPT["inside"], SCRIPT["error"]
PAGE = PAGES.get("docs/numerics.md", "")

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
    ("found", "true", "expected"),
    [
        ([3.0, 4.0], [3.0, 4.0], 0.0),
        ([3.0, 4.0], [0.0, 5.0], math.sqrt(10) / 5),
        ([0.0, 0.0], [3.0, 4.0], 1.0),
        ([math.nan, 4.0], [3.0, 4.0], math.inf),
        ([math.inf, 4.0], [3.0, 4.0], math.inf),
    ],
)
def test_error(found, true, expected):
    assert error(torch.tensor(found), torch.tensor(true)) == pytest.approx(expected)


@given(st.floats(width=32, allow_nan=False, allow_infinity=False, allow_subnormal=False))
def test_tf32_is_a_significand_of_11_bits(x):
    """Python's own `round` goes to the nearest and to even on a tie."""
    m, e = math.frexp(x)  # 0.5 <= |m| < 1
    expected = math.ldexp(round(m * 2**11), e - 11)
    expected = math.copysign(math.inf, x) if abs(expected) >= 2**128 else expected
    assert SCRIPT["round_tf32"](torch.tensor([x])).item() == expected


@pytest.mark.parametrize(
    ("x", "expected"),
    [(1 + 2**-11, 1.0), (1 + 3 * 2**-11, 1 + 2**-9), (-1 - 3 * 2**-11, -1 - 2**-9), (math.inf, math.inf), (0.0, 0.0)],
)
def test_tf32_by_hand(x, expected):
    assert SCRIPT["round_tf32"](torch.tensor([x])).item() == expected
    assert SCRIPT["round_tf32"](torch.tensor([math.nan])).isnan().all()


def test_emulated_product_is_that_of_rounded_factors_also_in_the_backward_pass():
    torch.manual_seed(0)
    a, b, w = torch.randn(3, 5, requires_grad=True), torch.randn(5, 4), torch.randn(3, 4)
    with SCRIPT["tf32"](torch.device("cpu")):
        y = a @ b
        y.backward(w)
    r = SCRIPT["round_tf32"]
    assert torch.equal(y, r(a.detach()) @ r(b))
    assert torch.equal(a.grad, r(w) @ r(b).T)
    assert not torch.equal(y, a @ b)


@pytest.mark.parametrize(("kind", "size", "stock"), KINDS)
@pytest.mark.parametrize("backend", ["formula", "flash", "tiled"])
def test_every_product_is_emulated(kind, size, stock, backend, monkeypatch):
    """PyTorch's own list of what has FLOPs is the oracle."""
    known, seen = {str(op).removeprefix("aten.") for op in flop_registry}, set()

    class Names(TorchDispatchMode):
        def __torch_dispatch__(self, func, types, args=(), kwargs=None):
            seen.add(func._schema.name.removeprefix("aten::").rstrip("_"))
            return func(*args, **kwargs or {})

    monkeypatch.setattr(attention, "choose", lambda *_: backend)
    plain, ours, x = pair(kind, size, stock)
    for module in (plain, ours):
        with Names():
            inside(module, x, {}, "cast", torch.float32)
    products = {n for n in seen if n in known or re.search(r"mm$|conv.*|scaled_dot", n)}
    assert {"bmm", "convolution"} & products
    assert products <= SCRIPT["PRODUCTS"].keys()


@pytest.mark.parametrize(("kind", "size", "stock"), KINDS)
def test_float32_is_exact_beside_the_others(kind, size, stock):
    _, ours, x = pair(kind, size, stock)
    true, wide = (inside(ours, x, {}, "cast", dtype) for dtype in (torch.float64, torch.float32))
    assert {"output", "gradient of the input", "gradient of λ"} <= true.keys() == wide.keys()
    for key in true.keys() - {"gradient of λ"}:
        assert error(wide[key], true[key]) < 2e-6, key
        for how in MODES.values():
            assert 2e-5 < error(inside(ours, x, {}, *how)[key], true[key]) < 5e-2, (key, how)
    assert error(wide["gradient of λ"], true["gradient of λ"]) < 1e-4  # a sum in which much cancels


@pytest.mark.parametrize("mode", MODES)
@pytest.mark.parametrize(("kind", "size", "stock"), KINDS)
def test_no_kind_drifts_further_than_plain_attention(kind, size, stock, mode):
    """By more than half again, on the same tensors; docs/numerics.md has the figures for whole models."""
    drifts = []
    plain, ours, x = pair(kind, size, stock)
    for module in (plain, ours):
        true = inside(module, x, {}, "cast", torch.float64)
        drifts.append({k: error(v, true[k]) for k, v in inside(module, x, {}, *MODES[mode]).items()})
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
        assert error(DiffRMSNorm(64).half()(narrow), DiffRMSNorm(64).double()(narrow.double())) < 1e-3


ONES = [1.0] * 50
SERIES = [  # norms, the first step behind the warm-up, spikes
    (ONES, 0, 0),  # nothing has a window
    ([*ONES, 5.0], 0, 0),  # not over
    ([*ONES, 5.1, 1.0, 6.0], 0, 2),
    ([*ONES, 5.1], 1, 0),  # its window would begin in the warm-up
    ([99.0, *ONES, 5.1], 1, 1),
    ([*[0.2] * 50, *[1.1] * 50], 0, 25),  # a new level, until it is half of the window
    ([*ONES, math.nan], 0, 1),
    ([*ONES, math.inf], 0, 1),
]


@pytest.mark.parametrize(("norms", "first", "expected"), SERIES)
def test_spikes(norms, first, expected):
    assert SCRIPT["spikes"](norms, first) == expected


def test_summary_of_a_training():
    rows = [{"epoch": "0", "total": "900", "attention": "1", "lambda": "", "gain": "", "lam": ""}] * 7
    rows = rows + [{**rows[0], "epoch": "1", "total": "4"}] * 51 + [{**rows[0], "epoch": "2", "total": "24"}]
    cells = SCRIPT["summary"](rows, 1)
    assert cells == ["2", "50%", "14; ×6.0; 1/1/1", "1; ×1.0; 0/0/0", "-", "-", "-", "-"]
    assert SCRIPT["summary"](rows[:20], 1) == ["0"]


def test_norms_are_those_before_clipping(tiny, tmp_path, monkeypatch, capsys):
    """What `clip_grad_norm_` returns is the oracle; a second call trains nothing again."""
    clipped, clip = [], torch.nn.utils.clip_grad_norm_

    def noting(*args, **kwargs):
        clipped.append(clip(*args, **kwargs).item())
        return torch.tensor(clipped[-1])

    monkeypatch.setattr(torch.nn.utils, "clip_grad_norm_", noting)
    args = {"data": str(tiny), "project": str(tmp_path), "epochs": 1, "imgsz": 64, "batch": 4, "nbs": 4, "workers": 0}
    args |= {"plots": False, "val": False, "device": "cpu", "plot": str(tmp_path / "norms.png")}
    for _ in range(2):
        SCRIPT["norms"](["yolo11n-diffattn.yaml"], [3], **args)
    rows = list(SCRIPT["csv"].DictReader((tmp_path / "yolo11n-diffattn-3" / "norms.csv").read_text().splitlines()))
    assert [float(r["total"]) for r in rows] == pytest.approx(clipped, rel=1e-4)
    assert len(rows) == 2
    for r in rows:
        parts = [float(r[k]) for k in ("attention", "lambda", "gain")]
        assert 0 < math.hypot(*parts) < float(r["total"])
        assert min(parts) > 0
        assert 1e-5**0.5 < float(r["rms_min"]) < float(r["rms_median"])
    assert "| yolo11n-diffattn | 3 | 0 |" in capsys.readouterr().out
    assert (tmp_path / "norms.png").stat().st_size > 10_000


def test_drift_of_a_model(tiny, capsys):
    """Each quantity of each model comes with a figure, and the first model's are once itself."""
    models = ["yolo11n.yaml", "yolo11n-diffattn.yaml"]
    SCRIPT["drift"](models, source=str(tiny.parent / "images" / "val"), imgsz=64)
    rows = [line.strip("| ").split(" | ") for line in capsys.readouterr().out.splitlines()[2:]]
    assert [r[1] for r in rows if r[0] == "yolo11n"] == [
        "projection", "output", "gradient of the input", "head of the model"
    ]  # fmt: skip
    assert len([r for r in rows if r[0] == "yolo11n-diffattn"]) == 7
    for name, key, *cells in rows:
        assert all(0 < float(c.split()[0]) < 0.5 for c in cells), (name, key)
        assert all(c.endswith("(×1.00)") for c in cells) or name != "yolo11n"
    assert not all(c.endswith("(×1.00)") for name, _, *cells in rows for c in cells if "(" in c)


def test_head_is_boxes_and_scores_before_they_are_decoded():
    boxes, scores, feature = torch.zeros(1), torch.ones(1), torch.full((1,), 2.0)
    found = SCRIPT["tensors"]({"boxes": boxes, "scores": [scores, None, torch.arange(3)], "feats": [feature]})
    assert found == [boxes, scores]


COMMANDS = re.findall(r"`python scripts/numerics.py (\w+) ([^`]+)`", PAGE)


def test_commands_of_the_page():
    assert {verb for verb, _ in COMMANDS} == {"drift", "norms"}
    for verb, words in COMMANDS:
        own = {"models": "", "seeds": 0, "whole": 0, "count": 2, "backend": "", "plot": ""}
        needed = {"drift": {"models", "source"}, "norms": {"models", "data", "project"}}[verb]
        assert parse(words.split(), own).keys() >= needed, words


def test_script_refuses_what_it_does_not_know(monkeypatch, caplog):
    caplog.set_level(LOGGER.level, LOGGER.name)  # puts back in the end what the script changes
    for words in ([], ["drift"], ["norm", "models=a"], ["norms", "models=a.yaml"]):
        monkeypatch.setattr(sys, "argv", ["numerics.py", *words])
        with pytest.raises(SystemExit, match="narrow types"):
            runpy.run_path(str(ROOT / "scripts" / "numerics.py"), run_name="__main__")


def cells(quantity):
    """Return the ratios to plain attention of a quantity, of our models, in all tables of the page."""
    rows = re.findall(rf"^\| \S*diffattn\S* \| {quantity} \| (.+) \|$", PAGE, re.M)
    return [float(x) for row in rows for x in re.findall(r"\(×([\d.]+)\)", row)]


@pytest.mark.parametrize("quantity", ["output", "gradient of the input", "head of the model"])
def test_summary_of_the_page_is_its_tables(quantity):
    found = cells(quantity)
    low, high = re.search(rf"^\| {quantity} \| ×([\d.]+) to ×([\d.]+) \|", PAGE, re.M).groups()
    assert (float(low), float(high)) == (min(found), max(found))


def test_spikes_of_the_page_are_its_tables():
    """The sentence that answers the question has the sums over the rows of the two tables of trainings."""
    sums, steps = {"yolo11n": 0, "yolo11n-diffattn": 0}, {"yolo11n": 0, "yolo11n-diffattn": 0}
    for name, n, over in re.findall(r"^\| (\S+) \| \d \| (\d+) \| \d+% \| [^|]+/(\d+) \|", PAGE, re.M):
        sums[name] += int(over)
        steps[name] += int(n)
    said = re.search(r"(\d+) of (\d+) steps of stock and (\d+) of (\d+) of `split`", PAGE).groups()
    assert tuple(map(int, said)) == (
        sums["yolo11n"], steps["yolo11n"], sums["yolo11n-diffattn"], steps["yolo11n-diffattn"]
    )  # fmt: skip
