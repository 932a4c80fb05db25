"""verbs/zeroshot.py: what is printed and written, and what is refused."""

import csv
import json

import pytest
import torch
from ultralytics.utils import LOGGER

pytest.importorskip("open_clip")
from tests.photos import photos_of_classes, word_clip
from ultralytics_diffattn.clip import classes, images
from ultralytics_diffattn.clip.zeroshot import read_folders
from ultralytics_diffattn.errors import MissingFileError, UserError
from ultralytics_diffattn.verbs.zeroshot import zeroshot


@pytest.fixture(scope="module")
def model():
    return word_clip()


@pytest.fixture(scope="module")
def file(model, tmp_path_factory):
    file = tmp_path_factory.mktemp("weights") / "w.pt"
    torch.save({"state_dict": model.state_dict()}, file)
    return str(file)


@pytest.fixture
def photos(tmp_path):
    return photos_of_classes(tmp_path / "data")


@pytest.fixture
def log(monkeypatch):
    lines = []
    monkeypatch.setattr(LOGGER, "info", lines.append)
    monkeypatch.setattr(LOGGER, "warning", lines.append)
    return lines


def test_ten_thousand_words(file, photos, tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    (tmp_path / "words.txt").write_text("\n".join(f"thing {i}" for i in range(10_000)))
    results = zeroshot(
        weights=file, source=str(photos / "cat" / "1.png"), names="words.txt", project=str(tmp_path / "r")
    )
    assert len(results["images"][0]["classes"]) == 5


def test_names_images(file, model, photos, tmp_path, log):
    results = zeroshot(weights=file, source=str(photos), names="cat,dog,bus", project=str(tmp_path / "runs"))
    assert len(results["images"]) == 9
    assert json.loads((tmp_path / "runs" / "zeroshot" / "zeroshot.json").read_text())["images"] == json.loads(
        json.dumps(results["images"])
    )
    text_embeddings = classes.embed(model, ["cat", "dog", "bus"])
    for row in results["images"]:
        embedding = images.embed(model, [row["image"]])[0]
        shares = dict(
            zip(["cat", "dog", "bus"], (embedding @ text_embeddings.T / 0.07).softmax(-1)[0].tolist(), strict=True)
        )
        assert dict(map(tuple, row["classes"])) == pytest.approx(shares, rel=1e-3)
        assert [s for _, s in row["classes"]] == sorted((s for _, s in row["classes"]), reverse=True)
    rows = list(csv.DictReader((tmp_path / "runs" / "zeroshot" / "zeroshot.csv").read_text().splitlines()))
    assert len(rows) == 27
    assert [r["rank"] for r in rows[:3]] == ["1", "2", "3"]


def test_accuracy_on_folders(file, model, photos, tmp_path, log):
    results = zeroshot(weights=file, data=str(photos), project=str(tmp_path / "runs"))
    files, labels, folders = read_folders(photos)
    assert folders == ["cat", "dog", "traffic_light"]
    text_embeddings = classes.embed(model, ["cat", "dog", "traffic light"])
    hits = [
        (images.embed(model, [f])[0] @ text_embeddings.T).argmax().item() == label
        for f, label in zip(files, labels, strict=True)
        if f.name != "broken.jpg"
    ]
    (row,) = results["rows"]
    assert row["images"] == len(hits) == 9
    assert row["top1"] == pytest.approx(sum(hits) / 9)
    assert row["top5"] == 1


def test_corruptions(file, photos, tmp_path, log):
    results = zeroshot(
        weights=file, data=str(photos), corruptions="fog,gaussian_noise", severities=(1, 5), project=str(tmp_path / "r")
    )
    rows = results["rows"]
    assert [(r["condition"], r["severity"]) for r in rows] == [
        ("clean", 0), ("fog", 1), ("fog", 5), ("gaussian_noise", 1), ("gaussian_noise", 5)
    ]  # fmt: skip
    assert results["corrupted"]["top1"] == pytest.approx(sum(r["top1"] for r in rows[1:]) / 4)


@pytest.mark.parametrize(
    ("arguments", "error", "message"),
    [
        ({}, UserError, "either source= .* or data="),
        ({"source": "a", "data": "b"}, UserError, "either source= .* or data="),
        ({"source": "a"}, UserError, "names= is missing"),
        ({"source": "a", "names": ","}, MissingFileError, "there are no images in a"),
        ({"source": "PHOTOS", "names": ","}, UserError, "holds no names"),
        ({"source": "PHOTOS", "names": "none.txt"}, MissingFileError, "there is no file none.txt"),
        ({"source": "PHOTOS", "names": "PHOTOS/latin.txt"}, UserError, "latin.txt is no text in UTF-8"),
        ({"source": "PHOTOS", "names": "a", "batch": 0}, UserError, "batch=0 must be an integer >= 1"),
        ({"source": "PHOTOS", "names": "a", "workers": -1}, UserError, "workers=-1 must be an integer"),
        ({"source": "PHOTOS", "names": "a", "conf": 0.5}, UserError, "conf= means nothing to zeroshot"),
        ({"source": "PHOTOS", "names": "a", "templates": "a photo"}, UserError, "has no {} for the name"),
        ({"source": "PHOTOS", "names": "a", "corruptions": "fog"}, UserError, "corruptions= measures accuracy"),
        ({"data": "PHOTOS", "corruptions": "fogg"}, UserError, "fog"),
        ({"data": "PHOTOS", "names": "a,b"}, UserError, "has 3 classes, but names= has 2"),
        ({"data": "PHOTOS/cat"}, MissingFileError, "holds no folders with images"),
        ({"data": "PHOTOS", "device": 7}, UserError, "Invalid CUDA"),
        ({"data": "PHOTOS", "project": "PHOTOS/latin.txt/a"}, UserError, "latin.txt"),
        ({"data": "PHOTOS", "weights": "no.pt"}, MissingFileError, "there is no checkpoint no.pt"),
    ],
    ids=str,
)
def test_bad_input(arguments, error, message, file, photos, tmp_path):
    (photos / "latin.txt").write_bytes("café".encode("latin-1"))
    arguments = {k: v.replace("PHOTOS", str(photos)) if isinstance(v, str) else v for k, v in arguments.items()}
    with pytest.raises(error, match=message):
        zeroshot(**{"weights": file, "project": str(tmp_path / "runs"), **arguments})
    assert not list((tmp_path / "runs").glob("*"))


def test_nothing_to_read(file, tmp_path):
    (tmp_path / "a.jpg").write_bytes(b"no image")
    with pytest.raises(UserError, match="none of the 1 images can be read"):
        zeroshot(weights=file, source=str(tmp_path / "a.jpg"), names="cat", project=str(tmp_path / "runs"))
