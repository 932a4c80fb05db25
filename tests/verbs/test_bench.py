"""`diffattn bench`: its arguments, its folder, and what it leaves when something fails."""

import json
import re
import shutil
import subprocess
import sys
import time
from pathlib import Path

import pytest
import torch

from tests.interpreters import run
from tests.places import ROOT
from tests.samples import SMALL_GROUPS
from ultralytics_diffattn import cli
from ultralytics_diffattn.benchmark import groups, model_cases, targets
from ultralytics_diffattn.benchmark.rows import Setting
from ultralytics_diffattn.verbs import bench as module
from ultralytics_diffattn.verbs.bench import bench


@pytest.fixture
def here(monkeypatch):
    """Run the groups in this process, which knows what a test has put in their place."""
    monkeypatch.setattr(module, "measure_apart", groups.run)


@pytest.fixture
def small(monkeypatch, here):
    for name, value in SMALL_GROUPS.items():
        monkeypatch.setattr(targets, name, value)


ELEVEN_ROWS = """
backbone: [[-1, 1, Conv, [16, 3, 4]], [-1, 1, Conv, [256, 3, 2]], {identities}, [-1, 1, {block}, [256]]]
head: [[[10], 1, Detect, [nc]]]
nc: 80
"""


@pytest.fixture
def small_models(tmp_path, monkeypatch):
    """Put models whose attention is at layer 10, too, in place of the published ones, which test_groups.py measures."""
    files = {"ours": tmp_path / "small-diffattn.yaml", "stock": tmp_path / "small.yaml"}
    for file, block in zip(files.values(), ("C2PSA_Diff", "C2PSA"), strict=True):
        file.write_text(ELEVEN_ROWS.format(block=block, identities=", ".join(["[-1, 1, nn.Identity, []]"] * 8)))
    monkeypatch.setattr(model_cases, "MODELS", {**files, "again": files["stock"]})


@pytest.mark.usefixtures("small", "small_models")
def test_everything_on_a_small_scale(tmp_path, monkeypatch, capsys):
    monkeypatch.chdir(tmp_path)
    words = ["project=.", "name=docs", "exist_ok", "threads=1", "device=cpu"]
    assert cli.main(["bench", *words]) == 0, capsys.readouterr().err
    assert {f.name for f in (tmp_path / "docs").iterdir()} == {f"performance.{kind}" for kind in ("json", "md", "png")}
    results = json.loads((tmp_path / "docs" / "performance.json").read_text())
    assert list(results["groups"]) == [name for name in groups.GROUPS if name not in groups.ON_REQUEST]
    assert results["command"] == "diffattn bench project=. name=docs exist_ok=True threads=1 device=cpu"
    assert {"torch", "ultralytics", "timm", "openvino"} <= results["versions"].keys()
    for name, group in results["groups"].items():
        assert bool(group["rows"]) is (name != "cuda")
        for row in group["rows"]:
            assert row["group"] == name
            assert row["ratio"] > 0 if "why" not in row else row["why"].endswith("is not installed")
    text = (tmp_path / "docs" / "performance.md").read_text()
    rows = [row for group in results["groups"].values() for row in group["rows"] if row["target"]]
    verdicts = [line.rsplit("|", 2)[1].strip(" *") for line in text.splitlines() if "| ≤ " in line]
    expected = [
        "not measured" if row["ratio"] is None else "met" if row["ratio"] <= row["target"] else "missed" for row in rows
    ]
    assert verdicts == expected
    assert len(rows) > 10


@pytest.fixture
def stub(monkeypatch, here):
    """Put groups that take no time in place of the real ones."""
    row = {"what": "w", "device": "cpu", "threads": 1, "ours": "a", "other": "b", "ratio": 0.5, "low": 0.4, "high": 0.6}
    row |= {"ours_ms": 1.0, "other_ms": 2.0, "repeats": 3, "target": 1.0, "met": True}
    seen = []

    def group(setting):
        seen.append(setting)
        return {"rows": [dict(row)]}

    for name in groups.GROUPS:
        monkeypatch.setitem(groups.GROUPS, name, group)
    return seen


def test_a_group_runs_in_a_process_of_its_own(tmp_path, monkeypatch):
    results = bench(project=tmp_path, only="cuda", threads="2,1", repeats=1, device="cpu")
    assert results["groups"]["cuda"]["note"].endswith("not measured")
    monkeypatch.setattr(sys, "executable", shutil.which("false"))  # as when memory runs out
    results = bench(project=tmp_path, only="cuda")
    assert results["groups"]["cuda"]["note"] == "failed: its process ended with 1"


def test_a_group_ends_with_the_command(tmp_path):
    """Killed, the command leaves no process behind that goes on measuring."""
    command = [Path(sys.executable).with_name("diffattn"), "bench", "only=train", f"project={tmp_path}", "device=cpu"]
    parent = subprocess.Popen(command, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL)
    children = Path(f"/proc/{parent.pid}/task/{parent.pid}/children")
    if not children.exists():
        parent.kill()
        pytest.skip("needs /proc")
    child = wait_for(lambda: children.read_text().split())[0]
    parent.kill()
    parent.wait()
    assert wait_for(lambda: not command_of(child))


def command_of(pid):
    """Return the command line of a process; nothing if it has ended."""
    try:
        return Path(f"/proc/{pid}/cmdline").read_bytes()
    except OSError:
        return b""


def wait_for(condition, seconds=60):
    """Return what a condition says as soon as it is true."""
    end = time.monotonic() + seconds
    while not (value := condition()) and time.monotonic() < end:
        time.sleep(0.05)
    return value


def test_settings_reach_the_process(stub, tmp_path):
    groups.main("core", str(tmp_path / "group.json"), "2,1", "3", "cuda:1")
    assert stub == [Setting([2, 1], 3, torch.device("cuda", 1))]
    assert len(json.loads((tmp_path / "group.json").read_text())["rows"]) == 1


def test_a_failing_group_costs_itself_alone(stub, tmp_path, monkeypatch):
    def fail(_):
        raise OSError("the disk is full")

    monkeypatch.setitem(groups.GROUPS, "block", fail)
    results = bench(project=tmp_path, only="core,block,model")
    assert [len(group["rows"]) for group in results["groups"].values()] == [1, 0, 1]
    assert results["groups"]["block"]["note"] == "failed: OSError: the disk is full"
    assert "Failed: OSError: the disk is full." in (tmp_path / "bench" / "performance.md").read_text()
    assert len(stub) == 2


def test_a_cut_leaves_the_groups_that_are_done(stub, tmp_path, monkeypatch):
    def cut(_):
        raise KeyboardInterrupt

    monkeypatch.setitem(groups.GROUPS, "model", cut)
    with pytest.raises(KeyboardInterrupt):
        bench(project=tmp_path, only="core,block,model,train")
    results = json.loads((tmp_path / "bench" / "performance.json").read_text())
    assert list(results["groups"]) == ["core", "block"]
    assert len(stub) == 2


def test_arguments_reach_the_groups(stub, tmp_path):
    bench(project=tmp_path, only=["train"], threads="2,1,2", repeats="7", device="cpu")
    assert stub == [Setting([2, 1], 7, None)]


def test_folders(stub, tmp_path, monkeypatch):
    """A relative project is where the user stands; without `exist_ok` nothing is written over."""
    monkeypatch.chdir(tmp_path)
    for _ in range(2):
        bench(project="here", only="core")
    assert sorted(f.name for f in (tmp_path / "here").iterdir()) == ["bench", "bench-2"]
    for _ in range(2):
        bench(project="here", name="again", only="core", exist_ok=True)
    assert sorted(f.name for f in (tmp_path / "here").iterdir()) == ["again", "bench", "bench-2"]
    assert len(stub) == 4


@pytest.mark.parametrize(
    ("word", "message"),
    [
        ("only=cor", r"'cor' is no group\. Did you mean core\? There are core, memory"),
        ("only=zzz", r"'zzz' is no group\. There are core"),
        ("threads=0", r"threads=0 must be whole numbers from 1 on"),
        ("threads=two", r"threads='two' must be"),
        ("threads=1.5", r"threads=1.5 must be"),
        ("threads=True", r"threads=True must be"),
        ("repeats=-1", r"repeats=-1 must be a whole number"),
        ("repeats=2.5", r"repeats=2.5 must be"),
        ("device=7", r"device=7 cannot be used: there is no CUDA GPU here\. Give the number of one, or device=cpu"),
        ("device=0,1", r"device=\(0, 1\) cannot be used"),
        ("device=tpu", r"device='tpu' cannot be used"),
        ("exist_ok=maybe", r"exist_ok='maybe' must be True"),
        ("imgsz=640", r"imgsz= means nothing to bench. It takes only, threads"),
        ("thread=1", r"threads"),
    ],
)
def test_bad_input(word, message, tmp_path, capsys, monkeypatch):
    monkeypatch.setattr(torch.cuda, "is_available", lambda: False)
    assert cli.main(["bench", f"project={tmp_path / 'out'}", word]) == 1
    error = capsys.readouterr().err
    assert re.search(message, error), error
    assert "Traceback" not in error
    assert not (tmp_path / "out").exists()


@pytest.mark.parametrize(
    ("given", "count", "expected"),
    [
        (None, 0, None),
        (None, 2, "cuda:0"),
        ("cpu", 2, None),
        (1, 2, "cuda:1"),
        ("cuda", 1, "cuda:0"),
        ("cuda:1", 2, "cuda:1"),
        ("", 0, None),
    ],
)
def test_parse_device(given, count, expected, monkeypatch):
    monkeypatch.setattr(torch.cuda, "is_available", lambda: count > 0)
    monkeypatch.setattr(torch.cuda, "device_count", lambda: count)
    device = module.parse_device(given)
    assert device == (None if expected is None else torch.device(expected))


def test_a_gpu_that_is_not_there_among_others(monkeypatch):
    monkeypatch.setattr(torch.cuda, "is_available", lambda: True)
    monkeypatch.setattr(torch.cuda, "device_count", lambda: 2)
    with pytest.raises(ValueError, match="GPUs here are 0, 1"):
        module.parse_device(2)


def test_script():
    """It is the verb, and its name shadows no module."""
    done = run(sys.executable, ROOT / "scripts" / "benchmark.py", "only=cor", check=False)
    assert done.returncode == 1
    assert "Did you mean core?" in done.stderr


def test_help(capsys):
    assert cli.main(["bench", "help"]) == 0
    out = capsys.readouterr().out
    assert f"only={module.OWN['only']}\n" in out
    assert "threads=1,2" in out
