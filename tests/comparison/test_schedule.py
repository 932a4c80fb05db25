"""One run after another and over Ray, when runs fail, when the disk is full, when a worker is killed."""

import errno
import os
import signal
import sys
import threading
import time

import pytest

from ultralytics_diffattn.comparison import run_files, schedule
from ultralytics_diffattn.errors import MissingPackageError, UserError
from ultralytics_diffattn.output.files import write_json


def folders(tmp_path, count):
    runs = [tmp_path / "model" / f"seed{n}" for n in range(count)]
    for run in runs:
        run.mkdir(parents=True)
        write_json(run / "spec.json", {})
    return runs


def test_a_failure_costs_one_run(tmp_path, monkeypatch):
    runs, trained = folders(tmp_path, 3), []

    def train(run, remaining):
        trained.append((run.name, remaining))
        if run.name == "seed1":
            write_json(run / "error.txt", {"error": "ValueError: no", "errno": None})
            return "ValueError: no"
        write_json(run / "run.json", {})

    monkeypatch.setattr(schedule, "train", train)
    assert schedule.one_by_one(runs) == [runs[1]]
    assert trained == [("seed0", 3), ("seed1", 2), ("seed2", 1)]
    trained.clear()
    schedule.one_by_one(runs)  # the same command again
    assert trained == [("seed1", 1)]


@pytest.mark.parametrize("reported", [True, False])
def test_a_full_disk_stops_the_queue(tmp_path, monkeypatch, reported):
    runs, trained = folders(tmp_path, 3), []

    def train(run, remaining):
        trained.append(run.name)
        if reported:
            write_json(run / "error.txt", {"error": "OSError: full", "errno": errno.ENOSPC})
        return "its process ended with 1."

    def full(self, data):
        raise OSError(errno.ENOSPC, "No space left on device")

    monkeypatch.setattr(schedule, "train", train)
    if not reported:  # the run could not even write why
        monkeypatch.setattr(schedule.Path, "write_bytes", full)
    with pytest.raises(OSError, match="make room and give the same command again") as error:
        schedule.one_by_one(runs)
    assert isinstance(error.value, UserError)
    assert trained == ["seed0"]


def test_a_process_that_is_killed_is_named(tmp_path, monkeypatch):
    (run,) = folders(tmp_path, 1)
    (tmp_path / "killed.py").write_text("import os\n\nos.kill(os.getpid(), 9)\n")
    monkeypatch.setenv("PYTHONPATH", str(tmp_path))
    monkeypatch.setattr(schedule, "MODULE", "killed")
    assert schedule.train(run) == "its process ended with status -9: it was killed, perhaps for lack of memory."


def test_a_folder_that_a_machine_does_not_see(tmp_path):
    assert "storage that all machines share" in schedule.train(tmp_path / "elsewhere")


def test_ray_that_is_not_installed(monkeypatch):
    monkeypatch.setitem(sys.modules, "ray", None)
    with pytest.raises(MissingPackageError, match="pip install ray"):
        schedule.over_ray([])


@pytest.fixture
def cluster():
    ray = pytest.importorskip("ray")
    ray.init(num_cpus=2, include_dashboard=False, log_to_driver=False, configure_logging=False)
    yield ray
    ray.shutdown()


def test_ray_trains_all_and_a_killed_worker_costs_one_run(tmp_path, monkeypatch, cluster):
    runs = folders(tmp_path, 3)

    def train(run, remaining, gpu):  # stands for a training: the first takes for ever, the others finish
        (run / "pid").write_text(str(os.getpid()))
        if run.name == "seed0":
            time.sleep(600)
        (run / "run.json").write_text("{}")

    monkeypatch.setattr(schedule, "train", train)

    def kill():
        while not all((run / "pid").exists() for run in runs):
            time.sleep(0.1)
        os.kill(int((runs[0] / "pid").read_text()), signal.SIGKILL)

    thread = threading.Thread(target=kill, daemon=True)
    thread.start()
    assert schedule.over_ray(runs) == [runs[0]]
    assert [run_files.is_finished(run) for run in runs] == [False, True, True]
