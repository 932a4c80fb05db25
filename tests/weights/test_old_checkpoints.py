"""Checkpoints of unreleased versions, whose classes were at other paths: the error says so, the docs convert them."""

import re

import pytest
import torch
from ultralytics import YOLO
from ultralytics.nn import tasks

from tests.interpreters import python
from tests.places import ROOT
from tests.samples import old_checkpoint
from ultralytics_diffattn.autoload import MOVED
from ultralytics_diffattn.errors import UserError
from ultralytics_diffattn.weights import checkpoints

SENTENCE = r"ultralytics_diffattn\.\w+ is of an unreleased version of ultralytics-diffattn: [^.]*convert[^.]*\.md shows"
PAGE = (ROOT / "docs" / "troubleshooting.md").read_text(encoding="utf-8")


@pytest.fixture
def old(tmp_path):
    return old_checkpoint(tmp_path / "old.pt")


def test_stock_ultralytics_says_how_to_convert_it_and_installs_nothing(old, monkeypatch):
    monkeypatch.setattr(tasks, "check_requirements", lambda *_, **__: pytest.fail("pip install"))
    with pytest.raises(ImportError, match=SENTENCE) as caught:
        YOLO(old)
    assert not isinstance(caught.value, ModuleNotFoundError)


def test_our_commands_say_it_too(old):
    with pytest.raises(UserError, match=rf"old\.pt cannot be read: {SENTENCE}"):
        checkpoints.load(str(old))


def test_the_block_in_the_docs_converts_it(old, tmp_path):
    (code,) = re.findall(r"(?ms)^```python\n(.*?)^```", PAGE)
    python(code, cwd=tmp_path)
    model = YOLO(tmp_path / "new.pt").model
    assert type(model.model[10]).__module__ == "ultralytics_diffattn.nn.blocks"
    assert model(torch.rand(1, 3, 64, 64)) is not None


@pytest.mark.skipif(not hasattr(tasks, "_SafeLoad"), reason="this ultralytics has no ULTRALYTICS_SAFE_LOAD")
def test_safe_loading_refuses_it_in_a_sentence(old, tmp_path):
    done = python("from ultralytics import YOLO; YOLO('old.pt')", cwd=tmp_path, check=False, ULTRALYTICS_SAFE_LOAD="1")
    assert done.returncode == 1
    last = done.stderr.strip()
    assert re.search(rf"references types outside the supported Ultralytics checkpoint format|{SENTENCE}", last), last


def test_the_docs_name_what_moved():
    assert all(f'"{name}"' in PAGE.partition("## A checkpoint")[2] for name in MOVED)


@pytest.mark.parametrize("name", ["ultralytics_diffattn.block", "ultralytics_diffattn.nn.area2", "blocks"])
def test_any_other_missing_module_is_missing_as_always(name):
    with pytest.raises(ModuleNotFoundError, match=re.escape(name)):
        __import__(name)
