"""Modules where a training runs: several processes, a kill, a resume; from files that are merely known.

One model with the five modules of examples/modules/ and the one over several inputs, so that all hold for each.
"""

import os
import re
import signal
import sys

import pytest
import torch

from tests.interpreters import forked, run, two_ranks
from tests.test_example_modules import ALL, CLASSES, PATHS
from tests.test_processes import RANK
from tests.test_train import DDP
from ultralytics_diffattn.plugin import user_files


@pytest.fixture
def place(tmp_path):
    """Return a folder for a run with the YAML in it; the files with the modules are elsewhere."""
    (tmp_path / "own.yaml").write_text(ALL)
    return tmp_path


@pytest.fixture
def env():
    return {user_files.PATHS: PATHS, user_files.INHERITED: "[]"}


def test_the_file_of_a_multi_gpu_training(place, env, tiny):
    """Stock's own file, in a fresh interpreter; without start-up files the name is unknown."""
    code = DDP.format(model=str(place / "own.yaml"), data=str(tiny), project=str(place))
    file = forked(code, cwd=place, preloaded="torch", **env).stdout.splitlines()[-1]
    try:
        run(sys.executable, file, cwd=place, **env)
        assert list(place.rglob("ddp*/weights/last.pt"))
        code = f"import runpy; runpy.run_path({file!r}, run_name='__main__')"
        control = forked(code, cwd=place, check=False, preloaded="bare", **env)
        assert "KeyError: 'SE'" in control.stderr
    finally:
        os.remove(file)


def test_two_ranks_end_with_the_same_weights(place, env, tiny):
    (place / "rank.py").write_text(RANK.replace("yolo11n-diffattn.yaml", str(place / "own.yaml")))
    two_ranks("rank.py", tiny, place, cwd=place, **env)
    (start, one, _), (_, other, _) = (torch.load(place / f"rank{i}.pt", weights_only=False) for i in "01")
    assert [n for n in one if not torch.equal(one[n], other[n]) and "running_" not in n] == []
    moved = {n.split(".")[1] for n in one if not torch.equal(one[n], start[n])}
    with_weights = [str(row) for row, c in enumerate(CLASSES.values(), 2) if c != "SimAM"]
    assert moved >= set(with_weights)


KILLED = """
import os, signal
from ultralytics import YOLO
model = YOLO("own.yaml")
model.add_callback("on_model_save", lambda trainer: os.kill(os.getpid(), signal.SIGKILL))
model.train(data={data!r}, project={project!r}, name="t", epochs=2, imgsz=64, batch=4, workers=0, plots=False,
            device="cpu")
"""
RESUMED = """
from ultralytics import YOLO
YOLO("t/weights/last.pt").train(resume=True)
best = YOLO("t/weights/best.pt")
print("VALIDATED", best.val(data={data!r}, imgsz=64, batch=4, workers=0, plots=False, device="cpu").box.map >= 0)
print("HELD", *sorted(type(m).__name__ for m in best.model.modules() if type(m).__module__ in {names!r}))
"""


def test_resume_after_kill_validate_and_load_safely(place, env, tiny):
    """Killed behind the first epoch, resumed by a process that knows the file alone, with safe loading."""
    words = {"data": str(tiny), "project": str(place), "names": [*CLASSES]}
    killed = forked(KILLED.format(**words), cwd=place, check=False, preloaded="torch", **env)
    assert killed.returncode == -signal.SIGKILL, killed.stderr
    vanished = forked(
        RESUMED.format(**words), cwd=place, check=False, preloaded="torch", **{**env, user_files.PATHS: ""}
    )
    assert re.search(r"t/weights/last\.pt needs SE of the file se\.py", vanished.stderr)
    safe = {**env, "ULTRALYTICS_SAFE_LOAD": "1"}
    out = forked(RESUMED.format(**words), cwd=place, preloaded="torch", **safe).stdout
    assert "2 epochs completed" in re.sub(r"\s+", " ", out) or "epochs completed" in out
    assert "VALIDATED True" in out
    assert set(out.partition("HELD")[2].split()) >= {*CLASSES.values(), "ChannelAttention", "SpatialAttention"}


def test_spawned_workers_unpickle_a_model(place, env):
    (place / "pool.py").write_text("""
import multiprocessing
from concurrent.futures import ProcessPoolExecutor

def work(module):
    return type(module).__name__, tuple(module(__import__("torch").zeros(1, 32, 4, 4)).shape)

if __name__ == "__main__":
    from ultralytics import YOLO
    module = YOLO("own.yaml").model.model[2]
    with ProcessPoolExecutor(1, mp_context=multiprocessing.get_context("spawn")) as pool:
        print(pool.submit(work, module).result(timeout=120))
""")
    assert "('SE', (1, 32, 4, 4))" in run(sys.executable, "pool.py", cwd=place, **env).stdout
