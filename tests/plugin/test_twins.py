"""twins.py: YAML rows of ours are read as stock's, and stock models do not notice."""

import inspect
import re
import threading
import types
from pathlib import Path

import pytest
import torch
import ultralytics
import yaml
from ultralytics.nn import tasks

from tests.interpreters import forked, python
from tests.places import ROOT, SCALES, model_yamls, scaled
from tests.samples import build_rows
from ultralytics_diffattn import Attention_Diff, C2PSA_Diff, DiffAttention, register
from ultralytics_diffattn.errors import UserError
from ultralytics_diffattn.nn.token import TokenAttention_Diff
from ultralytics_diffattn.plugin import twins
from ultralytics_diffattn.plugin.attach import attach
from ultralytics_diffattn.plugin.module_table import MODULES


@pytest.mark.parametrize("name", MODULES)
def test_twins_stand_in_tasks_and_nowhere_else(name):
    twin, stock = vars(tasks)[name], vars(tasks)[MODULES[name].like]
    assert twin == stock
    assert stock == twin
    assert twin in frozenset({stock})
    assert twin in (stock,)
    assert stock in {twin}
    assert twin is not stock
    assert twin not in {tasks.Conv, tasks.Detect}
    assert issubclass(twin, torch.nn.Module)  # what ultralytics asks of a row under ULTRALYTICS_SAFE_LOAD
    assert repr(twin) == f"<class 'ultralytics_diffattn.{name}'>"  # parse_model prints it beside the row


def test_models_hold_the_ordinary_classes():
    layers = build_rows([-1, 2, "C2PSA_Diff", [128, 1.0, "token"]], [-1, 2, "DiffAttention", [128, 8]])
    assert type(layers[1]) is C2PSA_Diff
    assert len(layers[1].m) == 2
    assert [type(m) for m in layers[2]] == [DiffAttention, DiffAttention]
    assert layers[1].type == "ultralytics_diffattn.C2PSA_Diff"


@pytest.mark.parametrize(("scale", "width"), [("n", 64), ("x", 384)])
def test_diff_attention_row_scales_with_the_width(scale, width):
    rows = [-1, 1, "Conv", [256, 3, 2]], [-1, 1, "DiffAttention", [256, 8, False, 0.1, 0.2, 0.5]]
    module = build_rows(*rows, scale=scale)[2]
    assert module.q_proj.weight.shape == (width, width)
    assert (module.q_proj.bias, module.attn_drop, module.proj_drop.p, module.lambda_init) == (None, 0.1, 0.2, 0.5)


ATTENTION = {  # stock's YAML, and its rows that ours can stand for
    "11/yolo11.yaml": r"C2PSA(?=,)",
    "12/yolo12.yaml": r"A2C2f(?=, \[\d+, True)",
    "26/yolo26.yaml": r"C3k2(?=, \[1024, True, 0.5, True)",
    "rt-detr/rtdetr-l.yaml": r"AIFI(?=,)",
}


@pytest.mark.parametrize("scale", SCALES)
@pytest.mark.parametrize("file", ATTENTION)
def test_rows_are_read_as_stocks(file, scale):
    """The one silent risk of a twin: a parser with a branch `if m is C2PSA` (DESIGN.md, section 3)."""
    file, rows = Path(ultralytics.__path__[0], "cfg", "models", file), ATTENTION[file]
    if not file.is_file():
        pytest.skip("this ultralytics has no such model")

    def layers(text):
        scales = {
            "n": [0.5, 0.25, 1024],
            "s": [0.5, 0.5, 1024],
            "m": [0.5, 1, 512],
            "l": [1, 1, 512],
            "x": [1, 1.5, 512],
        }
        with torch.device("meta"):
            return tasks.parse_model(yaml.safe_load(text) | {"scale": scale, "scales": scales}, ch=3, verbose=False)

    text = file.read_text()
    changed, count = re.subn(rf"\b{rows}", r"\g<0>_Diff", text)
    (ours, save), (stock, stock_save) = layers(changed), layers(text)
    assert count
    assert save == stock_save
    shapes = {n: v.shape for n, v in ours.state_dict().items()}
    expected = {n: v.shape for n, v in stock.state_dict().items()}
    assert {n: shapes.get(n) for n in expected} == expected
    twins = [(a, b) for a, b in zip(ours, stock, strict=True) if type(a) is not type(b)]
    assert len(twins) == count
    for a, b in twins:
        assert len(getattr(a, "m", ())) == len(getattr(b, "m", ()))


@pytest.mark.parametrize("row", MODULES.values(), ids=MODULES)
def test_stock_modules_have_no_branch_of_their_own(row):
    """`m is X` is false of a twin of X: what such a branch does, the row of the table has to do."""
    source = inspect.getsource(tasks.parse_model)
    assert bool(re.search(rf"\bm is (not )?{row.like}\b", source)) == (row.adjust is not None)


@pytest.mark.parametrize("written", [[], [False], [False, 0.5, True, "split"]], ids=str)
def test_c3k_is_given_as_stock_gives_it(written, monkeypatch):
    """Nothing in the block shows it, so the arguments have to."""
    seen = []
    monkeypatch.setattr(twins, "resolve_name", lambda _: lambda *args: seen.append(args) or torch.nn.Identity())
    for scale in "nx":
        build_rows([-1, 1, "C3k2_Diff", [128, *written]], scale=scale)
    assert seen == [(32, 32, 1, *written), (192, 192, 1, True, *written[1:])]


def test_scale_is_the_first_where_none_is_given():
    """As parse_model has it; A2C2f of scale x has a gamma."""
    row = [-1, 1, "A2C2f_Diff", [128, True, 1]]
    for scales, wide in (({"x": [1, 1, 512], "n": [1, 1, 512]}, True), ({"n": [1, 1, 512], "x": [1, 1, 512]}, False)):
        d = {"nc": 3, "scales": scales, "backbone": [[-1, 1, "Conv", [128, 3, 2]], row], "head": []}
        assert (tasks.parse_model(d, ch=3, verbose=False)[0][1].gamma is not None) is wide
    assert build_rows(row)[1].gamma is None  # no scales at all
    assert build_rows([*row[:3], [128, True, 1, True, 1.2]], scale="x")[1].gamma is not None  # written out in the row


def test_register_is_idempotent_and_thread_safe():
    before = {n: vars(tasks)[n] for n in (*MODULES, "check_yaml")}
    threads = [threading.Thread(target=register) for _ in range(16)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert all(vars(tasks)[n] is v for n, v in before.items())


def test_many_threads_build_at_once():
    kinds, results = ["split", "token"] * 4, {}

    def work(i):
        results[i] = build_rows([-1, 1, "C2PSA_Diff", [128, 1.0, kinds[i]]], [-1, 1, "C2PSA", [128]])

    threads = [threading.Thread(target=work, args=(i,)) for i in range(len(kinds))]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    for i, kind in enumerate(kinds):
        assert type(results[i][1].m[0].attn) is {"split": Attention_Diff, "token": TokenAttention_Diff}[kind]
        assert type(results[i][2]) is tasks.C2PSA


STOCK = """
import hashlib, sys, torch
from ultralytics.nn.tasks import DetectionModel
torch.manual_seed(0)
model = DetectionModel("yolo11n.yaml", verbose=False).eval()
digest = hashlib.sha256()
for name, value in model.state_dict().items():
    digest.update(name.encode() + value.numpy().tobytes())
digest.update(model(torch.rand(1, 3, 64, 64))[0].detach().numpy().tobytes())
print("ultralytics_diffattn.plugin.attach" in sys.modules, digest.hexdigest())
"""


def test_stock_model_is_bit_identical_with_and_without_the_plugin():
    with_plugin, with_digest = forked(STOCK, preloaded="torch").stdout.split()[-2:]
    without_plugin, without_digest = python(STOCK, DIFFATTN_AUTOLOAD="0").stdout.split()[-2:]
    assert (with_plugin, without_plugin) == ("True", "False")
    assert with_digest == without_digest


BAD_ROWS = [  # the row, what the message names beside the row
    ([-1, 1, "C2PSA_Diff", [64]], "c1=128 must equal c2=64"),
    ([-1, 0.5, "C2PSA_Diff", [128]], r"repeats=0\.5 must be an integer >= 1"),
    ([-1, 1, "C2PSA_Diff", [128, 0.5, "flash"]], "kind='flash'"),
    ([-1, 1, "C2PSA_Diff", [128, 0.5, "token"]], "64 channels give num_heads=1"),
    ([-1, 1, "C2PSA_Diff", [128, "token"]], "e='token'"),
    ([-1, 1, "C2PSA_Diff", [128, 0.5, "split", float("inf")]], "lambda_init=inf"),
    ([-1, 1, "C2PSA_Diff", [128, 0.5, "split", 0.8, 1]], "positional arguments"),
    ([-1, 1, "C3k2_Diff", [128, 0.5]], r"c3k=0\.5 must be True or False"),
    ([-1, 1, "C3k2_Diff", [128, False, 0.5, False]], "attn=False leaves this row without attention"),
    ([-1, 1, "C3k2_Diff", [128, False, 0.5, True, "area"]], "kind='area'"),
    ([-1, 1, "A2C2f_Diff", [128, False, -1]], "a2=False leaves this row without attention"),
    ([-1, 1, "A2C2f_Diff", [80, True, 4]], "c2=80, e=0.5 give 40 hidden channels"),
    ([-1, 1, "A2C2f_Diff", [128, True, 0]], "area=0"),
    ([-1, 1, "A2C2f_Diff", [128, True, 1, "paired"]], "residual='paired' must be True or False"),
    ([-1, 1, "AIFI_Diff", [1024, 8, "split"]], "dropout='split' must be a number"),
    ([-1, 1, "AIFI_Diff", [1024, 7]], "dim=128 must be a multiple of num_heads=7"),
    ([-1, 1, "DiffAttention", [64, 8]], "c1=128 must equal c2=64"),
    ([-1, 1, "DiffAttention", [128, 8, 0.8]], r"qkv_bias=0\.8"),
    ([-1, 1, "DiffAttention", [128, 7]], "num_heads=7"),
    ([-1, 1, "DiffAttention", [128, 8, True, 1.0]], r"attn_drop=1\.0"),
]


@pytest.mark.parametrize(("row", "message"), BAD_ROWS)
def test_bad_rows_name_the_row(row, message):
    with pytest.raises(UserError, match=f"{message}.*{re.escape(f'(row 1 of the model YAML: {row})')}"):
        build_rows(row)


@pytest.mark.parametrize("error", [TypeError("broken"), ValueError("broken"), RuntimeError("broken")])
def test_a_bug_of_ours_keeps_its_class_and_gets_the_row_as_a_note(error, monkeypatch):
    def broken(c1, c2, n):
        raise error

    monkeypatch.setattr("ultralytics_diffattn.nn.blocks.C2PSA_Diff", broken)
    with pytest.raises(type(error), match="broken") as caught:
        build_rows([-1, 1, "C2PSA_Diff", [128]])
    assert caught.value is error
    assert str(error) == "broken"
    if hasattr(error, "add_note"):
        assert "(row 1 of the model YAML: [-1, 1, 'C2PSA_Diff', " in "".join(error.__notes__)


@pytest.fixture
def fresh_tasks():
    """Return a module with tasks' contents that the plugin has not been attached to."""
    module = types.ModuleType("ultralytics.nn.tasks")
    vars(module).update({n: v for n, v in vars(tasks).items() if n not in MODULES})
    return module


def test_a_stock_module_that_is_gone_is_said_when_a_row_is_built(fresh_tasks):
    del fresh_tasks.C2PSA
    attach(fresh_tasks)
    with pytest.raises(RuntimeError, match=r"no module C2PSA any more, which C2PSA_Diff builds on\. Install a newer"):
        fresh_tasks.C2PSA_Diff(128, 128, 1)


def test_a_module_of_that_name_in_a_fork_is_left_alone(fresh_tasks):
    fresh_tasks.DiffAttention = theirs = torch.nn.Identity
    attach(fresh_tasks)
    assert fresh_tasks.DiffAttention is theirs
    assert fresh_tasks.C2PSA_Diff == fresh_tasks.C2PSA


def test_a_reloaded_stock_module_gets_a_new_twin(fresh_tasks):
    attach(fresh_tasks)
    fresh_tasks.C2PSA = type("C2PSA", (tasks.C2PSA,), {})
    attach(fresh_tasks)
    assert fresh_tasks.C2PSA_Diff == fresh_tasks.C2PSA


def test_an_old_ultralytics_is_said_when_a_row_is_built(monkeypatch):
    monkeypatch.setattr(ultralytics, "__version__", "8.3.107")
    register()
    assert type(build_rows([-1, 1, "C2PSA", [128]])[1]) is tasks.C2PSA
    with pytest.raises(RuntimeError, match=r"C2PSA_Diff needs ultralytics>=8.3.108, found 8.3.107"):
        build_rows([-1, 1, "C2PSA_Diff", [128]])
    assert tasks.yaml_model_load("yolo11n.yaml")
    for name in ("yolo11n-diffattn.yaml", ROOT / "cfg" / "yolo11n-diffattn.yaml"):
        with pytest.raises(RuntimeError, match=r"yolo11-diffattn.yaml needs ultralytics>=8.3.108, found 8.3.107"):
            tasks.yaml_model_load(name)


@pytest.mark.parametrize(
    "arguments",
    [(128,), (128, 0.5), (128, 128, 0.5), ("128", 128, 1)],
    ids=["bare row", "row with e", "no repeats", "strings"],
)
def test_a_parser_that_does_not_fit_is_said(arguments):
    with pytest.raises(RuntimeError, match=re.escape(f"gave the arguments {arguments}")):
        tasks.C2PSA_Diff(*arguments)


@pytest.mark.parametrize(("name", "arguments"), [("A2C2f_Diff", (64, 64, 1)), ("AIFI_Diff", (1024, 8))])
def test_a_row_that_depends_on_its_place_is_not_built_without_it(name, arguments):
    with pytest.raises(RuntimeError, match=re.escape(f"{name[:-5]}: it gave the arguments {arguments}. Install")):
        vars(tasks)[name](*arguments)


def test_a_parser_that_reads_the_row_as_unknown_is_said():
    def parse_model(d, ch):  # what the last branch of a parser does with a module that is in none of its sets
        for i, (f, _n, m, args) in enumerate(d["backbone"] + d["head"]):
            return vars(tasks)[m](*args), i, f, ch

    with pytest.raises(RuntimeError, match=r"does not read rows of DiffAttention as it reads those of PSA.*row 0"):
        parse_model({"backbone": [[-1, 1, "DiffAttention", [1024, 8]]], "head": []}, [3, 256])


def test_blocks_that_cannot_be_imported_are_said_when_a_row_is_built():
    code = """
import sys
sys.modules["ultralytics_diffattn.nn.blocks"] = None  # an import of it fails
from ultralytics.nn import tasks
tasks.DetectionModel("yolo11n.yaml", verbose=False)
try:
    tasks.DetectionModel("yolo11n-diffattn.yaml", verbose=False)
except ImportError as error:
    print("said:", error)
"""
    assert "said:" in forked(code, preloaded="torch").stdout


SAFE = """
import torch
from ultralytics import RTDETR, YOLO
from ultralytics.nn.tasks import torch_safe_load
(RTDETR if "{yaml}".startswith("rtdetr") else YOLO)("{yaml}").save("m.pt")
print("loaded", *{{type(m).__name__ for m in torch_safe_load("m.pt")[0]["model"].modules()}})
"""


@pytest.mark.skipif(not hasattr(tasks, "_SafeLoad"), reason="this ultralytics has no ULTRALYTICS_SAFE_LOAD")
@pytest.mark.parametrize("name", [n for n in model_yamls() if re.match(r"[^.]*(diffattn|-token|-paired)\.yaml", n)])
def test_safe_load(name, tmp_path):
    """One of each family and kind."""
    code = SAFE.format(yaml=scaled(name, "n"))
    loaded = forked(code, cwd=tmp_path, preloaded="torch", ULTRALYTICS_SAFE_LOAD="1").stdout
    rows = set(MODULES) & set(re.findall(r"\w+", re.sub(r"#.*", "", (ROOT / "cfg" / name).read_text())))
    assert rows <= set(loaded[loaded.index("loaded") :].split())
