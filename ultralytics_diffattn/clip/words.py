# Ultralytics DiffAttn - AGPL-3.0 License
"""Classes of YOLO-World and YOLOE by words, embedded by the text tower of CLIP or DiffCLIP."""

from __future__ import annotations

from collections.abc import Sequence
from functools import lru_cache
from pathlib import Path

import torch
from torch import Tensor, nn

from ultralytics_diffattn.clip import classes, weights
from ultralytics_diffattn.clip.model import CLIP

WIDTH = 512  # of the embeddings that YOLO-World takes; a YOLOE's head says its own
BARE = ("{}",)  # as ultralytics has the names of classes embedded


def width_of(network: nn.Module) -> int:
    """Return the width of the embeddings that a model takes."""
    return getattr(network.model[-1], "embed", WIDTH)


def project(places: Tensor, width: int) -> Tensor:
    """Return places in a space of another width.

    The matrix has orthonormal rows or columns and is the same for the same widths: into a wider space it keeps all
    angles, into a narrower one nearly.

    Args:
        places (Tensor): (n, embed_dim), floating.
        width (int): Of the detector's embeddings.

    Returns:
        (Tensor): (n, width), of length 1.

    Examples:
        >>> project(torch.rand(3, 128), 512).shape
        torch.Size([3, 512])
    """
    given = places.shape[-1]
    if given != width:
        generator = torch.Generator().manual_seed(0)
        places = places @ nn.init.orthogonal_(torch.empty(given, width), generator=generator).to(places)  # (n, width)
    return nn.functional.normalize(places, dim=-1)


def encode(clip: str | Path, names: Sequence[str], width: int) -> Tensor:
    """Return the embeddings of names; asked for again, as each validation of a training does, they are remembered.

    Args:
        clip (str | Path): What `CLIP.from_pretrained` takes.
        names (Sequence[str]): Of the classes.
        width (int): Of the detector's embeddings.

    Returns:
        (Tensor): (classes, width), of length 1, float32, on the CPU.

    Raises:
        FileNotFoundError: If there are no such weights.
        ConnectionError: If they cannot be downloaded.
        TypeError: If the names are no list of str.
        ValueError: If there are no names, or the weights hold something else.
    """
    if isinstance(names, str) or not all(isinstance(name, str) for name in names):
        raise TypeError(f"{names!r} must be a list of names, such as ['cat', 'traffic light'].")
    if not len(names):
        raise ValueError("there are no names of classes; give one or more.")
    changed = Path(clip).stat().st_mtime_ns if Path(clip).is_file() else 0
    return _encode(str(clip), changed, tuple(names), width)


@lru_cache(maxsize=8)
def _encode(clip: str, changed: int, names: tuple[str, ...], width: int) -> Tensor:
    return project(classes.embed(weights.load(clip), names, BARE), width)


@torch.no_grad()
def set_words(
    detector: object, names: str | Sequence[str], clip: str | Path | CLIP, templates: str | Sequence[str] = BARE
) -> None:
    """Let a detector look for things by their names.

    Args:
        detector (ultralytics.YOLOE | ultralytics.YOLOWorld): Its classes become the names.
        names (str | Sequence[str]): Words, in any number, as for `classes.parse_names`.
        clip (str | Path | CLIP): A model, or what `CLIP.from_pretrained` takes.
        templates (str | Sequence[str]): Sentences with {} in them, as for `classes.parse_templates`.

    Raises:
        TypeError: If the detector is of another kind.
        ValueError: If there are no names, a sentence has no {}, or weights hold something else.

    Examples:
        >>> from ultralytics import YOLOE
        >>> from ultralytics_diffattn import DiffCLIP
        >>> model = YOLOE("yoloe-11n-diffattn.yaml")
        >>> set_words(model, ["cat", "traffic light"], DiffCLIP(transformer_layers=1, vision_layers=1))
        >>> model.model.names
        {0: 'cat', 1: 'traffic light'}
    """
    from ultralytics.nn.tasks import WorldModel, YOLOEModel

    network = getattr(detector, "model", None)
    if not isinstance(network, (WorldModel, YOLOEModel)):
        raise TypeError(f"{type(detector).__name__} has no classes by words; give a YOLOE or a YOLOWorld.")
    names = classes.parse_names(names if isinstance(names, str) else list(names))
    templates = classes.parse_templates(templates)
    clip = clip if isinstance(clip, CLIP) else weights.load(clip)
    first = next(network.parameters())
    places = project(classes.embed(clip, names, templates), width_of(network))  # (classes, width)
    places = places.to(first.device, first.dtype)[None]  # (1, classes, width)
    if isinstance(network, YOLOEModel):
        detector.set_classes(names, network.model[-1].get_tpe(places))
    else:  # its own method has CLIP make them
        network.txt_feats, network.model[-1].nc, network.names = places, len(names), dict(enumerate(names))
        detector.predictor = None
