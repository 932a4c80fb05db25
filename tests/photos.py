"""Photographs in folders of classes, and a DiffCLIP that reads every word, for the tests of clip/ and its verbs."""

import cv2
import numpy as np
import torch

from tests.samples import TINY

SIZES = {**TINY, "vocab_size": 49408, "transformer_width": 16, "transformer_heads": 2, "context_length": 12}


def word_clip():
    """Return an untrained DiffCLIP with the tokenizer's vocabulary."""
    from ultralytics_diffattn import DiffCLIP  # needs timm

    torch.manual_seed(0)
    return DiffCLIP(**SIZES).eval()


def photos_of_classes(root):
    """Write a folder for each of three classes, with images of all shapes and a file that is no image."""
    rng = np.random.default_rng(0)
    for i, (name, shape) in enumerate({"traffic_light": (40, 60), "cat": (32, 32), "dog": (90, 33)}.items()):
        (root / name).mkdir(parents=True)
        for k in range(3):
            image = rng.integers(0, 255, (*shape, 3) if i else shape, np.uint8)  # the first are grey
            cv2.imwrite(str(root / name / f"{k}.{'png' if k else 'jpg'}"), image)
    (root / "cat" / "broken.jpg").write_bytes(b"no image")
    return root
