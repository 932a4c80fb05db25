# Ultralytics DiffAttn - AGPL-3.0 License
"""Classes of YOLO-World and YOLOE by words, embedded by the text tower of CLIP or DiffCLIP."""

from __future__ import annotations

from collections.abc import Sequence
from functools import lru_cache
from pathlib import Path
from typing import Any

import torch
from torch import Tensor, nn

from ultralytics_diffattn.clip import classes
from ultralytics_diffattn.clip.model import CLIP
from ultralytics_diffattn.errors import UserError

WIDTH = 512  # of the embeddings that YOLO-World takes; a YOLOE's head says its own
BARE = ("{}",)  # as ultralytics has the names of classes embedded


def width_of(network: Any) -> int:
    """Return the width of the text embeddings that a model takes.

    Args:
        network (ultralytics.nn.tasks.WorldModel | ultralytics.nn.tasks.YOLOEModel): The model.

    Returns:
        (int): 512 for YOLO-World, and what the head of a YOLOE says.
    """
    return int(getattr(network.model[-1], "embed", WIDTH))


def project(embeddings: Tensor, width: int) -> Tensor:
    """Return embeddings of another width, normalised.

    The matrix has orthonormal rows or columns and is the same for the same widths: into a wider space it preserves all
    angles, into a narrower one nearly.

    Args:
        embeddings (Tensor): (n, embed_dim), floating.
        width (int): Of the detector's embeddings.

    Returns:
        (Tensor): (n, width), of length 1, in the same dtype.

    Examples:
        >>> project(torch.rand(3, 128), 512).shape
        torch.Size([3, 512])
    """
    embed_dim = embeddings.shape[-1]
    if embed_dim != width:
        generator = torch.Generator().manual_seed(0)
        matrix = nn.init.orthogonal_(torch.empty(embed_dim, width), generator=generator)
        embeddings = embeddings @ matrix.to(embeddings)  # (n, width)
    return nn.functional.normalize(embeddings, dim=-1)


def encode(weights: str | Path, names: Sequence[str], width: int) -> Tensor:
    """Return the text embeddings of names; asked for again, as by each validation of a training, they are remembered.

    Args:
        weights (str | Path): What `CLIP.from_pretrained` takes.
        names (Sequence[str]): Of the classes.
        width (int): Of the detector's embeddings.

    Returns:
        (Tensor): (classes, width), of length 1, float32, on the CPU.

    Raises:
        MissingFileError: If there are no such weights.
        HubUnreachableError: If they cannot be downloaded; also a `ConnectionError`.
        UserError: If the names are no list of str, or none, or the weights hold something else.
    """
    if isinstance(names, str) or not all(isinstance(name, str) for name in names):
        raise UserError(f"{names!r} must be a list of names, such as ['cat', 'traffic light'].")
    if not len(names):
        raise UserError("there are no names of classes; give one or more.")
    modified = Path(weights).stat().st_mtime_ns if Path(weights).is_file() else 0
    return _encode(str(weights), modified, tuple(names), width)


@lru_cache(maxsize=8)
def _encode(weights: str, modified: int, names: tuple[str, ...], width: int) -> Tensor:
    """Return the text embeddings of names by a file as it is since a time in nanoseconds."""
    return project(classes.embed(CLIP.from_pretrained(weights), names, BARE), width)


@torch.no_grad()
def set_words(
    detector: Any, names: str | Sequence[str], clip: str | Path | CLIP, templates: str | Sequence[str] = BARE
) -> None:
    """Let a detector look for things by their names.

    Args:
        detector (ultralytics.YOLOE | ultralytics.YOLOWorld): Its classes become the names.
        names (str | Sequence[str]): Words, in any number, as for `classes.parse_names`.
        clip (str | Path | CLIP): A model, or what `CLIP.from_pretrained` takes.
        templates (str | Sequence[str]): Sentences with {} in them, as for `classes.parse_templates`.

    Raises:
        UserError: If the detector is of another kind, there are no names, a sentence has no {}, or weights hold
            something else.

    Examples:
        >>> from ultralytics import YOLOE
        >>> from ultralytics_diffattn import DiffCLIP
        >>> model = YOLOE("yoloe-11n-diffattn.yaml")
        >>> set_words(model, ["cat", "traffic light"], DiffCLIP(transformer_layers=1, vision_layers=1))
        >>> model.model.names
        {0: 'cat', 1: 'traffic light'}
    """
    from ultralytics.nn.tasks import WorldModel, YOLOEModel

    network: Any = getattr(detector, "model", None)
    if not isinstance(network, (WorldModel, YOLOEModel)):
        raise UserError(f"{type(detector).__name__} has no classes by words; give a YOLOE or a YOLOWorld.")
    names = classes.parse_names(names if isinstance(names, str) else list(names))
    templates = classes.parse_templates(templates)
    model = clip if isinstance(clip, CLIP) else CLIP.from_pretrained(clip)
    layers: Any = network.model
    head = layers[-1]
    parameter = next(network.parameters())
    embeddings = project(classes.embed(model, names, templates), width_of(network))  # (classes, width)
    embeddings = embeddings.to(parameter.device, parameter.dtype)[None]  # (1, classes, width)
    if isinstance(network, YOLOEModel):
        detector.set_classes(names, head.get_tpe(embeddings))
    else:  # its own method would have stock's CLIP embed them
        network.txt_feats, head.nc, network.names = embeddings, len(names), dict(enumerate(names))
        detector.predictor = None
