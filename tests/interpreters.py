"""Fresh interpreters, the commands of this environment, and a training that is killed."""

import os
import subprocess
import sys
from pathlib import Path


def run(*command, cwd=None, check=True, **env):
    """Run a command, return the finished process with its output as text."""
    environment = {**os.environ, **env}
    environment.pop("PYTEST_CURRENT_TEST", None)  # it makes ultralytics write its runs into site-packages
    process = subprocess.run(
        [str(c) for c in command], cwd=cwd, env=environment, capture_output=True, text=True, timeout=900
    )
    if check and process.returncode:
        raise AssertionError(f"{command} ended with {process.returncode}:\n{process.stdout}\n{process.stderr}")
    return process


def python(code, *flags, cwd=None, check=True, **env):
    """Run code in a fresh interpreter."""
    return run(sys.executable, *flags, "-c", code, cwd=cwd, check=check, **env)


def yolo(*arguments, cwd, **env):
    """Run the stock `yolo` command of this environment; what it saves goes below `cwd`."""
    return run(Path(sys.executable).with_name("yolo"), *arguments, f"project={cwd}", cwd=cwd, **env)


KILLED = """
import os
from ultralytics import YOLO
model = YOLO("yolo11n-diffattn.yaml")
model.add_callback("on_model_save", lambda trainer: trainer.epoch == {epochs} - 1 and os._exit(9))
model.train(data={data!r}, project={project!r}, name="killed", epochs={epochs} + 1, imgsz=64, batch=4, workers=0,
            plots=False, device="cpu")
"""


def train_and_kill(data, cwd, epochs):
    """Train below `cwd`, kill the process one epoch before the end, return the folder of its weights."""
    killed = python(KILLED.format(data=str(data), project=str(cwd), epochs=epochs), cwd=cwd, check=False)
    assert killed.returncode == 9, killed.stderr
    return cwd / "killed" / "weights"
