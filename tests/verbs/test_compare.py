"""A comparison from the command line: alike in all but the model, resumable, and nobody's work is overwritten."""

import os
import signal
import subprocess
import sys
import time

import pytest
import torch
from filelock import FileLock
from ultralytics import YOLO

from tests import interpreters
from tests.samples import small_models
from tests.task_data import make
from ultralytics_diffattn import cli
from ultralytics_diffattn.comparison import typed_json
from ultralytics_diffattn.comparison.schema import Across, read_results
from ultralytics_diffattn.errors import UserError
from ultralytics_diffattn.evaluation import export_formats, recording
from ultralytics_diffattn.evaluation.tasks import TASKS
from ultralytics_diffattn.verbs import compare_arguments

SMALL = ("epochs=3", "imgsz=64", "batch=4", "workers=0", "plots=False", "seeds=0,1", "device=cpu")


def small(folder, task="detect"):
    """Return the word for two small models, whose YAMLs are written into a folder."""
    return f"models={','.join(small_models(folder, task))}"


def command(tiny, folder, *more):
    return [
        sys.executable,
        "-m",
        "ultralytics_diffattn.cli",
        "compare",
        f"data={tiny}",
        *SMALL,
        f"project={folder}",
        "name=c",
        *more,
    ]


@pytest.fixture(scope="module")
def killed(tiny, tmp_path_factory):
    """Kill a comparison in its second run, start a second one meanwhile, then give the first command again."""
    folder = tmp_path_factory.mktemp("compare")
    environment = {k: v for k, v in os.environ.items() if k != "PYTEST_CURRENT_TEST"}
    words = command(tiny, folder, small(folder))
    first = subprocess.Popen(words, env=environment, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL)
    finished, cut = (folder / "c" / name / "seed0" for name in ("small", "small-diffattn"))
    while not (cut / "backup" / "last.pt").exists():
        assert first.poll() is None
        time.sleep(0.02)
    first.send_signal(signal.SIGKILL)
    first.wait()
    lock = FileLock(cut / "lock")
    with lock.acquire(timeout=20):  # the training process ended with its parent
        pass
    assert not (cut / "run.json").exists(), "it was too late to kill"
    (cut / "train" / "weights" / "last.pt").write_bytes(b"torn")
    before = {
        f: f.stat().st_mtime_ns for f in finished.rglob("*") if f.is_file() and f.name not in ("lock", "best.onnx")
    }
    again = interpreters.command("diffattn", *words[3:], cwd=folder)
    return {"folder": folder / "c", "before": before, "cut": cut, "again": again, "words": words[3:]}


def test_second_compare_in_the_folder_is_refused(tiny, tmp_path, capsys):
    (tmp_path / "c").mkdir()
    with FileLock(tmp_path / "c" / "lock"):
        assert cli.main(command(tiny, tmp_path)[3:]) == 1
    assert "another comparison is running" in capsys.readouterr().err
    assert [f.name for f in (tmp_path / "c").iterdir()] == ["lock"]


def test_finished_runs_are_untouched(killed):
    changed = [f for f, at in killed["before"].items() if f.stat().st_mtime_ns != at]
    assert changed == []
    assert "small seed0, is finished" in killed["again"].stdout + killed["again"].stderr


def test_cut_run_is_continued_and_marked(killed):
    results = read_results(killed["folder"] / "results.json")
    runs = {run.key: run for run in results.runs}
    assert len(runs) == 4
    assert runs["small-diffattn", 0].resumed_after in ([1], [2])
    assert [run.resumed_after for key, run in runs.items() if key != ("small-diffattn", 0)] == [[], [], []]
    assert all(run.curve.epoch == [1, 2, 3] for run in runs.values())
    assert all(len(run.lambdas) == run.model.count("diffattn") for run in runs.values())
    assert "Resumed after an interruption: small-diffattn seed 0." in (killed["folder"] / "results.md").read_text()


def test_alike_in_all_but_the_model(killed):
    files = sorted(killed["folder"].glob("*/seed*/train/weights/best.pt"))
    args = [torch.load(f, weights_only=False)["train_args"] for f in files]
    differing = {k for k in args[0] if len({repr(a[k]) for a in args}) > 1}
    assert differing <= {"model", "seed", "name", "project", "save_dir", "resume"}
    assert {a["seed"] for a in args} == {0, 1}


def test_progress_names_the_run_and_the_time_left(killed):
    out = killed["again"].stdout + killed["again"].stderr
    assert "run 3 of 4, small seed1, about 1 min left" in out
    assert "a verdict needs at least 3 seeds" in out


def test_results_are_all_there(killed):
    names = {f.name for f in killed["folder"].iterdir()}
    assert {"results.json", "results.csv", "results.md", "report.html"} <= names
    assert list(killed["folder"].rglob("*.tmp*")) == []


def test_another_setting_is_refused_and_changes_nothing(killed, capsys):
    folder = killed["folder"]
    before = {f: f.stat().st_mtime_ns for f in folder.rglob("*") if f.is_file() and f.name != "lock"}
    for change, message in [(["lr0=0.5"], "lr0"), (["imgsz=96"], "imgsz: 64 before, 96 now")]:
        assert cli.main([*killed["words"], *change]) == 1
        assert message in capsys.readouterr().err
    assert before == {f: f.stat().st_mtime_ns for f in folder.rglob("*") if f.is_file() and f.name != "lock"}


@pytest.mark.parametrize("model", ["yolo11n", "yolo11n-diffattn"])  # that it compares unless it is told others
def test_foreign_files_are_refused(model, tiny, tmp_path, capsys):
    (tmp_path / "c" / model / "seed0").mkdir(parents=True)
    (tmp_path / "c" / model / "seed0" / "thesis.txt").write_text("mine")
    assert cli.main(command(tiny, tmp_path)[3:]) == 1
    assert "that are not a run of a comparison" in capsys.readouterr().err
    assert [f.name for f in (tmp_path / "c").iterdir() if f.is_dir()] == [model]


@pytest.mark.parametrize(
    ("more", "message"),
    [
        (["models=yolo11n.yaml"], "takes two or more"),
        (["models=yolo11n.yaml,nothing.yaml"], "nothing.yaml does not build"),
        (["models=yolo11n.yaml,yolo11n-diffattn-seg.yaml"], "yolo11n-diffattn-seg is for segment: a comparison takes"),
        (["models=yolo11n.yaml,a/yolo11n.yaml"], "the same name"),
        (["data=shapes,shapes"], "names a data set twice"),
        (["data=a/data.yaml,b/a/data.yaml"], "two have the same name, a"),
        (["data=shapes,nowhere"], "'nowhere' was not found"),
        (["teacher=none,a.pt", "distill_model=a.pt"], "and not both"),
        (["teacher=none,nowhere.pt"], "the teacher nowhere.pt does not load"),
        (["seeds=0,0"], "holds a seed twice"),
        (["seeds=0.5"], "whole numbers"),
        (["seeds=-1"], "whole numbers"),
        (["batch=-1"], "give a whole number"),
        (["margin=0"], "margin=0 must be the largest difference"),
        (["margin=much"], "margin='much' must be the largest"),
        (["margin=1"], "above 0 and below 1"),
        (["margin=True"], "above 0 and below 1"),
        (["holdout=0"], "holdout=0 must be a share of the validation images"),
        (["holdout=0.1"], "of 4 validation images leaves none apart"),
        (["task=segment"], "the models determine the task"),
        (["split=test"], "test: in the data YAML"),
        (["holdout=0.9"], "of 4 validation images leaves none to choose on"),
        (["time=1"], "epochs="),
        (["epochs=many"], "epochs"),
        (["model=yolo11n.yaml"], "models=a.yaml,b.yaml"),
        (["seed=3"], "seeds=0,1,2"),
        (["resume=True"], "the same command again"),
        (["formats=zzz"], "formats=zzz is unknown"),
        (["formats=torchscript", "int8=True"], "does not export torchscript in int8"),
        (["formats=torchscript", "half=True"], "torchscript"),
        (["int8=True"], "say which, as in formats=onnx int8=True"),
        (["formats=onnx", "half=3"], "half=3 must be True or False"),
    ],
)
def test_bad_input_is_refused_before_anything_is_made(tiny, tmp_path, capsys, more, message):
    assert cli.main([*command(tiny, tmp_path)[3:], *more]) == 1
    assert message in capsys.readouterr().err
    assert list(tmp_path.iterdir()) == []


def test_held_out_images(tiny, tmp_path):
    pytest.importorskip("onnxruntime")
    words = [f"data={tiny}", small(tmp_path), *SMALL, "seeds=0", "epochs=1", "holdout=0.5"]
    words += [f"project={tmp_path}", "name=c"]
    precision = ["int8=True"] if export_formats._has("onnx", "int8") else []
    interpreters.command("diffattn", "compare", *words, "formats=onnx", *precision, cwd=tmp_path)
    results = read_results(tmp_path / "c" / "results.json")
    assert (results.data.split, results.data.holdout, results.data.images) == ("test", 0.5, 2)
    for run in (tmp_path / "c").glob("*/seed0"):
        apart = (tmp_path / "c" / "holdout" / "test.txt").read_text().split()
        assert recording.read(run / "predictions.npz").files == apart
    assert "2 images held out of the validation images (0.5)" in (tmp_path / "c" / "results.md").read_text()
    assert results.arguments["data"] == results.data.file == str(tiny)
    assert results.arguments["holdout"] == 0.5
    assert [r.model for r in results.retention] == ["small", "small-diffattn"]
    assert {(r.format, *r.seeds, *r.failures) for r in results.retention} == {("onnx", 0)}
    for run in (tmp_path / "c").glob("*/seed0"):
        recorded = {recording.read(file).files == apart for file in run.glob("exports/*/predictions.npz")}
        assert recorded == {True}
        if precision:
            calibrated = (run / "exports" / "onnx-int8" / "calibration" / "images.txt").read_text()
            assert calibrated.count("/images/train/") == 8
    assert "kept by onnx" in (tmp_path / "c" / "results.md").read_text()
    assert "on which nothing was chosen" in (tmp_path / "c" / "report.html").read_text(encoding="utf-8")


def test_several_data_sets(tiny, tmp_path):
    other = tmp_path / "other" / "data.yaml"
    other.parent.mkdir()
    other.write_text(tiny.read_text() + f"path: {tiny.parent}\n")
    words = ["compare", f"data={tiny},{other}", small(tmp_path), *SMALL, "seeds=0", "epochs=1", f"project={tmp_path}"]
    words += ["name=c"]
    interpreters.command("diffattn", *words, cwd=tmp_path)
    across = typed_json.read(Across, tmp_path / "c" / "across.json")
    assert across.folders == {name: name for name in (tiny.parent.name, "other")}
    (model,) = across.models
    for name, found in model.sets.items():
        results = read_results(tmp_path / "c" / name / "results.json")
        assert found.difference == results.pairs[0].difference
        assert (found.verdict, model.verdict) == ("no verdict", "no verdict")  # from one seed
    (tmp_path / "c" / "other" / "small" / "seed0" / "spec.json").write_text("{}")
    before = {f: f.stat().st_mtime_ns for f in (tmp_path / "c").rglob("*.*")}
    again = interpreters.command("diffattn", *words, cwd=tmp_path, check=False)
    assert "nothing was changed" in again.stderr
    assert {f: f.stat().st_mtime_ns for f in (tmp_path / "c").rglob("*.*")} == before


def test_every_model_with_every_teacher(tiny, tmp_path):
    torch.manual_seed(0)
    models = small(tmp_path)
    YOLO(tmp_path / "small.yaml").save(tmp_path / "t.pt")
    words = [f"data={tiny}", models, *SMALL, "seeds=0", "epochs=1", f"teacher=none,{tmp_path / 't.pt'}"]
    interpreters.command("diffattn", "compare", *words, f"project={tmp_path}", "name=c", cwd=tmp_path)
    results = read_results(tmp_path / "c" / "results.json")
    assert list(results.models) == ["small", "small-diffattn", "small+t", "small-diffattn+t"]
    scores = {run.model: run.metrics[results.main] for run in results.runs}
    gains = [scores[f"{model}+t"] - scores[model] for model in ("small", "small-diffattn")]
    model, teacher, both = results.effects
    assert (model.kind, teacher.kind, both.kind) == ("model", "teacher", "interaction")
    assert teacher.difference == pytest.approx(sum(gains) / 2)
    assert both.difference == pytest.approx(gains[1] - gains[0])
    for label in results.models:
        lambdas = next(run.lambdas for run in results.runs if run.model == label)
        assert list(lambdas) == (["model.3.m.0.attn"] if "diffattn" in label else [])


@pytest.mark.parametrize("task", ["pose", "classify", "depth"])  # of two metrics, without boxes, without classes
def test_other_tasks(task, tiny, tmp_path):
    data = make(task, tiny, tmp_path / "data")
    words = [f"data={data}", small(tmp_path, task), *SMALL, "seeds=0", "epochs=1", f"project={tmp_path}"]
    interpreters.command("diffattn", "compare", *words, "name=c", cwd=tmp_path)
    results = read_results(tmp_path / "c" / "results.json")
    assert results.task == task
    assert [pair.metric for pair in results.pairs] == list(TASKS[task].compared)
    assert all(tuple(model.metrics) == TASKS[task].metrics for model in results.models.values())
    assert all(len(run.curve.metric) == 1 and run.curve.losses for run in results.runs)
    assert {pair.verdict for pair in results.pairs} == {"no verdict"}  # from one seed
    page = (tmp_path / "c" / "report.html").read_text(encoding="utf-8")
    assert TASKS[task].main in page
    assert ("objects" in page) == (task == "pose")


@pytest.mark.parametrize(("seeds", "expected"), [((0, 1), [0, 1]), ("2,5", [2, 5]), (7, [7]), ([3], [3])])
def test_parse_seeds(seeds, expected):
    assert compare_arguments.parse_seeds(seeds) == expected


@pytest.mark.parametrize("data", ["", "a,,b", [], ["a", ""]], ids=str)
def test_data_sets_without_a_name_are_refused(data):
    with pytest.raises(UserError, match="must name one data set"):
        compare_arguments.parse_data(data)


def test_a_folder_with_a_comma_is_one_data_set(tmp_path):
    (tmp_path / "a,b").mkdir()
    assert compare_arguments.parse_data(tmp_path / "a,b") == [str(tmp_path / "a,b")]
    assert compare_arguments.parse_data(["c", tmp_path / "a,b"]) == ["c", str(tmp_path / "a,b")]


def test_parse_models_makes_paths_absolute(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    (tmp_path / "mine.yaml").touch()
    assert compare_arguments.parse_models("mine.yaml, yolo11n.yaml") == {
        "mine": str(tmp_path / "mine.yaml"),
        "yolo11n": "yolo11n.yaml",
    }
