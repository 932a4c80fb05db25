"""clip/images.py: images are prepared and embedded as by hand; those that cannot be read are left out."""

import numpy as np
import pytest
import torch
from PIL import Image
from ultralytics.utils import LOGGER

pytest.importorskip("timm")
from tests.photos import photos_of_classes, word_clip
from ultralytics_diffattn.clip import images
from ultralytics_diffattn.errors import MissingFileError, UserError


def test_prepared_as_the_reference():
    """By hand: a grey level, minus ImageNet's mean, over its deviation, of the middle square."""
    pixels = np.zeros((32, 96, 3), np.uint8)
    pixels[:, 32:64] = (255, 0, 51)
    prepared = images.transform(32)(Image.fromarray(pixels))
    assert prepared.shape == (3, 32, 32)
    expected = [(1 - 0.485) / 0.229, (0 - 0.456) / 0.224, (0.2 - 0.406) / 0.225]
    torch.testing.assert_close(prepared[:, 16, 16], torch.tensor(expected), rtol=1e-5, atol=1e-5)


@torch.no_grad()
def test_embeddings_are_those_of_each_image_alone(tmp_path, monkeypatch):
    warnings = []
    monkeypatch.setattr(LOGGER, "warning", warnings.append)
    model, files = word_clip(), images.find(photos_of_classes(tmp_path))
    assert [f.name for f in files].count("broken.jpg") == 1
    assert len(files) == 10
    for batch in (1, 3, 64):
        embeddings, indices = images.embed(model, files, batch)
        assert [files[i].name for i in range(10) if i not in indices] == ["broken.jpg"]
        for embedding, i in zip(embeddings, indices, strict=True):
            alone = images.transform(32)(Image.open(files[i]).convert("RGB"))[None]
            expected = model.encode_image(alone, normalize=True)
            torch.testing.assert_close(embedding[None], expected, rtol=1e-4, atol=1e-5)
    assert sum("broken.jpg cannot be read as an image and is left out" in str(line) for line in warnings) == 3


@torch.no_grad()
def test_altered_images(tmp_path):
    """`alter` gets the pixels of the file, in BGR, and what it returns is embedded."""
    model, (file, *_) = word_clip(), images.find(photos_of_classes(tmp_path) / "dog")
    seen = []
    embeddings, _ = images.embed(model, [file], alter=lambda pixels: seen.append(pixels) or np.zeros_like(pixels))
    assert (seen[0].shape, seen[0].dtype) == ((90, 33, 3), np.uint8)
    black = images.transform(32)(Image.new("RGB", (33, 90)))[None]
    torch.testing.assert_close(embeddings, model.encode_image(black, normalize=True), rtol=1e-4, atol=1e-5)


def test_sources(tmp_path):
    photos = photos_of_classes(tmp_path)
    assert images.find(photos / "cat" / "1.png") == [photos / "cat" / "1.png"]
    assert images.find(f"{photos}/*/1.png") == [photos / name / "1.png" for name in ("cat", "dog", "traffic_light")]
    with pytest.raises(MissingFileError, match="there are no images in nowhere"):
        images.find("nowhere")


def test_nothing_to_read(tmp_path):
    (tmp_path / "a.jpg").write_bytes(b"no image")
    with pytest.raises(UserError, match="none of the 1 images can be read"):
        images.embed(word_clip(), [tmp_path / "a.jpg"])


@pytest.mark.parametrize(
    ("batch", "workers", "message"),
    [
        (0, 0, "batch=0 must be an integer >= 1"),
        (0.5, 0, "batch=0.5 must be"),
        (True, 0, "batch=True must be"),
        (1, -1, "workers=-1 must be an integer >= 0"),
    ],
)
def test_loading(batch, workers, message):
    images.check_loading(1, 0)
    with pytest.raises(UserError, match=message):
        images.check_loading(batch, workers)
