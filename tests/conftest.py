"""What all tests share: a private ultralytics configuration, the shared material, and small data sets."""

import gc
import os
import shutil
import tempfile

# Before ultralytics is imported, here and in every child: no test reads or writes the user's own settings.
os.environ["YOLO_CONFIG_DIR"] = tempfile.mkdtemp(prefix="diffattn-tests-")
os.environ["YOLO_OFFLINE"] = "true"  # ultralytics then skips its look-ups in the network
os.environ["OMP_NUM_THREADS"] = "1"  # a test for each core at a time: more threads would wait for each other

import pytest
from xdist import is_xdist_controller

from tests.places import SHARED


def pytest_sessionstart(session):
    """Set ultralytics up where tests run; the controller of several workers would import it for nothing."""
    if is_xdist_controller(session):
        return
    from ultralytics import settings

    # Else beside the checkout, where ultralytics puts data and runs if its environment lies in a git repository.
    settings.update({name: os.path.join(os.environ["YOLO_CONFIG_DIR"], name) for name in ("datasets_dir", "runs_dir")})
    settings.update({"tensorboard": False, "raytune": False})  # the one traces each model that trains, both are slow


@pytest.fixture(scope="module", autouse=True)
def frozen_imports():
    """Keep the garbage collector, which each training and each verdict calls, from searching all that was imported."""
    gc.collect()
    gc.freeze()


def pytest_unconfigure():
    """Remove the private configuration, and the data sets and runs below it."""
    shutil.rmtree(os.environ["YOLO_CONFIG_DIR"], ignore_errors=True)


def pytest_xdist_auto_num_workers():
    """Return a worker more than there are cores: many a test waits for a process, a lock or the disk."""
    return (os.cpu_count() or 1) + 1


SLOW = [  # the longest first
    "test_readme",
    "verbs/test_compare",
    "test_processes",
    "test_faults",
    "verbs/test_export",
    "verbs/test_strip",
    "scripts/test_clip",
    "clip/test_commands",
    "verbs/test_bench",
    "test_train",
    "test_autoload",
    "test_sizes",
    "comparison/test_page",
    "test_safety",
    "plugin/test_lambda_log",
    "test_models",
    "plugin/test_parsers",
    "benchmark/test_cases",
    "verbs/test_clip_train",
    "verbs/test_convert",
    "data/test_hostile_data",
    "comparison/test_run",
    "test_examples",
    "plugin/test_user_processes",
    "weights/test_distillation",
    "scripts/test_formats",
    "scripts/test_study",
    "verbs/test_new",
    "test_package",
    "demo/test_page",
    "test_docs",
]


def pytest_collection_modifyitems(items):
    """Put the files that take longest first, so that no worker is left with one of them at the end."""
    items.sort(key=lambda item: next((i for i, name in enumerate(SLOW) if f"/{name}.py" in item.nodeid), len(SLOW)))


@pytest.fixture(scope="session")
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
    from ultralytics_diffattn.data import shapes

    root = tmp_path_factory.mktemp("tiny") / "shapes"
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(shapes, "COUNTS", {"train": 8, "val": 4})
        shapes.generate(root)
    names = "".join(f"  {i}: {name}\n" for i, name in enumerate(shapes.NAMES))
    (root / "data.yaml").write_text(f"train: images/train\nval: images/val\nnames:\n{names}")
    return root / "data.yaml"


@pytest.fixture(scope="session")
def eighty(tiny):
    """Return the bundled classes as the first six of the 80 that an untrained model has."""
    yaml = tiny.with_name("eighty.yaml")
    yaml.write_text("train: images/train\nval: images/val\nnames:\n" + "".join(f"  {i}: '{i}'\n" for i in range(80)))
    return yaml


@pytest.fixture
def own_datasets_dir(tmp_path, monkeypatch):
    """Let conversions go below tmp_path."""
    from ultralytics import settings

    monkeypatch.setitem(settings, "datasets_dir", str(tmp_path / "datasets"))
