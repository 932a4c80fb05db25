# Ultralytics DiffAttn - AGPL-3.0 License
"""Retrieval: how often a caption finds its image among all, and an image one of its captions."""

from __future__ import annotations

from typing import Any

import torch
from torch import Tensor

from ultralytics_diffattn.clip import classes, images
from ultralytics_diffattn.clip.model import CLIP


def measure(model: CLIP, files: list, captions: list[str], batch: int = 64, workers: int = 0) -> dict[str, Any]:
    """Return the recalls of a model on images and captions, those of unreadable images left out.

    Args:
        model (CLIP): On the device on which it is to run.
        files (list[Path]): The image of each caption.
        captions (list[str]): As many.
        batch (int): Images, and captions, at a time.
        workers (int): Processes that read images.

    Returns:
        (dict): `images`, `captions`, `text_to_image` and `image_to_text`.
    """
    once = list(dict.fromkeys(files))
    places, kept = images.embed(model, once, batch, workers)
    number = {once[i]: n for n, i in enumerate(kept)}
    rows = [(number[file], text) for file, text in zip(files, captions, strict=True) if file in number]
    owner, texts = torch.tensor([n for n, _ in rows]), [text for _, text in rows]
    words = classes.embed(model, texts, ["{}"], batch)
    return {"images": len(kept), "captions": len(texts), **recalls(places, words, owner)}


def recalls(places: Tensor, words: Tensor, owner: Tensor, at: tuple[int, ...] = (1, 5, 10)) -> dict[str, Any]:
    """Return the share of captions whose image, and of images of which a caption, is among the nearest k.

    Args:
        places (Tensor): Of images, (n, d).
        words (Tensor): Of captions, (m, d).
        owner (Tensor): The number of each caption's image, (m,).
        at (tuple[int, ...]): The k.

    Returns:
        (dict): `text_to_image` and `image_to_text`, each with `R@k`.
    """
    ranks: dict[str, list[Tensor]] = {"text_to_image": [], "image_to_text": []}
    for block, own in zip(words.split(1024), owner.split(1024), strict=True):  # since all at once are too many
        near = block @ places.T  # (1024, n)
        # Whoever is as near as the right one counts before it.
        ranks["text_to_image"].append((near >= near.gather(1, own[:, None])).sum(1))
    for block, numbers in zip(places.split(1024), torch.arange(len(places)).split(1024), strict=True):
        near = block @ words.T  # (1024, m)
        best = near.masked_fill(owner != numbers[:, None], -torch.inf).amax(1, keepdim=True)  # of its own captions
        ranks["image_to_text"].append((near >= best).sum(1)[best[:, 0].isfinite()])
    ways = {way: torch.cat(rank) for way, rank in ranks.items()}
    return {way: {f"R@{k}": (rank <= k).float().mean().item() for k in at} for way, rank in ways.items()}
