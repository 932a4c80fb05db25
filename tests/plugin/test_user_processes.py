"""A user's modules where a training runs: several processes, a kill, a resume; from a file that is merely known."""

import os
import re
import signal
import sys

import pytest
import torch

from tests.interpreters import forked, run, two_ranks
from tests.plugin.conftest import BLOCKS
from tests.plugin.test_user_modules import YAML
from tests.test_processes import RANK
from tests.test_train import DDP
from ultralytics_diffattn.plugin import user_files

NAMES = {"Mixer", "GatedConcat", "Attend"}


@pytest.fixture
def place(tmp_path):
    """Return a folder for a run with the YAML in it; the file with the modules is elsewhere."""
    (tmp_path / "work").mkdir()
    (tmp_path / "home").mkdir()
    (tmp_path / "home" / "my_blocks.py").write_text(BLOCKS)
    (tmp_path / "work" / "own.yaml").write_text(YAML)
    return tmp_path / "work"


@pytest.fixture
def env(place):
    return {user_files.PATHS: str(place.parent / "home" / "my_blocks.py"), user_files.INHERITED: "[]"}


def test_the_file_of_a_multi_gpu_training(place, env, tiny):
    """Stock's own file, in a fresh interpreter; without start-up files the name is unknown."""
    code = DDP.format(model=str(place / "own.yaml"), data=str(tiny), project=str(place))
    file = forked(code, cwd=place, preloaded="torch", **env).stdout.splitlines()[-1]
    try:
        run(sys.executable, file, cwd=place, **env)
        assert list(place.rglob("ddp*/weights/last.pt"))
        path = os.pathsep.join(p for p in sys.path if p)
        control = run(sys.executable, "-S", file, cwd=place, check=False, **{**env, "PYTHONPATH": path})
        assert "KeyError: 'Mixer'" in control.stderr
    finally:
        os.remove(file)


def test_two_ranks_end_with_the_same_weights(place, env, tiny):
    (place / "rank.py").write_text(RANK.replace("yolo11n-diffattn.yaml", str(place / "own.yaml")))
    two_ranks("rank.py", tiny, place, cwd=place, **env)
    (start, one, _), (_, other, _) = (torch.load(place / f"rank{i}.pt", weights_only=False) for i in "01")
    assert [n for n in one if not torch.equal(one[n], other[n]) and "running_" not in n] == []
    moved = {n.split(".")[1] for n in one if not torch.equal(one[n], start[n])}
    assert moved >= {"1", "3", "4"}, "rows with modules of the user's"


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
print("HELD", *sorted(type(m).__name__ for m in best.model.modules() if type(m).__module__ == "my_blocks"))
"""


def test_resume_after_kill_validate_and_load_safely(place, env, tiny):
    """Killed behind the first epoch, resumed by a process that knows the file alone, with safe loading."""
    words = {"data": str(tiny), "project": str(place)}
    killed = forked(KILLED.format(**words), cwd=place, check=False, preloaded="torch", **env)
    assert killed.returncode == -signal.SIGKILL, killed.stderr
    vanished = forked(
        RESUMED.format(**words), cwd=place, check=False, preloaded="torch", **{**env, user_files.PATHS: ""}
    )
    assert re.search(r"t/weights/last\.pt needs Mixer, .*of the file my_blocks\.py", vanished.stderr)
    safe = {**env, "ULTRALYTICS_SAFE_LOAD": "1"}
    out = forked(RESUMED.format(**words), cwd=place, preloaded="torch", **safe).stdout
    assert "2 epochs completed" in re.sub(r"\s+", " ", out) or "epochs completed" in out
    assert "VALIDATED True" in out
    assert set(out.partition("HELD")[2].split()) >= NAMES | {"Gate"}


def test_spawned_workers_unpickle_a_model(place, env):
    (place / "pool.py").write_text("""
import multiprocessing
from concurrent.futures import ProcessPoolExecutor

def work(module):
    return type(module).__name__, tuple(module(__import__("torch").zeros(1, 16, 4, 4)).shape)

if __name__ == "__main__":
    from ultralytics import YOLO
    module = YOLO("own.yaml").model.model[1]
    with ProcessPoolExecutor(1, mp_context=multiprocessing.get_context("spawn")) as pool:
        print(pool.submit(work, module).result(timeout=120))
""")
    assert "('Mixer', (1, 16, 4, 4))" in run(sys.executable, "pool.py", cwd=place, **env).stdout
