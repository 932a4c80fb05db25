"""What strangers hand on, checkpoints, model YAMLs, archives, executes nothing by way of this package."""

import argparse
import ast
import contextlib
import os
import re
import sys
import tarfile
import zipfile

import pytest
import torch
from torch import nn
from ultralytics import YOLO, settings
from ultralytics.nn import tasks

import ultralytics_diffattn
from tests.interpreters import forked, python
from tests.places import ROOT, model_yamls, scaled
from tests.samples import build_rows
from ultralytics_diffattn.output import files
from ultralytics_diffattn.plugin.module_table import MODULES
from ultralytics_diffattn.plugin.register import register
from ultralytics_diffattn.weights import checkpoints

PACKAGE = ROOT / "ultralytics_diffattn"
safe = pytest.mark.skipif(not hasattr(tasks, "_SafeLoad"), reason="this ultralytics has no ULTRALYTICS_SAFE_LOAD")

TRAIN = """
import os, torch
from ultralytics import YOLO
from ultralytics.nn.tasks import torch_safe_load
budget = dict(imgsz=64, batch=4, workers=0, plots=False, device="cpu", project={project!r}, exist_ok=True)
def stop(trainer):
    if trainer.epoch == 0:
        raise KeyboardInterrupt  # behind the first epoch's last.pt
YOLO({yaml!r}).save("start.pt")
model = YOLO("start.pt")
model.add_callback("on_model_save", stop)
try:
    model.train(data={data!r}, name="t", epochs=2, **budget)
except KeyboardInterrupt:
    pass
last = os.path.join({project!r}, "t", "weights", "last.pt")
model = YOLO(last)
model.train(resume=True)
best = YOLO(last.replace("last", "best"))
assert best.val(data={data!r}, **budget).box is not None
assert os.path.isfile(best.export(format="torchscript", imgsz=64))
from ultralytics_diffattn.weights import checkpoints
assert checkpoints.load(last)[0] is not None
held = {{n for c in torch_safe_load(last)[0].values() if hasattr(c, "modules") for n in map(type, c.modules())}}
ours = {{f"{{c.__module__}}.{{c.__qualname__}}" for c in held if c.__module__.startswith("ultralytics_diffattn")}}
print("HELD", *sorted(ours))
"""
FAMILIES = "yolo11n-diffattn.yaml", "yolo12n-diffattn-paired.yaml"  # the others load: test_registry


@safe
@pytest.mark.parametrize("name", FAMILIES)
def test_safe_loading_trains_resumes_validates_and_exports(name, tiny, tmp_path):
    code = TRAIN.format(yaml=name, data=str(tiny), project=str(tmp_path))
    found = forked(code, cwd=tmp_path, preloaded="torch", ULTRALYTICS_SAFE_LOAD="1").stdout.partition("HELD")[2].split()
    assert found
    assert set(found) <= allowed()


def allowed():
    """Return the names that importing the package adds to what torch loads with weights_only."""
    code = """
import torch
before = set(map(str, torch.serialization.get_safe_globals()))
import ultralytics.nn.tasks, ultralytics_diffattn.plugin.attach
import pkgutil, importlib, ultralytics_diffattn
def failed(name):
    raise
for module in pkgutil.walk_packages(ultralytics_diffattn.__path__, "ultralytics_diffattn.", failed):
    print("WALKED", importlib.import_module(module.name).__file__)
for added in torch.serialization.get_safe_globals():
    if str(added) not in before and not added.__module__.startswith("torch."):  # torch adds its own when imported
        assert isinstance(added, type) and issubclass(added, torch.nn.Module), added
        print("ADDED", added.__module__ + "." + added.__qualname__)
"""
    out = forked(code, preloaded="torch").stdout
    walked = set(re.findall(r"WALKED (\S+)", out))
    assert walked == {str(file) for file in PACKAGE.rglob("*.py") if file != PACKAGE / "__init__.py"}
    return set(re.findall(r"ADDED (\S+)", out))


def test_the_list_of_allowed_classes_is_that_of_the_modules_in_our_models():
    """All classes of ours that the bundled models hold, and no function, no helper, nothing of others."""
    held = set()
    for name in model_yamls():
        with torch.device("meta"):
            d = tasks.yaml_model_load(scaled(name, "n"))
            layers = tasks.parse_model(d, ch=3, verbose=False)[0]
        held |= {type(m) for m in layers.modules()}
    for name, row in ROWS.items():  # no bundled YAML has all of them
        held |= {type(m) for m in build_rows([-1, 1, name, row]).modules()}
    ours = {f"{c.__module__}.{c.__qualname__}" for c in held if c.__module__.startswith("ultralytics_diffattn")}
    assert allowed() == ours


class Call:
    """Pickled as a call."""

    def __init__(self, function, *args):
        self.call = function, args

    def __reduce__(self):
        return self.call


EVIL = {  # what a checkpoint holds beside its model
    "os.system": lambda canary: Call(os.system, f"touch {canary}"),
    "eval": lambda canary: Call(eval, f"open({str(canary)!r}, 'w')"),
    "write_text": lambda canary: Call(files.write_text, canary, "x"),
    "register": lambda canary: Call(register),
    "save": lambda canary: Call(checkpoints.save, {}, canary),
    "a row": lambda canary: MODULES["C2PSA_Diff"],
    "getattr": lambda canary: Call(ultralytics_diffattn.__getattr__, "register"),
}


@safe
def test_safe_loading_refuses_all_else(tmp_path):
    """By ultralytics and by our own verbs, which may not be a way around it."""
    model = YOLO("yolo11n-diffattn.yaml").model
    for name, payload in EVIL.items():
        torch.save({"model": model, "x": payload(tmp_path / "canary")}, tmp_path / f"{name}.pt")
    code = """
import pathlib
from ultralytics import YOLO
from ultralytics_diffattn.verbs import strip
from ultralytics_diffattn.weights import checkpoints
for file in sorted(pathlib.Path().glob("*.pt")):
    for load in (YOLO, checkpoints.load, strip.strip):
        try:
            load(str(file))
            print("LOADED", file)
        except (TypeError, ValueError) as error:
            print("REFUSED", "outside the supported Ultralytics checkpoint format" in str(error))
"""
    out = forked(code, cwd=tmp_path, preloaded="torch", ULTRALYTICS_SAFE_LOAD="1").stdout
    assert re.findall("REFUSED True|REFUSED False|LOADED.*", out) == ["REFUSED True"] * 3 * len(EVIL)
    assert sorted(f.stem for f in tmp_path.iterdir()) == sorted(EVIL)


def test_without_safe_loading_a_checkpoint_is_a_program(tmp_path):
    """The control, and what docs/safety.md says."""
    torch.save({"model": nn.Identity(), "x": Call(os.system, f"touch {tmp_path / 'canary'}")}, tmp_path / "evil.pt")
    with pytest.raises(ValueError, match="holds no model of ultralytics"):
        checkpoints.load(str(tmp_path / "evil.pt"))
    assert (tmp_path / "canary").exists()


JUSTIFIED = {  # what could execute something else than our own lines: file and call, and why it does not
    ("__init__.py", "import_module"): "a name out of _EXPORTS",
    ("autoload.py", "exec_module"): "ultralytics' own loader of ultralytics' own module",
    ("child_process.py", "subprocess.Popen"): "sys.executable with our own module",
    ("weights/checkpoints.py", "torch_load"): "a file that the user names; read() heeds ULTRALYTICS_SAFE_LOAD",
    ("cli.py", "import_module"): "a verb out of the table of verbs",
    ("clip/training.py", "load"): "weights_only: tensors and plain values",
    ("clip/weights.py", "load"): "weights_only: tensors, plain values and argparse.Namespace",
    ("plugin/attach.py", "import_module"): "names out of TO_ATTACH, and of our own modules in MODULES",
    ("plugin/register.py", "import_module"): "ultralytics.nn.tasks",
    ("plugin/register.py", "resolve_name"): "what the caller of register() names",
    ("plugin/user_modules.py", "import_module"): "the name of a file that the user has made known",
    ("plugin/row_context.py", "PyFrame_LocalsToFast"): "sets a number in the frame of parse_model, before Python 3.13",
    ("plugin/row_context.py", "py_object"): "of that call",
    ("plugin/row_context.py", "c_int"): "of that call",
    ("plugin/twins.py", "resolve_name"): "Row.build out of MODULES, never a text of the YAML",
    ("benchmark/startup.py", "subprocess.run"): "sys.executable with our own code",
    ("evaluation/without_plugin.py", "subprocess.run"): "sys.executable with our own code",
    ("scripts/comparison_speed.py", "subprocess.run"): "`diffattn` with the words that a report shows",
    ("scripts/formats.py", "subprocess.run"): "pip of an environment of its own, with packages out of FORMATS",
    ("scripts/formats.py", "subprocess.Popen"): "the same environment's Python with this script",
    ("scripts/study.py", "subprocess.run"): "sys.executable with study_result.py beside it",
    ("scripts/matrix.py", "subprocess.run"): "a list of our own words; scripts/ is not installed",
}
SUSPECT = (
    r"(builtins\.)?(eval|exec|compile|__import__)|(.*\.)?(import_module|exec_module|resolve_name|torch_load|load_module)"
    r"|torch\.load|(c?pickle|cloudpickle|dill|marshal|shelve|joblib|runpy|code)\..*|yaml\.(?!safe_).*load.*|.*allow_pickle.*"
    r"|os\.(system|popen|exec.*|spawn.*|posix_spawn.*)|subprocess\..*|.*\.extractall|pty\..*|ctypes\..*"
)


def suspects(text):
    """Return the calls in a source that can execute what they are given."""
    found = []
    for node in ast.walk(ast.parse(text)):
        if isinstance(node, ast.Call):
            found.append(ast.unparse(node.func))
            found += ["allow_pickle" for k in node.keywords if k.arg == "allow_pickle"]
            found += ["eval shell=True" for k in node.keywords if k.arg == "shell"]
        if isinstance(node, ast.ImportFrom):
            found += [f"{node.module}.{alias.name}" for alias in node.names if node.module != "importlib"]
    return [call for call in found if re.fullmatch(SUSPECT, call) or call == "eval shell=True"]


def test_nothing_in_the_source_executes_what_it_is_given():
    sources = {str(f.relative_to(PACKAGE)): f for f in PACKAGE.rglob("*.py")}
    sources |= {str(f.relative_to(ROOT)): f for f in (ROOT / "scripts").rglob("*.py")}
    calls = {(name, call) for name, file in sources.items() for call in suspects(file.read_text())}
    calls = {(name, call.rpartition(".")[2] if "subprocess" not in call else call) for name, call in calls}
    assert calls == set(JUSTIFIED)


def test_whatever_torch_loads_by_itself_is_weights_only():
    """`torch_load` of checkpoints.py is ultralytics' own and unpickles; no other load does."""
    for file in PACKAGE.rglob("*.py"):
        for node in ast.walk(ast.parse(file.read_text())):
            if isinstance(node, ast.Call) and ast.unparse(node.func) == "torch.load":
                assert {k.arg: ast.unparse(k.value) for k in node.keywords}.get("weights_only") == "True", file


def test_reading_weights_of_clip_leaves_the_list_of_allowed_classes_as_it_was(tmp_path):
    """The published checkpoints hold an argparse.Namespace; it is allowed for that one load only."""
    pytest.importorskip("timm")
    from ultralytics_diffattn.clip import weights

    torch.save({"state_dict": {"a": torch.ones(1)}, "args": argparse.Namespace(lr=1)}, tmp_path / "a.pt")
    before = set(torch.serialization.get_safe_globals())
    assert list(weights.read(tmp_path / "a.pt")[0]) == ["a"]
    assert set(torch.serialization.get_safe_globals()) == before


@pytest.mark.parametrize(
    ("line", "count"),
    [
        ("eval(x)", 1),
        ("import pickle; pickle.loads(x)", 1),
        ("from pickle import loads", 1),
        ("yaml.load(x, Loader)", 1),
        ("yaml.unsafe_load(x)", 1),
        ("subprocess.run(x, shell=True)", 2),
        ("np.load(x, allow_pickle=True)", 1),
        ("torch.load(x)", 1),
        ("os.system(x)", 1),
        ("model.eval()", 0),
        ("yaml.safe_load(x)", 0),
        ("np.load(x)", 0),
        ("re.compile(x)", 0),
    ],
)
def test_the_search_finds(line, count):
    assert len(suspects(line)) == count


ROWS = {
    "C2PSA_Diff": [128, 0.5, "split", 0.8],
    "C3k2_Diff": [128, False, 0.5, True, "split"],
    "A2C2f_Diff": [128, True, 4, True, 2.0],
    "AIFI_Diff": [1024, 8, 0.0],
    "DiffAttention": [128, 8, True, 0.0, 0.0, 0.8],
}
CODE = "__import__('os').system('touch canary')"
HOSTILE = (
    CODE,
    f"exec({CODE!r})",
    "os.system",
    "torch.nn.Linear",
    "nn.Linear",
    "d",
    "ch",
    "args",
    "((((",
    [[CODE]],
    {CODE: CODE},
)
HOSTILE += None, float("nan"), float("inf"), -(10**9), 10**30


@pytest.mark.parametrize(("name", "at"), [(name, at) for name, row in ROWS.items() for at in range(len(row))])
def test_an_argument_in_a_model_yaml_is_a_value(name, at, tmp_path, monkeypatch):
    """It is refused, or it is a number; whether by ultralytics' parser or by our module, nothing of it is executed."""
    monkeypatch.chdir(tmp_path)
    for value in HOSTILE:
        row = [*ROWS[name]]
        row[at] = value
        with torch.device("meta"):
            try:
                layers, said = build_rows([-1, 1, name, row]), None
            except SyntaxError:  # ultralytics' parser, before our module is asked
                continue
            except (ValueError, TypeError, OverflowError, RuntimeError) as error:
                said = str(error)
        if said is None:
            assert isinstance(value, int | float) or value is None, value
            assert type(layers[1]).__module__.startswith("ultralytics_diffattn")
        else:
            assert at == 0 or "row 1 of the model YAML" in said or value == 10**30, said
    assert not list(tmp_path.iterdir())


def test_the_activation_of_a_model_yaml_is_ultralytics_own_business(tmp_path, monkeypatch):
    """The control, and what docs/safety.md says: ultralytics itself evaluates this one key."""
    monkeypatch.chdir(tmp_path)
    monkeypatch.setattr(tasks.Conv, "default_act", tasks.Conv.default_act)  # older ones leave it changed
    d = {"nc": 1, "activation": "open('canary', 'w') and None", "backbone": [[-1, 1, "nn.Identity", []]], "head": []}
    tasks.parse_model(d, ch=3, verbose=False)
    assert (tmp_path / "canary").exists()


def test_the_module_of_a_row_is_ultralytics_own_business(monkeypatch):
    """The other control: any function of ultralytics.nn.tasks is called for a row, one that loads a pickle, too."""
    called = []
    monkeypatch.setattr(tasks, "torch_safe_load", called.append)
    with contextlib.suppress(Exception):  # what it returns is no layer
        rows = {"nc": 1, "backbone": [[-1, 1, "torch_safe_load", ["x.pt"]]], "head": []}
        tasks.parse_model(rows, ch=3, verbose=False)
    assert called == ["x.pt"]


@pytest.fixture
def zipped(tmp_path):
    """Return an archive with a data set, and with members that want to get out."""
    file = tmp_path / "in" / "cats.zip"
    file.parent.mkdir()
    with zipfile.ZipFile(file, "w") as archive:
        archive.writestr("cats/data.yaml", "train: images\nval: images\nnames: [cat]\n")
        archive.writestr("cats/images/a.txt", "x")
        archive.writestr("cats/../../evil.txt", "x")
        archive.writestr("../evil.txt", "x")
        archive.writestr(f"{tmp_path}/evil.txt", "x")
        link = zipfile.ZipInfo("cats/link")
        link.external_attr = 0o120777 << 16
        archive.writestr(link, str(tmp_path))
    return file


def test_an_archive_stays_where_it_is_unpacked(zipped, tmp_path, monkeypatch):
    """The way of `data=cats.zip`: resolve hands it on, ultralytics unpacks it."""
    from ultralytics.utils.downloads import safe_download

    from ultralytics_diffattn.data import catalogue

    assert catalogue.resolve(zipped) == ("cats", str(zipped), {}, None)
    safe_download(str(zipped), dir=tmp_path / "out", unzip=True, delete=False, progress=False)
    assert (tmp_path / "out").is_dir()
    outside = [f for f in tmp_path.rglob("evil.txt") if not f.is_relative_to(tmp_path / "out")]
    assert not outside
    assert not any(f.is_symlink() for f in (tmp_path / "out").rglob("*"))


def test_an_archive_of_tar_stays_where_it_is_unpacked(tmp_path):
    from ultralytics.utils.downloads import safe_download

    (tmp_path / "evil.src").write_text("x")
    (tmp_path / "in").mkdir()
    with tarfile.open(tmp_path / "in" / "cats.tar", "w") as archive:
        for name in ("cats/a.txt", "../evil.txt", f"{tmp_path}/evil.txt"):
            archive.add(tmp_path / "evil.src", name)
    with contextlib.suppress(Exception):  # refused as a whole, or without those members
        safe_download(str(tmp_path / "in" / "cats.tar"), dir=tmp_path / "out", unzip=True, delete=False, progress=False)
    assert not (tmp_path / "evil.txt").exists()


MISSING = """
import importlib.abc, importlib.metadata, sys

class Missing(importlib.abc.MetaPathFinder):
    def find_spec(self, name, path=None, target=None):
        if name.partition(".")[0] == "ultralytics_diffattn":
            raise ModuleNotFoundError(f"No module named {name!r}", name=name)

sys.meta_path.insert(0, Missing())
version = importlib.metadata.version
def hidden(name):
    if name.replace("-", "_") == "ultralytics_diffattn":
        raise importlib.metadata.PackageNotFoundError(name)
    return version(name)
importlib.metadata.version = hidden
from ultralytics import YOLO
YOLO("best.pt")
"""


@pytest.mark.parametrize("flag", ["0", pytest.param("1", marks=safe)])
def test_what_a_colleague_without_the_plugin_sees_is_what_the_docs_quote(flag, tmp_path):
    """In a process that cannot import the package; nothing is installed, as tests are offline."""
    YOLO("yolo11n-diffattn.yaml").save(tmp_path / "best.pt")
    paths = os.pathsep.join(os.path.abspath(p) for p in sys.path if p)
    done = python(MISSING, "-S", cwd=tmp_path, check=False, PYTHONPATH=paths, ULTRALYTICS_SAFE_LOAD=flag)
    assert done.returncode == 1
    page = (ROOT / "docs" / "safety.md").read_text(encoding="utf-8")
    quoted = re.findall(r"(?ms)^```\w*\n(.*?)^```", page.partition("## A colleague")[2])[int(flag)]
    seen = re.sub(r"\s+", " ", re.sub(r"\x1b\[\d*m", "", done.stdout + done.stderr))
    for sentence in quoted.split("\n..."):
        assert re.sub(r"\s+", " ", sentence).strip() in seen
    assert "ultralytics_diffattn" in seen


def test_settings_are_the_private_ones():
    """None of these tests may touch the user's."""
    assert str(settings["datasets_dir"]).startswith(os.environ["YOLO_CONFIG_DIR"])
