# Ultralytics DiffAttn - AGPL-3.0 License
"""`diffattn attend`: pictures of where each object's attention goes, and numbers over a data set."""

from __future__ import annotations

import shlex
import sys
from pathlib import Path
from typing import Any

from torch import nn

OWN: dict[str, Any] = {"baseline": "", "xy": "", "block": "all", "head": "mean"}
MOST = 8  # objects in a picture, unless max_det says otherwise
INLINE = 8  # pictures shown in a notebook


def attend(
    model: Any = "",
    source: Any = None,
    data: str | None = None,
    baseline: Any = None,
    xy: Any = None,
    block: Any = "all",
    head: Any = "mean",
    **args: Any,
) -> dict[str, Any]:
    """Draw what each object in each image attends to; with `data`, measure it over the labelled objects of a data set.

    Args:
        model (str | Path | ultralytics.YOLO): Trained weights with differential attention.
        source (Any): Whatever `yolo predict` takes; a picture is made of each image or frame.
        data (str, optional): Whatever `catalogue.resolve` takes.
        baseline (str | Path | ultralytics.YOLO, optional): A model with plain attention to stand beside it.
        xy (Sequence[float], optional): Points x, y, x, y, ... in pixels, in place of the objects that are found.
        block (str | int | Sequence[int]): "all", each in rows of its own, "mean", or indices.
        head (str | int | Sequence[int]): "mean", "all", each in a row, or indices.
        **args (Any): Any argument of ultralytics' prediction and, with `data`, validation; `conf` and `max_det`, which
            is 8 if it is left out, concern the pictures alone. `project`, `name` and `exist_ok` say where it all goes.

    Returns:
        (dict): `folder`, `images` (files), and `numbers` from `measurement.measure` or None.

    Raises:
        FileNotFoundError: If a file does not exist.
        ValueError: If an argument is out of range, a model has no differential attention, or no image can be read.

    Examples:
        >>> attend(model="best.pt", source="photos", baseline="yolo11n.pt")["images"]  # doctest: +SKIP
        ['runs/detect/attend/bus.png']
    """
    if not model:
        raise ValueError("model= is missing: give trained weights, as in model=runs/detect/train/weights/best.pt")
    if _empty(source) and not data:
        raise ValueError("source= is missing: an image, a folder, a video, ...; or data=, a data set to measure on.")
    from ultralytics.utils import LOGGER

    from ultralytics_diffattn.maps import gallery, measurement
    from ultralytics_diffattn.maps.attention_maps import own, points
    from ultralytics_diffattn.maps.hooks import attentions
    from ultralytics_diffattn.maps.pictures import pictures
    from ultralytics_diffattn.output.files import write_json, write_text
    from ultralytics_diffattn.output.run_folder import run_folder

    yolo, plain = own(model), own(baseline, "baseline") if baseline else None
    there = attentions(yolo.model)
    if not any(hasattr(module, "compute_lambda") for module in there.values()):
        raise ValueError(
            f"model={_name(model)} has no differential attention, nothing to subtract: give it as baseline=, and "
            "as model= one trained from a YAML such as yolo11n-diffattn.yaml."
        )
    blocks, heads = chosen_blocks(block, there), chosen_heads(head, there)
    xy = None if _empty(xy) else xy
    if xy is not None:
        points(xy, (sys.maxsize, sys.maxsize))  # what is no point at all is said before anything is written
    for name, file in (("model", model), ("baseline", baseline)):
        if file and isinstance(file, (str, Path)) and Path(file).suffix != ".pt":
            LOGGER.warning(f"{name}={file} has random weights: its maps mean nothing. Give trained weights.")
    project, name, exist_ok = (args.pop(key, None) for key in ("project", "name", "exist_ok"))
    folder = run_folder(yolo.task, "predict", name or "attend", project, bool(exist_ok))
    folder.mkdir(parents=True, exist_ok=True)
    given = {"model": _name(model), "source": source, "data": data, "baseline": baseline and _name(baseline), "xy": xy}
    given |= {"block": block, "head": head, **args}
    words = (f"{k}={_word(v)}" for k, v in given.items() if not _empty(v) and _word(v) != _word(OWN.get(k)))

    of_pictures = {"conf", "max_det"}  # which would change the metrics of a validation
    measured = {k: v for k, v in args.items() if k not in of_pictures}
    entries: list[dict[str, Any]] = []
    numbers = None
    try:
        if data:
            numbers = measurement.measure(yolo, data, plain, **measured)
            write_json(folder / "attention.json", numbers)
            write_text(folder / "attention.md", gallery.as_markdown(numbers))
            LOGGER.info(f"\n{gallery.as_markdown(numbers)}")
        if not _empty(source):
            pictures(
                folder, entries, yolo, source, xy, plain, blocks, heads, {"max_det": MOST, "verbose": True, **args}
            )
    finally:  # of a camera, too, which only Ctrl-C ends
        if entries or numbers:
            command = shlex.join(["diffattn", "attend", *words])
            page = gallery.page(_label(model), baseline and _label(baseline), command, entries, numbers)
            write_text(folder / "attention.html", page)
            count = f"{len(entries)} picture{'s' * (len(entries) != 1)} and " if entries else ""
            LOGGER.info(f"attend: {count}attention.html in {folder}")
        elif not any(folder.iterdir()):
            folder.rmdir()
    files = [str(folder / e["file"]) for e in entries]
    show(files[:INLINE])
    return {"folder": str(folder), "images": files, "numbers": numbers}


def chosen_blocks(block: Any, there: dict[str, nn.Module]) -> list[list[str]]:
    """Return the attention blocks to show, in groups of which each makes a row.

    Args:
        block (str | int | Sequence[int]): "all", "mean", or indices.
        there (dict[str, torch.nn.Module]): From `heads.attentions`.

    Returns:
        (list[list[str]]): Names.

    Raises:
        ValueError: If an index is out of range.

    Examples:
        >>> chosen_blocks("all", {"a": None, "b": None}), chosen_blocks("mean", {"a": None, "b": None})
        ([['a'], ['b']], [['a', 'b']])
    """
    names = list(there)
    if block == "mean":
        return [names]
    listed = "; ".join(f"{i}: {name}" for i, name in enumerate(names))
    return [[names[i]] for i in _indices("block", block, len(names), f"the attention blocks are {listed}")]


def chosen_heads(head: Any, there: dict[str, nn.Module]) -> list[int | None]:
    """Return the heads to show, None for their mean.

    Args:
        head (str | int | Sequence[int]): "mean", "all", or indices.
        there (dict[str, torch.nn.Module]): From `heads.attentions`.

    Returns:
        (list[int | None]): Indices, some of which not every block may have.

    Raises:
        ValueError: If no block has such a head.
    """
    if head == "mean":
        return [None]
    most = max(module.num_heads for module in there.values())
    return list(_indices("head", head, most, f"there are {most} heads, counted from 0"))


def _indices(key: str, value: Any, count: int, there: str) -> list[int]:
    """Return indices from 0, or raise."""
    if value == "all":
        return list(range(count))
    from ultralytics_diffattn.verbs.arguments import listed

    try:
        found = [int(item) for item in listed(value)]
    except ValueError:
        found = []
    for i in found:
        if not -count <= i < count:
            raise ValueError(f"{key}={i} is out of range: {there}.")
    if not found:
        raise ValueError(f"{key}={value!r} must be 'all', 'mean', or indices: {there}.")
    return [i % count for i in found]


def show(files: list[str]) -> None:
    """Show pictures where this runs in a notebook.

    Args:
        files (list[str]): PNGs.
    """
    shell = getattr(sys.modules.get("IPython"), "get_ipython", lambda: None)()
    if shell is not None and shell.has_trait("kernel"):
        from io import BytesIO

        from IPython.display import Image, display
        from PIL import Image as Picture

        for file in files:
            small = BytesIO()  # a PNG of photographs would make the notebook seven times as large
            Picture.open(file).save(small, "JPEG", quality=85)
            display(Image(data=small.getvalue()))


def _name(model: Any) -> str:
    """Return what a model is called in the gallery."""
    return str(model if isinstance(model, (str, Path)) else getattr(model, "ckpt_path", None) or type(model).__name__)


def _label(model: Any) -> str:
    """Return a short name of a model."""
    from ultralytics_diffattn.weights.checkpoints import label

    return label(Path(_name(model)))


def _empty(value: Any) -> bool:
    """Tell whether an argument was left out; of an array, a comparison with "" would be one more array."""
    return value is None or (isinstance(value, str) and not value)


def _word(value: Any) -> str:
    """Return an argument as one types it; of an image in memory, what it is."""
    if isinstance(value, (list, tuple)):
        return ",".join(map(_word, value))
    return str(value) if isinstance(value, (str, Path, int, float)) else type(value).__name__
