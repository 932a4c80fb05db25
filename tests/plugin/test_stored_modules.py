"""A user's module, its record and a checkpoint with it, as version 0.1.0 left them: every later version knows them."""

import shutil

import pytest

from tests.interpreters import python
from tests.places import ROOT
from ultralytics_diffattn.plugin import needs

FOLDER = ROOT / "tests" / "fixtures" / "module"
LOAD = """
import sys
sys.prefix = {prefix!r}
import torch
from ultralytics import YOLO
model = YOLO({weights!r}).model.eval()
print(type(model.model[1]).__module__, type(model.model[1]).__name__, tuple(model(torch.rand(1, 3, 32, 32)).shape))
"""


@pytest.fixture
def prefix(tmp_path):
    """Return an environment in which 0.1.0 has recorded the file, which lies where it did then."""
    shutil.copy(FOLDER / "gate.py", tmp_path)
    place = tmp_path / "share" / "ultralytics-diffattn" / "modules.json"
    place.parent.mkdir(parents=True)
    place.write_text((FOLDER / "modules.json").read_text().replace("/folder/of/the/module", str(tmp_path)))
    return tmp_path


def loaded(prefix, cwd):
    return python(LOAD.format(prefix=str(prefix), weights=str(FOLDER / "own.pt")), cwd=cwd, check=False)


def test_the_checkpoint_loads_where_the_file_is_recorded(prefix, tmp_path):
    done = loaded(prefix, tmp_path)
    assert done.stdout.splitlines()[-1] == "gate Gate (1, 200)", done.stderr
    assert "has changed" not in done.stdout + done.stderr


def test_a_file_that_has_changed_since_is_said(prefix, tmp_path):
    with open(prefix / "gate.py", "a") as file:
        file.write("# another line\n")
    done = loaded(prefix, tmp_path)
    assert done.stdout.splitlines()[-1] == "gate Gate (1, 200)"
    assert "gate.py has changed since" in done.stdout + done.stderr


def test_without_the_record_it_says_what_is_needed(tmp_path):
    done = loaded(tmp_path, tmp_path)
    assert done.returncode == 1
    assert "own.pt needs Gate of the file gate.py (it was /tmp/modules/gate.py, sha256 8d5dbd4d75cc)" in done.stderr


def test_the_note_is_read():
    (need,) = needs.read(FOLDER / "own.pt")
    assert need[:4] == ("Gate", "gate:Gate", "Conv", "/tmp/modules/gate.py")
