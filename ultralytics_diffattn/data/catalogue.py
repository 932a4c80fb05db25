# Ultralytics DiffAttn - AGPL-3.0 License
"""The catalogue of data sets, and finding one by its name there, data YAML, PASCAL VOC folder or COCO JSON."""

from __future__ import annotations

import os
import reprlib
from collections.abc import Iterable
from pathlib import Path
from typing import Any, NamedTuple, TypedDict

import yaml
from ultralytics.utils import DEFAULT_CFG_DICT, ROOT
from ultralytics.utils.checks import check_file

from ultralytics_diffattn import bundled
from ultralytics_diffattn.errors import MissingFileError, UserError
from ultralytics_diffattn.suggestions import did_you_mean

WORDS = "optimizer", "auto_augment", "copy_paste_mode", "amp"  # arguments of a training that are words and no files
KEYS = "data", "task", "classes", "budget", "download", "licence"
KINDS = (
    "a name of the catalogue ({names}), a data YAML, a folder in PASCAL VOC layout (Annotations/*.xml, JPEGImages/), a "
    "COCO JSON or a folder with annotations/*.json"
)


class Entry(TypedDict, total=False):
    """An entry of a catalogue; `data`, `task` and `budget` are in each.

    Attributes:
        data (str): A data YAML, a folder in PASCAL VOC layout or a COCO JSON.
        task (str): `detect`, `segment` or `pose`.
        budget (dict[str, Any]): Arguments of ultralytics' `train`.
        classes (int): Number of classes.
        download (str): Size of the download.
        licence (str): Licence or terms.
    """

    data: str
    task: str
    budget: dict[str, Any]
    classes: int
    download: str
    licence: str


class Dataset(NamedTuple):
    """A data set that can be given to ultralytics.

    Attributes:
        name (str): Short, for tables and folders.
        data (str): For ultralytics' `data=`.
        budget (dict[str, Any]): Arguments of ultralytics' `train` that the catalogue suggests.
        classes (int | None): How many the catalogue says it has.
    """

    name: str
    data: str
    budget: dict[str, Any]
    classes: int | None = None


def catalogue() -> dict[str, Entry]:
    """Return the entries of the bundled datasets.yaml and of a `datasets.yaml` in the current folder.

    Returns:
        (dict[str, Entry]): By name; those of the current folder replace bundled ones of the same name.

    Raises:
        UserError: If a file is no catalogue.

    Examples:
        >>> catalogue()["shapes"]["classes"]
        6
    """
    ours, theirs = bundled.path("datasets.yaml"), Path("datasets.yaml").resolve()
    return {**_entries(ours), **(_entries(theirs) if theirs.is_file() and theirs != ours else {})}


def resolve(data: str | Path, task: str = "detect") -> Dataset:
    """Return what to give ultralytics for a data set, which is converted if it is PASCAL VOC or COCO.

    Nothing is downloaded.

    Args:
        data (str | Path): A name of the catalogue, a data YAML (path, or name of one that ultralytics or this package
            brings), a folder in PASCAL VOC layout, a COCO JSON, or what else ultralytics takes: a URL, an archive.
        task (str): Task to train; it decides what a conversion writes.

    Returns:
        (Dataset): Name, what to give ultralytics, and the catalogue's training arguments.

    Raises:
        MissingFileError: If there is no such data set; the message names the nearest.
        UserError: If `data` is neither text nor a path, or it cannot be used.

    Examples:
        >>> resolve("shapes").data
        'shapes.yaml'
    """
    known = catalogue()
    if not isinstance(data, str | os.PathLike):
        raise UserError(f"data={data!r} is {type(data).__name__}: give {_kinds(known)}.")
    data = str(data).strip()
    if data not in known:
        name, located = _locate(data, task, known)
        return Dataset(name, located, {})
    entry = known[data]
    return Dataset(data, _locate(entry["data"], task, known)[1], dict(entry["budget"]), entry.get("classes"))


def _entries(file: Path) -> dict[str, Entry]:
    """Return the entries of a catalogue."""
    try:
        content = yaml.safe_load(file.read_text(encoding="utf-8"))
    except (OSError, ValueError, RecursionError, yaml.YAMLError) as error:
        raise UserError(f"{file} cannot be read: {error}") from error
    if not isinstance(content, dict):
        raise UserError(f"{file} is no catalogue: it must hold entries, `name: {{data: ..., budget: ...}}`.")
    return {str(name): _entry(file, name, entry) for name, entry in content.items()}


def _entry(file: Path, name: object, content: Any) -> Entry:
    """Return an entry, or raise if it has other keys or values than it may."""
    if not isinstance(content, dict) or not isinstance(content.get("data"), str):
        raise UserError(f"{file}: the entry {name!r} needs `data:`, a data YAML, a folder or a COCO JSON.")
    budget = content.get("budget") or {}
    if not isinstance(budget, dict):
        raise UserError(f"{file}: `budget` of {name!r} is {reprlib.repr(budget)}: write `budget: {{epochs: 100}}`.")
    for what, keys, allowed in (("key", content, KEYS), ("training argument", budget, DEFAULT_CFG_DICT)):
        for key in keys:
            if key not in allowed:
                hint = did_you_mean(key, allowed, 3)
                raise UserError(f"{file}: {name!r} has the unknown {what} {key!r}.{hint}")
    for key, value in budget.items():  # a catalogue may be a stranger's, and a checkpoint can execute code
        if not isinstance(value, (int, float, list)) and key not in WORDS:
            raise UserError(
                f"{file}: `{key}` in `budget` of {name!r} is {reprlib.repr(value)}: only numbers, True and False "
                f"stand there, and words for {', '.join(WORDS)}; give others in the command."
            )
    entry: Entry = {"task": "detect", **content, "budget": budget}  # type: ignore[typeddict-item]  # keys: see above
    if (file.parent / entry["data"]).exists():
        entry["data"] = str(file.parent / entry["data"])
    return entry


def _locate(data: str, task: str, known: Iterable[str]) -> tuple[str, str]:
    """Return the name of a data set that is no name of the catalogue, and what to give ultralytics."""
    path = Path(data).expanduser()
    if "://" in data or task == "classify":  # of the latter, ultralytics takes folders and names of its own
        return path.stem, data
    if data and path.exists():
        return _locate_on_disk(path.resolve(), task)
    for name in (data, f"{data}.yaml") if data else ():
        if Path(name).suffix in (".yaml", ".yml") and (bundled.find(name) or check_file(name, hard=False)):
            return Path(name).stem, name
    if path.parent != Path():  # a path: what lies beside it is nearer than any name
        siblings = [str(path.parent / f) for f in os.listdir(path.parent)] if path.parent.is_dir() else []
        raise MissingFileError(f"data={data!r} does not exist.{did_you_mean(data, siblings, 3)}")
    hint = did_you_mean(data, [*known, *_yaml_names()], 3)
    raise MissingFileError(f"data={data!r} was not found: it may be {_kinds(known)}.{hint}")


def _locate_on_disk(path: Path, task: str) -> tuple[str, str]:
    """Return the name of a data set on the disk and what to give ultralytics."""
    from ultralytics_diffattn.data import coco_json, conversion, voc

    name = path.parent.name if path.stem.lower() in ("data", "dataset") else path.stem
    if path.is_file():
        if path.suffix.lower() != ".json":
            return name, str(path)  # a data YAML, or an archive, which ultralytics unpacks
    else:
        yamls = sorted([*path.glob("*.yaml"), *path.glob("*.yml")])
        if len(yamls) > 1:
            raise UserError(f"{path} has {len(yamls)} YAMLs, {', '.join(f.name for f in yamls)}: give the path of one.")
        if yamls:
            return path.name, str(yamls[0])
        if not voc.is_voc(path) and not coco_json.family(path, task):
            inside = sorted(f.name for f in path.iterdir())
            raise MissingFileError(
                f"{path} is {'empty' if not inside else 'no data set; it has ' + ', '.join(inside[:8])}: there must be "
                "a data YAML, Annotations/*.xml with JPEGImages/ (PASCAL VOC) or annotations/*.json (COCO)."
            )
    converted = conversion.convert(path, task)
    return converted.parent.name.rpartition("-")[0], str(converted)


def _kinds(known: Iterable[str]) -> str:
    """Return all that `data` may be, for a message."""
    return KINDS.format(names=", ".join(known))


def _yaml_names() -> list[str]:
    """Return the names of the data YAMLs that ultralytics and this package bring."""
    folders = ROOT / "cfg" / "datasets", bundled.path("cfg") / "datasets"
    return [f.name for folder in folders for f in folder.glob("*.yaml")]
