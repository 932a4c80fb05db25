"""Images of anybody's: pixels out of every format, upright and of bounded size, or a message."""

import zlib
from io import BytesIO

import numpy as np
import pytest
from PIL import Image
from ultralytics.utils import checks

from tests.demo.conftest import encoded, noise
from ultralytics_diffattn.data import shapes
from ultralytics_diffattn.demo import images
from ultralytics_diffattn.errors import UserError

QUADRANTS = np.zeros((40, 60, 3), np.uint8)
QUADRANTS[:20, :30] = 255, 0, 0
FORMATS = [
    ("PNG", {}),
    ("JPEG", {"quality": 100, "subsampling": 0}),
    ("WEBP", {"lossless": True}),
    ("BMP", {}),
    ("TIFF", {}),
    ("GIF", {}),
]


@pytest.mark.parametrize(("kind", "options"), FORMATS, ids=[kind for kind, _ in FORMATS])
def test_formats(kind, options):
    image = images.decode(encoded(QUADRANTS, kind, **options), "a")
    np.testing.assert_allclose(image.astype(int), QUADRANTS[..., ::-1], atol=30 if kind == "JPEG" else 0)


@pytest.mark.parametrize("mode", ["L", "RGBA", "P", "1", "CMYK"])
def test_modes(mode):
    file = BytesIO()
    Image.fromarray(QUADRANTS).convert(mode).save(file, "TIFF")
    assert images.decode(file.getvalue(), "a").shape == (40, 60, 3)


def test_a_photograph_stands_upright():
    exif = Image.Exif()
    exif[0x0112] = 6  # the camera was turned: the right of the file is the bottom of the scene
    image = images.decode(encoded(QUADRANTS, "PNG", exif=exif), "a.png")
    assert np.array_equal(image, np.rot90(QUADRANTS[..., ::-1], -1))


@pytest.mark.parametrize("kind", ["PNG", "JPEG"])
def test_large_images_are_reduced(kind):
    assert images.decode(encoded(noise(500, 4000), kind), "a").shape == (240, 1920, 3)


def chunked(size):
    """Return the head of a PNG of that size: all that is read of it."""
    file = bytearray(encoded(QUADRANTS))
    file[16:24] = size[0].to_bytes(4, "big") + size[1].to_bytes(4, "big")
    file[29:33] = zlib.crc32(file[12:29]).to_bytes(4, "big")
    return bytes(file)


REFUSED = [
    ("text.jpg", b"these are words", r"text.jpg is no image that can be read. Give a JPEG"),
    ("empty.png", b"", r"empty.png is no image"),
    ("cut.png", encoded(noise(64, 64))[:3000], r"cut.png is no image"),
    ("bomb.png", chunked((60_000, 60_000)), r"bomb.png "),
    ("wide.png", chunked((20_000, 8_000)), r"wide.png has 20,000 x 8,000 pixels; 120 million are allowed"),
    ("a.eps", b"%!PS-Adobe-3.0 EPSF-3.0\n%%BoundingBox: 0 0 9 9\n", r"a.eps is no image"),
    ("page.svg", b"<svg xmlns='http://www.w3.org/2000/svg'/>", r"page.svg is no image"),
]


@pytest.mark.filterwarnings("ignore::PIL.Image.DecompressionBombWarning")
@pytest.mark.parametrize(("name", "data", "message"), REFUSED, ids=[name for name, *_ in REFUSED])
def test_refused(name, data, message, monkeypatch):
    monkeypatch.setattr(checks, "check_requirements", pytest.fail)  # ultralytics' Image.open would install a package
    with pytest.raises(UserError, match=message):
        images.decode(data, name)


def test_examples_are_none_of_the_images_that_were_trained_on():
    first = images.example(0)
    assert np.array_equal(first, images.example(0))
    assert not np.array_equal(first, images.example(1))
    trained = [shapes.draw(np.random.default_rng([seed, i]))[0] for seed in (0, 1) for i in range(4)]
    assert not any(np.array_equal(first, image) for image in trained)
