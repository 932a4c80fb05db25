"""What all tests share: a private ultralytics configuration, the shared material, and fresh interpreters."""

import os
import re
import shutil
import subprocess
import sys
import tempfile
from pathlib import Path

# Before ultralytics is imported, here and in every child: no test reads or writes the user's own settings.
os.environ["YOLO_CONFIG_DIR"] = tempfile.mkdtemp(prefix="diffattn-tests-")
os.environ["YOLO_OFFLINE"] = "true"  # ultralytics then skips its look-ups in the network

import pytest
from ultralytics import __version__, settings
from ultralytics.utils.checks import check_version

# Else beside the checkout, where ultralytics puts data and runs if its environment lies in a git repository.
settings.update({name: os.path.join(os.environ["YOLO_CONFIG_DIR"], name) for name in ("datasets_dir", "runs_dir")})

ROOT = Path(__file__).resolve().parents[1]
SHARED = ROOT.parent / "shared"
SCALES = "nsmlx"
TASKS = {"": "detect", "-seg": "segment", "-pose": "pose", "-obb": "obb", "-cls": "classify"}  # suffix of the YAML


def scaled(name, scale):
    """Return the name of a model YAML with a scale in it, where its family has scales."""
    return re.sub(r"^(yolo(?:e-)?\d+)", rf"\g<1>{scale}", name)


def model_yamls(pattern="*.yaml"):
    """Return the names of the bundled model YAMLs that the installed ultralytics has stock's rows for."""
    texts = {file.name: file.read_text() for file in sorted((ROOT / "cfg").glob(pattern))}
    needs = {name: re.search(r"min_ultralytics: (\S+)", text) for name, text in texts.items()}
    return [name for name, least in needs.items() if not least or check_version(__version__, f">={least[1]}")]


def pytest_unconfigure():
    """Remove the private configuration, and the data sets and runs below it."""
    shutil.rmtree(os.environ["YOLO_CONFIG_DIR"], ignore_errors=True)


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


@pytest.fixture
def shared():
    """Return the folder of shared material, or skip."""
    if not SHARED.is_dir():
        pytest.skip(f"needs the shared material at {SHARED}")
    return SHARED


@pytest.fixture
def photos(tmp_path, shared):
    """Return a data YAML with 16 images of COCO, and weights that were trained on COCO."""
    for kind in ("images", "labels"):
        (tmp_path / "coco" / kind / "val").mkdir(parents=True)
        for file in sorted((shared / "data" / "coco356" / kind / "val").iterdir())[:16]:
            shutil.copyfile(file, tmp_path / "coco" / kind / "val" / file.name)
    yaml = (shared / "data" / "coco356" / "data.yaml").read_text().replace("images/train", "images/val")
    (tmp_path / "coco" / "data.yaml").write_text(yaml)
    shutil.copyfile(shared / "weights" / "yolo11n_coco.pt", tmp_path / "coco.pt")
    return str(tmp_path / "coco.pt"), str(tmp_path / "coco" / "data.yaml")


@pytest.fixture(scope="session")
def tiny(tmp_path_factory):
    """Return the data YAML of 8 train and 4 val images of the bundled data set."""
    from ultralytics_diffattn import shapes

    root = tmp_path_factory.mktemp("tiny") / "shapes"
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(shapes, "COUNTS", {"train": 8, "val": 4})
        shapes.generate(root)
    names = "".join(f"  {i}: {name}\n" for i, name in enumerate(shapes.NAMES))
    (root / "data.yaml").write_text(f"train: images/train\nval: images/val\nnames:\n{names}")
    return root / "data.yaml"
