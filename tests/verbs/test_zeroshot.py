"""clip/images.py, classes.py, zeroshot.py, pairs.py and retrieve.py: what is found, what is said, what is refused."""

import csv
import json

import cv2
import numpy as np
import pytest
import torch

pytest.importorskip("open_clip")
from tests.samples import TINY
from ultralytics_diffattn.clip import classes, images, pairs, weights
from ultralytics_diffattn.clip.model import DiffCLIP
from ultralytics_diffattn.clip.retrieval import recalls
from ultralytics_diffattn.clip.zeroshot import accuracy, by_class
from ultralytics_diffattn.verbs.retrieve import retrieve
from ultralytics_diffattn.verbs.zeroshot import zeroshot

WORDS = {**TINY, "vocab_size": 49408, "transformer_width": 16, "transformer_heads": 2, "context_length": 12}


@pytest.fixture(scope="module")
def model():
    torch.manual_seed(0)
    return DiffCLIP(**WORDS).eval()


@pytest.fixture(scope="module")
def file(model, tmp_path_factory):
    file = tmp_path_factory.mktemp("weights") / "w.pt"
    torch.save({"state_dict": model.state_dict()}, file)
    return str(file)


@pytest.fixture
def photos(tmp_path):
    """Return a folder for each of three classes, images of all shapes, and one that is none."""
    rng = np.random.default_rng(0)
    for i, (name, shape) in enumerate({"traffic_light": (40, 60), "cat": (32, 32), "dog": (90, 33)}.items()):
        (tmp_path / "data" / name).mkdir(parents=True)
        for k in range(3):
            image = rng.integers(0, 255, (*shape, 3) if i else shape, np.uint8)  # the first are grey
            cv2.imwrite(str(tmp_path / "data" / name / f"{k}.{'png' if k else 'jpg'}"), image)
    (tmp_path / "data" / "cat" / "broken.jpg").write_bytes(b"no image")
    return tmp_path / "data"


@pytest.fixture
def said(monkeypatch):
    from ultralytics.utils import LOGGER

    lines = []
    monkeypatch.setattr(LOGGER, "warning", lines.append)
    monkeypatch.setattr(LOGGER, "info", lines.append)
    return lines


def test_prepared_as_the_reference():
    """By hand: a grey level, minus ImageNet's mean, over its deviation, of the middle square."""
    from PIL import Image

    pixels = np.zeros((32, 96, 3), np.uint8)
    pixels[:, 32:64] = (255, 0, 51)
    found = images.transform(32)(Image.fromarray(pixels))
    assert found.shape == (3, 32, 32)
    expected = [(1 - 0.485) / 0.229, (0 - 0.456) / 0.224, (0.2 - 0.406) / 0.225]
    torch.testing.assert_close(found[:, 16, 16], torch.tensor(expected), rtol=1e-5, atol=1e-5)


@torch.no_grad()
def test_images_are_where_the_model_places_them(model, photos, said):
    from PIL import Image

    files = images.find(photos)
    assert [f.name for f in files].count("broken.jpg") == 1
    assert len(files) == 10
    for batch in (1, 3, 64):
        places, kept = images.embed(model, files, batch)
        assert [files[i].name for i in range(10) if i not in kept] == ["broken.jpg"]
        for place, i in zip(places, kept, strict=True):
            one = images.transform(32)(Image.open(files[i]).convert("RGB"))[None]
            torch.testing.assert_close(place[None], model.encode_image(one, normalize=True), rtol=1e-4, atol=1e-5)
    assert sum("broken.jpg cannot be read as an image and is left out" in str(line) for line in said) == 3


@torch.no_grad()
def test_a_class_is_the_mean_of_its_sentences(model):
    from ultralytics_diffattn.clip.tokens import tokenize

    templates = ["a photo of a {}.", "a {} in the rain", "{}"]
    found = classes.embed(model, ["cat", "traffic light"], templates, batch=2)
    for name, place in zip(["cat", "traffic light"], found, strict=True):
        mean = sum(model.encode_text(tokenize(t.format(name), 12), normalize=True) for t in templates)[0]
        torch.testing.assert_close(place, mean / mean.norm())


@torch.no_grad()
def test_texts_that_are_too_long_are_told_apart(model, said):
    """The model reads a text at its end, so one that is cut needs one."""
    found = classes.embed(model, ["cat " * 30, "dog " * 30, "cat " * 40], ["{}"])
    assert not torch.allclose(found[0], found[1], atol=1e-3)
    torch.testing.assert_close(found[0], found[2])  # cut to the same
    assert any("3 of 3 texts are longer than 12 tokens" in str(line) for line in said)


@torch.no_grad()
@pytest.mark.parametrize("batch", [1, 2, 256])
def test_texts_of_all_lengths_at_once(model, batch):
    """Batches are as long as their longest text; whatever stands beside a text, its place is the same."""
    from ultralytics_diffattn.clip.tokens import tokenize

    texts = ["cat", "a very long traffic light in the rain", "", "dog dog"]
    alone = torch.cat([model.encode_text(tokenize(text, 12), normalize=True) for text in texts])
    torch.testing.assert_close(classes.embed(model, texts, ["{}"], batch), alone)


def test_open_clips_classifier_is_the_same(model):
    import open_clip

    from ultralytics_diffattn.clip.tokens import tokenize

    names, templates = ["cat", "dog", "a bus"], ["a photo of a {}.", "art of a {}"]
    theirs = open_clip.build_zero_shot_classifier(model, lambda texts: tokenize(texts, 12), names, templates)
    torch.testing.assert_close(classes.embed(model, names, templates), theirs.T)


@pytest.mark.parametrize(
    ("names", "expected"),
    [
        ("cat,dog", ["cat", "dog"]),
        (" traffic light , dog,, dog", ["traffic light", "dog"]),
        (["cat", "dog"], ["cat", "dog"]),
        ("list.txt", ["cat", "red car, parked"]),
        ("data.yaml", ["disc", "square"]),
        ("listed.yaml", ["disc", "square"]),
    ],
)
def test_names(names, expected, tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    (tmp_path / "list.txt").write_text("cat\n\nred car, parked\n")
    (tmp_path / "data.yaml").write_text("names:\n  0: disc\n  1: square\n")
    (tmp_path / "listed.yaml").write_text("names: [disc, square]\n")
    assert classes.parse_names(names) == expected


def test_names_and_sentences_of_imagenet():
    assert len(classes.parse_names("imagenet")) == 1000
    templates = classes.parse_templates("imagenet")
    assert len(templates) == 80
    assert all("{}" in text for text in templates)


def test_ten_thousand_words(file, photos, tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    (tmp_path / "words.txt").write_text("\n".join(f"thing {i}" for i in range(10_000)))
    found = zeroshot(weights=file, source=str(photos / "cat" / "1.png"), names="words.txt", project=str(tmp_path / "r"))
    assert len(found["images"][0]["classes"]) == 5


def test_names_images(file, model, photos, tmp_path, said):
    found = zeroshot(weights=file, source=str(photos), names="cat,dog,bus", project=str(tmp_path / "runs"))
    assert len(found["images"]) == 9
    assert json.loads((tmp_path / "runs" / "zeroshot" / "zeroshot.json").read_text())["images"] == found["images"]
    words = classes.embed(model, ["cat", "dog", "bus"])
    for row in found["images"]:
        place = images.embed(model, [row["image"]])[0]
        shares = dict(zip(["cat", "dog", "bus"], (place @ words.T / 0.07).softmax(-1)[0].tolist(), strict=True))
        assert dict(map(tuple, row["classes"])) == pytest.approx(shares, rel=1e-3)
        assert [s for _, s in row["classes"]] == sorted((s for _, s in row["classes"]), reverse=True)
    rows = list(csv.DictReader((tmp_path / "runs" / "zeroshot" / "zeroshot.csv").read_text().splitlines()))
    assert len(rows) == 27
    assert [r["rank"] for r in rows[:3]] == ["1", "2", "3"]


def test_accuracy_on_folders(file, model, photos, tmp_path, said):
    found = zeroshot(weights=file, data=str(photos), project=str(tmp_path / "runs"))
    files, truth, folders = by_class(photos)
    assert folders == ["cat", "dog", "traffic_light"]
    words = classes.embed(model, ["cat", "dog", "traffic light"])
    hits = [
        (images.embed(model, [f])[0] @ words.T).argmax().item() == t
        for f, t in zip(files, truth, strict=True)
        if f.name != "broken.jpg"
    ]
    (row,) = found["rows"]
    assert row["images"] == len(hits) == 9
    assert row["top1"] == pytest.approx(sum(hits) / 9)
    assert row["top5"] == 1


def test_corruptions(file, photos, tmp_path, said):
    found = zeroshot(
        weights=file, data=str(photos), corruptions="fog,gaussian_noise", severities=(1, 5), project=str(tmp_path / "r")
    )
    rows = found["rows"]
    assert [(r["condition"], r["severity"]) for r in rows] == [
        ("clean", 0), ("fog", 1), ("fog", 5), ("gaussian_noise", 1), ("gaussian_noise", 5)
    ]  # fmt: skip
    assert found["corrupted"]["top1"] == pytest.approx(sum(r["top1"] for r in rows[1:]) / 4)


def test_accuracy():
    logits = torch.tensor([[5.0, 4, 3, 2, 1, 0], [5, 4, 3, 2, 1, 0], [5, 4, 3, 2, 1, 0]])
    assert accuracy(logits, torch.tensor([0, 4, 5])) == pytest.approx({"top1": 1 / 3, "top5": 2 / 3})


@pytest.mark.parametrize(
    ("given", "error", "message"),
    [
        ({}, ValueError, "either source= .* or data="),
        ({"source": "a", "data": "b"}, ValueError, "either source= .* or data="),
        ({"source": "a"}, ValueError, "names= is missing"),
        ({"source": "a", "names": ","}, FileNotFoundError, "there are no images in a"),
        ({"source": "PHOTOS", "names": ","}, ValueError, "holds no names"),
        ({"source": "PHOTOS", "names": "none.txt"}, FileNotFoundError, "there is no file none.txt"),
        ({"source": "PHOTOS", "names": "PHOTOS/latin.txt"}, ValueError, "latin.txt is no text in UTF-8"),
        ({"source": "PHOTOS", "names": "a", "batch": 0}, ValueError, "batch=0 must be an integer >= 1"),
        ({"source": "PHOTOS", "names": "a", "workers": -1}, ValueError, "workers=-1 must be an integer"),
        ({"source": "PHOTOS", "names": "a", "conf": 0.5}, ValueError, "conf= means nothing to zeroshot"),
        ({"source": "PHOTOS", "names": "a", "templates": "a photo"}, ValueError, "has no place for a name"),
        ({"source": "PHOTOS", "names": "a", "corruptions": "fog"}, ValueError, "corruptions= measures accuracy"),
        ({"data": "PHOTOS", "corruptions": "fogg"}, ValueError, "fog"),
        ({"data": "PHOTOS", "names": "a,b"}, ValueError, "has 3 classes, but names= has 2"),
        ({"data": "PHOTOS/cat"}, FileNotFoundError, "holds no folders with images"),
        ({"data": "PHOTOS", "weights": "no.pt"}, FileNotFoundError, "there is no checkpoint no.pt"),
    ],
    ids=str,
)
def test_bad_input(given, error, message, file, photos, tmp_path):
    (photos / "latin.txt").write_bytes("café".encode("latin-1"))
    given = {k: v.replace("PHOTOS", str(photos)) if isinstance(v, str) else v for k, v in given.items()}
    with pytest.raises(error, match=message):
        zeroshot(**{"weights": file, **given}, project=str(tmp_path / "runs"))
    assert not list((tmp_path / "runs").glob("*"))


def test_nothing_to_read(file, tmp_path):
    (tmp_path / "a.jpg").write_bytes(b"no image")
    with pytest.raises(ValueError, match="none of the 1 images can be read"):
        zeroshot(weights=file, source=str(tmp_path / "a.jpg"), names="cat", project=str(tmp_path / "runs"))


# --- retrieval -----------------------------------------------------------------------------------------------------


def test_recalls_by_counting():
    generator = torch.Generator().manual_seed(0)
    places = torch.nn.functional.normalize(torch.randn(30, 4, generator=generator), dim=-1)
    owner = torch.randint(0, 30, (50,), generator=generator)
    words = torch.nn.functional.normalize(places[owner] + torch.randn(50, 4, generator=generator), dim=-1)
    found = recalls(places, words, owner)
    near = words @ places.T
    for k in (1, 5, 10):
        text = [owner[i] in near[i].topk(k).indices for i in range(50)]
        image = [bool((owner[near[:, j].topk(k).indices] == j).any()) for j in range(30) if (owner == j).any()]
        assert found["text_to_image"][f"R@{k}"] == pytest.approx(sum(text) / 50)
        assert found["image_to_text"][f"R@{k}"] == pytest.approx(sum(image) / len(image))
        assert 0 < sum(text) < 50 or k == 10


def test_retrieve(file, photos, tmp_path, said):
    table = photos / "captions.csv"
    table.write_text(
        'caption,image\na cat,cat/0.jpg\n"a cat, grey",cat/1.png\nagain,cat/1.png\nnone,cat/broken.jpg\n'
        ",cat/2.png\na dog,dog/0.jpg\ngone,dog/9.jpg\n"
    )
    found = retrieve(weights=file, data=str(table), project=str(tmp_path / "runs"))
    assert (found["images"], found["captions"]) == (3, 4)
    assert found["text_to_image"]["R@5"] == found["image_to_text"]["R@5"] == 1
    assert json.loads((tmp_path / "runs" / "retrieve" / "retrieve.json").read_text()) == found
    assert any("1 rows without an image or a caption" in str(line) for line in said)
    assert sum("cannot be read as an image" in str(line) for line in said) == 2


@pytest.mark.parametrize(
    ("content", "message"),
    [
        (b"image,text\na,b\n", "has the columns image, text, but not caption"),
        (b"", "has the columns none, but not caption and image"),
        (b"image,caption\n", "holds no rows"),
        (b"image,caption\n\xff\xfe,\x00\n", "no CSV in UTF-8"),
    ],
)
def test_bad_tables(content, message, tmp_path):
    (tmp_path / "t.csv").write_bytes(content)
    with pytest.raises(ValueError, match=message):
        pairs.read(tmp_path / "t.csv")


@pytest.mark.parametrize(
    ("given", "message"),
    [({"model": "a.pt"}, "model= means nothing to retrieve. It takes weights"), ({"batch": 0}, "batch=0 must be")],
)
def test_retrieve_refuses(given, message, file, tmp_path):
    with pytest.raises(ValueError, match=message):
        retrieve(weights=file, data="none.csv", project=str(tmp_path / "runs"), **given)
    assert not (tmp_path / "runs").exists()


def test_no_table(tmp_path):
    with pytest.raises(FileNotFoundError, match="takes a CSV with the columns image and caption"):
        pairs.read(tmp_path / "none.csv")
    assert weights  # the module that retrieve reads its weights with
