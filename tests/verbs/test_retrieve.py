"""verbs/retrieve.py: what is measured and written, and what is refused."""

import json

import pytest
import torch
from ultralytics.utils import LOGGER

pytest.importorskip("open_clip")
from tests.photos import photos_of_classes, word_clip
from ultralytics_diffattn.errors import UserError
from ultralytics_diffattn.verbs.retrieve import retrieve


@pytest.fixture(scope="module")
def file(tmp_path_factory):
    file = tmp_path_factory.mktemp("weights") / "w.pt"
    torch.save({"state_dict": word_clip().state_dict()}, file)
    return str(file)


@pytest.fixture
def photos(tmp_path):
    return photos_of_classes(tmp_path / "data")


@pytest.fixture
def log(monkeypatch):
    lines = []
    monkeypatch.setattr(LOGGER, "warning", lines.append)
    return lines


def test_retrieve(file, photos, tmp_path, log):
    table = photos / "captions.csv"
    table.write_text(
        'caption,image\na cat,cat/0.jpg\n"a cat, grey",cat/1.png\nagain,cat/1.png\nnone,cat/broken.jpg\n'
        ",cat/2.png\na dog,dog/0.jpg\ngone,dog/9.jpg\n"
    )
    results = retrieve(weights=file, data=str(table), project=str(tmp_path / "runs"))
    assert (results["images"], results["captions"]) == (3, 4)
    assert results["text_to_image"]["R@5"] == results["image_to_text"]["R@5"] == 1
    assert json.loads((tmp_path / "runs" / "retrieve" / "retrieve.json").read_text()) == results
    assert any("1 rows without an image or a caption" in str(line) for line in log)
    assert sum("cannot be read as an image" in str(line) for line in log) == 2


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        ({"model": "a.pt"}, "model= means nothing to retrieve. It takes weights"),
        ({"batch": 0}, "batch=0 must be"),
        ({"data": ""}, "data= is missing"),
        ({}, "there is no file none.csv"),
    ],
)
def test_retrieve_refuses(arguments, message, file, tmp_path):
    with pytest.raises(UserError, match=message):
        retrieve(**{"weights": file, "data": "none.csv", "project": str(tmp_path / "runs"), **arguments})
    assert not (tmp_path / "runs").exists()
