"""clip/classes.py: names and templates are read from every source; a class is the mean of its prompts."""

import pytest
import torch
from ultralytics.utils import LOGGER

pytest.importorskip("open_clip")
from tests.photos import word_clip
from ultralytics_diffattn.clip import classes
from ultralytics_diffattn.clip.tokens import tokenize
from ultralytics_diffattn.errors import MissingFileError, UserError


@pytest.fixture(scope="module")
def model():
    return word_clip()


@torch.no_grad()
def test_a_class_is_the_mean_of_its_sentences(model):
    templates = ["a photo of a {}.", "a {} in the rain", "{}"]
    embeddings = classes.embed(model, ["cat", "traffic light"], templates, batch=2)
    for name, embedding in zip(["cat", "traffic light"], embeddings, strict=True):
        mean = sum(model.encode_text(tokenize(t.format(name), 12), normalize=True) for t in templates)[0]
        torch.testing.assert_close(embedding, mean / mean.norm())


@torch.no_grad()
def test_texts_that_are_too_long_are_told_apart(model, monkeypatch):
    """The model reads a text at its end, so one that is cut needs one."""
    log = []
    monkeypatch.setattr(LOGGER, "warning", log.append)
    embeddings = classes.embed(model, ["cat " * 30, "dog " * 30, "cat " * 40], ["{}"])
    assert not torch.allclose(embeddings[0], embeddings[1], atol=1e-3)
    torch.testing.assert_close(embeddings[0], embeddings[2])  # cut to the same
    assert any("3 of 3 texts are longer than 12 tokens" in str(line) for line in log)


@torch.no_grad()
@pytest.mark.parametrize("batch", [1, 2, 256])
def test_texts_of_all_lengths_at_once(model, batch):
    """Batches are as long as their longest text; whatever stands beside a text, its embedding is the same."""
    texts = ["cat", "a very long traffic light in the rain", "", "dog dog"]
    alone = torch.cat([model.encode_text(tokenize(text, 12), normalize=True) for text in texts])
    torch.testing.assert_close(classes.embed(model, texts, ["{}"], batch), alone)


def test_open_clips_classifier_is_the_same(model):
    import open_clip

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


@pytest.mark.parametrize(
    ("names", "error", "message"),
    [
        (",", UserError, "holds no names"),
        ([], UserError, "holds no names"),
        ("none.txt", MissingFileError, "there is no file none.txt"),
        ("none.yaml", MissingFileError, "none.yaml"),
        ("latin.txt", UserError, "latin.txt is no text in UTF-8"),
    ],
)
def test_no_names(names, error, message, tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    (tmp_path / "latin.txt").write_bytes("café".encode("latin-1"))
    with pytest.raises(error, match=message):
        classes.parse_names(names)


@pytest.mark.parametrize(
    ("templates", "message"), [("a photo", "has no {} for the name"), ([], "there are no templates")]
)
def test_no_templates(templates, message):
    with pytest.raises(UserError, match=message):
        classes.parse_templates(templates)


def test_a_model_of_another_vocabulary():
    from tests.samples import tiny_clip

    with pytest.raises(UserError, match="built with vocab_size=128, but the tokenizer has 49408"):
        classes.embed(tiny_clip(), ["cat"])
