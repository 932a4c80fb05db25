# Ultralytics DiffAttn - AGPL-3.0 License
"""Uploaded images: bytes of anybody's in, pixels or a refusal out; and the pictures that go back."""

from __future__ import annotations

import base64
from collections.abc import Callable
from io import BytesIO

import numpy as np
from PIL import Image, ImageOps
from ultralytics.utils import patches

from ultralytics_diffattn.data import shapes
from ultralytics_diffattn.errors import UserError

SIDE = 1920  # pixels of the longer side that is kept: models see 640, a screen shows no more
MAX_PIXELS = 120_000_000  # decoded they take 360 MB
FORMATS = "JPEG", "PNG", "WEBP", "BMP", "TIFF", "GIF"  # Pillow knows more, and hands some of them to other programs
EXAMPLES_SEED = 1_000_000  # beside the seeds of the bundled data set and of scripts/demo_weights.py

# Pillow's own: what ultralytics puts in its place installs a package where a file is no image.
_open: Callable[..., Image.Image] = getattr(patches, "_image_open", Image.open)


def decode(data: bytes, name: str) -> np.ndarray:
    """Return the pixels of an image file, upright, reduced to a longer side of 1,920 pixels at most.

    Args:
        data (bytes): The file.
        name (str): Its name, for messages.

    Returns:
        (np.ndarray): (height, width, 3), uint8, BGR as OpenCV and ultralytics want it.

    Raises:
        UserError: If it is no image that Pillow can read, or has more than 120 million pixels.

    Examples:
        >>> decode(b"no image", "a.jpg")
        Traceback (most recent call last):
        ...
        ultralytics_diffattn.errors.UserError: a.jpg is no image that can be read. ...
    """
    try:
        with _open(BytesIO(data), formats=FORMATS) as picture:  # reads the head alone
            w, h = picture.size
            if w * h > MAX_PIXELS:
                limit = f"{MAX_PIXELS // 1_000_000} million"
                raise UserError(f"{name} has {w:,} x {h:,} pixels; {limit} are allowed. Make it smaller first.")
            picture.draft("RGB", (SIDE, SIDE))  # a JPEG is reduced while it is decoded
            upright = ImageOps.exif_transpose(picture).convert("RGB")
    except UserError:
        raise
    except Exception as error:  # of a broken file each of Pillow's readers raises something else
        raise UserError(f"{name} is no image that can be read. Give a JPEG, PNG, WebP, BMP, TIFF or GIF.") from error
    upright.thumbnail((SIDE, SIDE), Image.Resampling.LANCZOS)
    return np.ascontiguousarray(np.asarray(upright)[..., ::-1])


def example(index: int) -> np.ndarray:
    """Return an image such as the bundled models were trained on, but none of those.

    Args:
        index (int): Which one.

    Returns:
        (np.ndarray): (320, 320, 3), uint8, BGR.

    Examples:
        >>> example(0).shape
        (320, 320, 3)
    """
    return shapes.draw(np.random.default_rng([EXAMPLES_SEED, index]))[0]


def data_url(image: np.ndarray) -> str:
    """Return an image as text that a page can show.

    Args:
        image (np.ndarray): (height, width, 3), uint8, RGB.

    Returns:
        (str): A JPEG in a `data:` URL.

    Examples:
        >>> data_url(np.zeros((8, 8, 3), np.uint8))[:23]
        'data:image/jpeg;base64,'
    """
    file = BytesIO()
    Image.fromarray(image).save(file, "JPEG", quality=90)
    return f"data:image/jpeg;base64,{base64.b64encode(file.getvalue()).decode()}"
