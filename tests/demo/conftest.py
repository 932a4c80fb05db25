"""The bundled pair of models, an image that is looked at, and files that no image and no model are."""

import os
from io import BytesIO

import numpy as np
import pytest
import torch
from PIL import Image

from ultralytics_diffattn.demo import detectors, images, views


@pytest.fixture(scope="session")
def pair():
    """Return the models that the package brings."""
    return detectors.from_command("", "")


@pytest.fixture(scope="session")
def seen(pair):
    """Return a view of an example."""
    return views.open_view(pair, images.example(0), "example.png")


class Call:
    """Pickled as a call."""

    def __init__(self, function, *arguments):
        self.call = function, arguments

    def __reduce__(self):
        return self.call


@pytest.fixture
def bomb(tmp_path):
    """Return a checkpoint that touches a file when it is unpickled, and that file."""
    torch.save(
        {"model": torch.nn.Identity(), "x": Call(os.system, f"touch {tmp_path / 'canary'}")}, tmp_path / "bomb.pt"
    )
    return tmp_path / "bomb.pt", tmp_path / "canary"


def encoded(image, kind="PNG", **options):
    """Return an image, RGB, as a file's bytes."""
    file = BytesIO()
    Image.fromarray(image).save(file, kind, **options)
    return file.getvalue()


def noise(height, width):
    return np.random.default_rng(0).integers(0, 256, (height, width, 3), np.uint8)
