"""One run: where it goes on after a kill at any moment."""

import subprocess
import sys
import time

import pytest
import torch
from filelock import FileLock

from ultralytics_diffattn.comparison import run, run_files, schedule, typed_json
from ultralytics_diffattn.comparison.schema import RunSpec
from ultralytics_diffattn.evaluation import recording
from ultralytics_diffattn.output.files import write_json


def spec(folder, tiny, **more):
    folder.mkdir(parents=True, exist_ok=True)
    args = {"data": str(tiny), "epochs": 1, "imgsz": 64, "batch": 4, "workers": 0, "plots": False, "seed": 0, **more}
    typed_json.write(folder / "spec.json", RunSpec("yolo11n-diffattn.yaml", "digest", args, {}, "data digest", {}))
    return folder


@pytest.fixture(scope="module")
def finished(tiny, tmp_path_factory):
    folder = spec(tmp_path_factory.mktemp("run") / "seed0", tiny)
    assert schedule.train(folder) is None
    return folder


def test_finished(finished):
    assert run_files.is_finished(finished)
    assert {"run.json", "spec.json", "epochs.csv", "predictions.npz", "backup", "train"} <= {
        f.name for f in finished.iterdir()
    }
    assert run_files.read_record(finished).epochs == 1


def test_next_step_without_a_backup(tmp_path):
    """As with several GPUs under an ultralytics that does not hand callbacks on."""
    weights = tmp_path / "train" / "weights"
    for epoch, step in ((None, "fresh"), (1, "resume"), (-1, "evaluate")):
        if epoch is not None:
            torch.save({"epoch": epoch}, weights / "last.pt")
        assert run._next_step(tmp_path, 3) == step


@pytest.mark.parametrize(("epoch", "step"), [(None, "fresh"), (0, "resume"), (1, "resume"), (2, "evaluate")])
def test_next_step(tmp_path, epoch, step):
    weights = tmp_path / "train" / "weights"
    weights.mkdir(parents=True)
    (weights / "last.pt").write_bytes(b"torn by a kill in the middle of a write")
    if epoch is not None:
        (tmp_path / "backup").mkdir()
        torch.save({"epoch": epoch}, tmp_path / "backup" / "last.pt")
    assert run._next_step(tmp_path, 3) == step
    if epoch is not None:  # the whole file stands where ultralytics looks for it
        assert torch.load(weights / "last.pt")["epoch"] == epoch


@pytest.mark.parametrize("lost", [["run.json"], ["run.json", "predictions.npz"]])
def test_killed_at_the_end_is_evaluated_and_not_trained_again(finished, lost):
    old = recording.read(finished / "predictions.npz")
    rows = (finished / "epochs.csv").read_text()
    for name in lost:
        (finished / name).unlink()
    assert schedule.train(finished) is None
    assert (finished / "epochs.csv").read_text() == rows
    new = recording.read(finished / "predictions.npz")
    assert new.files == old.files
    assert new.tp.shape == old.tp.shape
    assert abs(new.conf - old.conf).max() < 1e-5
    checkpoint = torch.load(finished / "train" / "weights" / "best.pt", weights_only=False)
    assert checkpoint["optimizer"] is None  # stripped, as by the trainer


def test_back_up_replaces_the_backup_in_one_step(tmp_path, monkeypatch):
    from types import SimpleNamespace

    weights = tmp_path / "train" / "weights"
    weights.mkdir(parents=True)
    trainer = SimpleNamespace(save_dir=tmp_path / "train", best=weights / "best.pt", last=weights / "last.pt")
    for n in (1, 2):
        trainer.last.write_text(f"last {n}")
        if n == 1:
            trainer.best.write_text("best 1")
        run.back_up(trainer)
    assert {f.name: f.read_text() for f in (tmp_path / "backup").iterdir()} == {
        "best.pt": "best 1",
        "last.pt": "last 2",
    }

    monkeypatch.setattr(run.os, "replace", lambda *_: (_ for _ in ()).throw(OSError(28, "No space left on device")))
    trainer.last.write_text("last 3")
    with pytest.raises(OSError, match="No space"):
        run.back_up(trainer)
    assert (tmp_path / "backup" / "last.pt").read_text() == "last 2"


def test_reason_of_a_failure_is_recorded(tmp_path, tiny):
    folder = spec(tmp_path / "seed0", tiny, data="nowhere.yaml")
    assert "nowhere.yaml" in schedule.train(folder)
    assert not run_files.is_finished(folder)


def test_specification_of_another_version_is_refused_in_words(tmp_path):
    write_json(tmp_path / "spec.json", {"model": "yolo11n-diffattn.yaml", "args": {"epochs": 1}})
    error = schedule.train(tmp_path)
    assert "UserError" in error
    assert "spec.json: the file lacks data, files, holdout, model_digest, reconstruct, source, split, task" in error


def test_arguments_of_the_process_reach_the_training(tmp_path, monkeypatch):
    calls = []
    monkeypatch.setattr(run, "end_with_parent", lambda: None)
    monkeypatch.setattr(run, "train", lambda *arguments: calls.append(arguments))
    assert [run.main(str(tmp_path)), run.main(str(tmp_path), "2"), run.main(str(tmp_path), "3", "0")] == [0, 0, 0]
    assert calls == [(tmp_path, 0, None), (tmp_path, 2, None), (tmp_path, 3, "0")]


def test_two_processes_on_one_run(tmp_path, tiny):
    folder = spec(tmp_path / "seed0", tiny)
    with FileLock(folder / "lock"):
        assert "another process is training the run in" in schedule.train(folder)


def test_ends_with_its_parent(tmp_path):
    code = (
        "from ultralytics_diffattn.comparison.run import *; end_with_parent(); print('up', flush=True); time.sleep(60)"
    )
    child = subprocess.Popen(
        [sys.executable, "-c", code], stdin=subprocess.PIPE, stdout=subprocess.PIPE, start_new_session=True
    )
    assert child.stdout.readline() == b"up\n"
    child.stdin.close()  # as when the parent is killed
    deadline = time.time() + 20
    while child.poll() is None and time.time() < deadline:
        time.sleep(0.05)
    assert child.poll() == -9


def test_errno_is_found_below_other_errors():
    error = RuntimeError("could not save")
    error.__cause__ = OSError(28, "No space left on device")
    assert run._errno(error) == 28
    assert run._errno(ValueError()) is None


def test_a_reconstruction_is_recorded(tmp_path, monkeypatch):
    from contextlib import contextmanager

    from ultralytics import YOLO

    from ultralytics_diffattn.weights import conversion
    from ultralytics_diffattn.weights.reconstruction import ReconstructedBlock

    @contextmanager
    def starting_weights(model, args, reconstruct_first):
        assert reconstruct_first
        yield {**args, "pretrained": "made.pt"}, [ReconstructedBlock("a.attn", 1.0, 0.25, 16, 1.0, 1.0)]

    calls = []
    monkeypatch.setattr(conversion, "starting_weights", starting_weights)
    monkeypatch.setattr(YOLO, "train", lambda self, **args: calls.append(args["pretrained"]))
    run._start(tmp_path, RunSpec("yolo11n-diffattn.yaml", "", {"pretrained": "in.pt"}, {}, "", {}, True), 0)
    assert calls == ["made.pt"]
    assert run_files.read_reconstruction(tmp_path) == {"a.attn": 0.25}
    assert run_files.read_reconstruction(tmp_path / "train") is None
