# Ultralytics DiffAttn - AGPL-3.0 License
"""Image-text retrieval: how often a caption finds its image among all, and an image one of its captions."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import TypedDict

import torch
from torch import Tensor

from ultralytics_diffattn.clip import classes, images
from ultralytics_diffattn.clip.model import CLIP


class Recalls(TypedDict):
    """Recall at k both ways, by `R@k`, 0 to 1."""

    text_to_image: dict[str, float]
    image_to_text: dict[str, float]


class RetrievalMetrics(Recalls):
    """Recalls, and the number of images and of captions that they were measured on."""

    images: int
    captions: int


class RetrievalResults(RetrievalMetrics):
    """What `retrieve.json` holds: metrics, and the weights that they are of."""

    weights: str


def measure(
    model: CLIP, files: Sequence[Path], captions: Sequence[str], batch: int = 64, workers: int = 0
) -> RetrievalMetrics:
    """Return the recalls of a model on images and captions, those of unreadable images left out.

    Args:
        model (CLIP): On the device on which it is to run.
        files (Sequence[Path]): The image of each caption.
        captions (Sequence[str]): As many.
        batch (int): Images, and captions, at a time.
        workers (int): Processes that read images beside this one.

    Returns:
        (RetrievalMetrics): Recalls at 1, 5 and 10.

    Raises:
        UserError: If no image can be read.
    """
    unique = list(dict.fromkeys(files))
    image_embeddings, readable = images.embed(model, unique, batch, workers)
    row_of = {unique[i]: row for row, i in enumerate(readable)}
    texts = [text for file, text in zip(files, captions, strict=True) if file in row_of]
    image_of_text = torch.tensor([row_of[file] for file in files if file in row_of])
    text_embeddings = classes.embed(model, texts, ["{}"], batch)
    scores = recalls(image_embeddings, text_embeddings, image_of_text)
    return {"images": len(readable), "captions": len(texts), **scores}


def recalls(
    image_embeddings: Tensor, text_embeddings: Tensor, image_of_text: Tensor, ks: Sequence[int] = (1, 5, 10)
) -> Recalls:
    """Return the share of captions whose image, and of images of which a caption, is among the nearest k.

    What is as near as the right one counts before it. Images without a caption are left out.

    Args:
        image_embeddings (Tensor): (n, d), floating.
        text_embeddings (Tensor): (m, d), floating.
        image_of_text (Tensor): (m,), int64, from 0 to n - 1: the image of each caption.
        ks (Sequence[int]): Each k.

    Returns:
        (Recalls): Both ways, `R@k` for each k.

    Examples:
        >>> recalls(torch.eye(2), torch.eye(2), torch.tensor([0, 1]), ks=[1])
        {'text_to_image': {'R@1': 1.0}, 'image_to_text': {'R@1': 1.0}}

    References:
        Karpathy and Fei-Fei 2015, https://arxiv.org/abs/1412.2306.
    """
    text_ranks: list[Tensor] = []
    for texts, image in zip(text_embeddings.split(1024), image_of_text.split(1024), strict=True):  # all are too many
        similarity = texts @ image_embeddings.T  # (1024, n)
        text_ranks.append((similarity >= similarity.gather(1, image[:, None])).sum(1))
    image_ranks: list[Tensor] = []
    numbers = torch.arange(len(image_embeddings))
    for images_, number in zip(image_embeddings.split(1024), numbers.split(1024), strict=True):
        similarity = images_ @ text_embeddings.T  # (1024, m)
        others = image_of_text != number[:, None]  # (1024, m), captions of other images
        best = similarity.masked_fill(others, -torch.inf).amax(1, keepdim=True)  # (1024, 1), of its own captions
        image_ranks.append((similarity >= best).sum(1)[best[:, 0].isfinite()])
    return {
        "text_to_image": _recall(torch.cat(text_ranks), ks),
        "image_to_text": _recall(torch.cat(image_ranks), ks),
    }


def _recall(ranks: Tensor, ks: Sequence[int]) -> dict[str, float]:
    """Return the share of ranks up to each k."""
    return {f"R@{k}": (ranks <= k).float().mean().item() for k in ks}
