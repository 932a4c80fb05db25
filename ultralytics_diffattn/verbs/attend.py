# Ultralytics DiffAttn - AGPL-3.0 License
"""`diffattn attend`: pictures of each object's attention, and a measurement over a data set."""

from __future__ import annotations

import shlex
import sys
from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any, TypedDict, cast

from ultralytics_diffattn.errors import UserError

if TYPE_CHECKING:
    from torch import nn
    from ultralytics.engine.model import Model

    from ultralytics_diffattn.maps.gallery import Entry
    from ultralytics_diffattn.maps.measurement import Measurement

OWN: dict[str, Any] = {"baseline": "", "xy": "", "block": "all", "head": "mean"}
FOLDER_ARGUMENTS = "project", "name", "exist_ok"
DRAWING_ONLY = {"conf", "max_det"}  # they would change the metrics of a validation
MAX_OBJECTS = 8  # in a picture, unless max_det says otherwise
MAX_SHOWN = 8  # pictures shown in a notebook


class AttendResult(TypedDict):
    """What `attend` wrote: the folder, the pictures, and with `data` the content of attention.json."""

    folder: str
    images: list[str]
    numbers: Measurement | None


def attend(
    model: Any = "",
    source: Any = None,
    data: str | None = None,
    baseline: Any = None,
    xy: Any = None,
    block: str | int | Sequence[int] = "all",
    head: str | int | Sequence[int] = "mean",
    **args: Any,
) -> AttendResult:
    """Draw what each object in each image attends to; with `data`, measure it over the labelled objects of a data set.

    Args:
        model (str | Path | ultralytics.YOLO): Trained weights with differential attention.
        source (Any): Any source of `yolo predict`; each image or frame becomes a picture.
        data (str, optional): Any data set that `catalogue.resolve` accepts.
        baseline (str | Path | ultralytics.YOLO, optional): A model with plain attention, for comparison.
        xy (Sequence[float], optional): Points x, y, x, y, ... in pixels, in place of the detections.
        block (str | int | Sequence[int]): "all", each in rows of its own, "mean", or indices.
        head (str | int | Sequence[int]): "mean", "all", each in a row, or indices.
        **args (Any): Any argument of ultralytics' prediction and, with `data`, validation; `conf` and `max_det`, by
            default 8, affect the pictures alone. `project`, `name` and `exist_ok` choose the folder.

    Returns:
        (AttendResult): `folder`, `images` (files), and `numbers`, a `Measurement` or None.

    Raises:
        MissingFileError: If a file does not exist.
        UserError: If an argument is out of range, a model has no differential attention, or no image can be read.

    Examples:
        >>> attend(model="best.pt", source="photos", baseline="yolo11n.pt")["images"]  # doctest: +SKIP
        ['runs/detect/attend/bus.png']
    """
    if not model:
        raise UserError("model= is missing: give trained weights, as in model=runs/detect/train/weights/best.pt")
    if _is_empty(source) and not data:
        raise UserError("source= is missing: an image, a folder, a video, ...; or data=, a data set to measure on.")
    from ultralytics.utils import LOGGER

    from ultralytics_diffattn.maps import gallery
    from ultralytics_diffattn.maps.attention_maps import load_copy
    from ultralytics_diffattn.maps.pictures import Selection, draw_source
    from ultralytics_diffattn.output.files import write_text

    yolo, plain = load_copy(model), load_copy(baseline, "baseline") if baseline else None
    modules = _differential_attentions(yolo, model)
    selection = Selection(chosen_blocks(block, modules), chosen_heads(head, modules), _checked_points(xy))
    _warn_of_random_weights(model=model, baseline=baseline)
    folder = _new_folder(yolo, **{key: args.pop(key, None) for key in FOLDER_ARGUMENTS})
    command = _command(model, baseline, source=source, data=data, xy=xy, block=block, head=head, **args)
    entries: list[Entry] = []
    measurement = None
    try:
        if data:
            measurement = _measure(folder, yolo, data, plain, args)
        if not _is_empty(source):
            drawing = {"max_det": MAX_OBJECTS, "verbose": True, **args}
            for entry in draw_source(folder, yolo, source, selection, plain, **drawing):
                entries.append(entry)  # one by one, so that an interruption keeps those that are drawn
    finally:  # also after Ctrl-C, which is the only end of a camera
        if entries or measurement:
            page = gallery.page(_label(model), baseline and _label(baseline), command, entries, measurement)
            write_text(folder / "attention.html", page)
            LOGGER.info(f"attend: {_counted(entries)}attention.html in {folder}")
        elif not any(folder.iterdir()):
            folder.rmdir()
    files = [str(folder / entry.file) for entry in entries]
    show(files[:MAX_SHOWN])
    return {"folder": str(folder), "images": files, "numbers": measurement}


def chosen_blocks(block: str | int | Sequence[int], modules: dict[str, nn.Module]) -> list[list[str]]:
    """Return the attention blocks to show, in groups of which each makes a row.

    Args:
        block (str | int | Sequence[int]): "all", "mean", or indices.
        modules (dict[str, torch.nn.Module]): From `hooks.attentions`.

    Returns:
        (list[list[str]]): Names.

    Raises:
        UserError: If an index is out of range.

    Examples:
        >>> chosen_blocks("all", {"a": None, "b": None}), chosen_blocks("mean", {"a": None, "b": None})
        ([['a'], ['b']], [['a', 'b']])
    """
    names = list(modules)
    if block == "mean":
        return [names]
    numbered = "; ".join(f"{i}: {name}" for i, name in enumerate(names))
    return [[names[i]] for i in _indices("block", block, len(names), f"the attention blocks are {numbered}")]


def chosen_heads(head: str | int | Sequence[int], modules: dict[str, nn.Module]) -> list[int | None]:
    """Return the heads to show, None for their mean.

    Args:
        head (str | int | Sequence[int]): "mean", "all", or indices.
        modules (dict[str, torch.nn.Module]): From `hooks.attentions`.

    Returns:
        (list[int | None]): Indices, some of which not every block may have.

    Raises:
        UserError: If no block has such a head.

    Examples:
        >>> from types import SimpleNamespace
        >>> chosen_heads("mean", {}), chosen_heads("all", {"a": SimpleNamespace(num_heads=2)})
        ([None], [0, 1])
    """
    if head == "mean":
        return [None]
    count = max(cast(int, module.num_heads) for module in modules.values())
    return list(_indices("head", head, count, f"there are {count} heads, counted from 0"))


def show(files: list[str]) -> None:
    """Show pictures if this runs in a notebook.

    Args:
        files (list[str]): PNGs.
    """
    shell = getattr(sys.modules.get("IPython"), "get_ipython", lambda: None)()
    if shell is not None and shell.has_trait("kernel"):
        from io import BytesIO

        from IPython.display import Image, display
        from PIL import Image as Picture

        for file in files:
            jpeg = BytesIO()  # a PNG of photographs would make the notebook seven times as large
            Picture.open(file).save(jpeg, "JPEG", quality=85)
            display(Image(data=jpeg.getvalue()))  # type: ignore[no-untyped-call]  # IPython has no annotations


def _differential_attentions(yolo: Model, model: Any) -> dict[str, nn.Module]:
    """Return all attention modules of a model, or raise if none is differential."""
    from ultralytics_diffattn.maps.attention_maps import network
    from ultralytics_diffattn.maps.hooks import attentions

    modules = attentions(network(yolo))
    if not any(hasattr(module, "compute_lambda") for module in modules.values()):
        raise UserError(
            f"model={_name(model)} has no differential attention, so there is no second map to subtract: give it "
            "as baseline=, and as model= one trained from a YAML such as yolo11n-diffattn.yaml."
        )
    return modules


def _checked_points(xy: Any) -> Any:
    """Return points or None; raise, before anything is written, if xy holds no valid points."""
    from ultralytics_diffattn.maps.geometry import point_boxes

    if _is_empty(xy):
        return None
    point_boxes(xy, (sys.maxsize, sys.maxsize))
    return xy


def _warn_of_random_weights(**models: Any) -> None:
    """Warn if a model is a YAML."""
    from ultralytics.utils import LOGGER

    for name, file in models.items():
        if file and isinstance(file, (str, Path)) and Path(file).suffix != ".pt":
            LOGGER.warning(f"{name}={file} has random weights: its maps mean nothing. Give trained weights.")


def _new_folder(yolo: Model, project: str | None, name: str | None, exist_ok: bool | None) -> Path:
    """Create the folder of this run."""
    from ultralytics_diffattn.output.run_folder import run_folder

    folder = run_folder(str(yolo.task), "predict", name or "attend", project, bool(exist_ok))
    folder.mkdir(parents=True, exist_ok=True)
    return folder


def _measure(folder: Path, yolo: Model, data: str, plain: Model | None, args: dict[str, Any]) -> Measurement:
    """Measure over a data set; write attention.json and attention.md, and print the latter."""
    from ultralytics.utils import LOGGER

    from ultralytics_diffattn.maps.measurement import measure
    from ultralytics_diffattn.maps.summary import as_markdown
    from ultralytics_diffattn.output.files import write_json, write_text

    measurement = measure(yolo, data, plain, **{k: v for k, v in args.items() if k not in DRAWING_ONLY})
    write_json(folder / "attention.json", measurement)
    write_text(folder / "attention.md", as_markdown(measurement))
    LOGGER.info(f"\n{as_markdown(measurement)}")
    return measurement


def _counted(entries: Sequence[Entry]) -> str:
    """Return the number of pictures, for a sentence that goes on."""
    return f"{len(entries)} picture{'s' * (len(entries) != 1)} and " if entries else ""


def _indices(key: str, value: str | int | Sequence[int], count: int, available: str) -> list[int]:
    """Return indices from 0, or raise."""
    if value == "all":
        return list(range(count))
    from ultralytics_diffattn.verbs.arguments import listed

    try:
        indices = [int(item) for item in listed(value)]
    except ValueError:
        indices = []
    for i in indices:
        if not -count <= i < count:
            raise UserError(f"{key}={i} is out of range: {available}.")
    if not indices:
        raise UserError(f"{key}={value!r} must be 'all', 'mean', or indices: {available}.")
    return [i % count for i in indices]


def _command(model: Any, baseline: Any, **args: Any) -> str:
    """Return the command line, without arguments that are empty or the default."""
    args = {"model": _name(model), "baseline": baseline and _name(baseline), **args}
    used = {key: _word(value) for key, value in args.items() if not _is_empty(value)}
    return shlex.join(
        ["diffattn", "attend", *(f"{key}={word}" for key, word in used.items() if word != _word(OWN.get(key)))]
    )


def _word(value: Any) -> str:
    """Return a value as one types it; of an image in memory, its type."""
    if isinstance(value, (list, tuple)):
        return ",".join(map(_word, value))
    return str(value) if isinstance(value, (str, Path, int, float)) else type(value).__name__


def _name(model: Any) -> str:
    """Return the file of a model, or its type."""
    return str(model if isinstance(model, (str, Path)) else getattr(model, "ckpt_path", None) or type(model).__name__)


def _label(model: Any) -> str:
    """Return a short name of a model."""
    from ultralytics_diffattn.weights.checkpoints import label

    return label(Path(_name(model)))


def _is_empty(value: Any) -> bool:
    """Return whether an argument was left out; comparing an array with "" would give an array."""
    return value is None or (isinstance(value, str) and not value)
