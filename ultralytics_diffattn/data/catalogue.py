# Ultralytics DiffAttn - AGPL-3.0 License
"""Finds data sets by name, data YAML, PASCAL VOC folder or COCO JSON."""

from __future__ import annotations

import difflib
import os
import reprlib
from pathlib import Path
from typing import Any, NamedTuple

import yaml
from ultralytics.utils import DEFAULT_CFG_DICT, ROOT
from ultralytics.utils.checks import check_file

from ultralytics_diffattn import bundled

WORDS = "optimizer", "auto_augment", "copy_paste_mode", "amp"  # arguments of a training that are words and no files
KEYS = "data", "task", "classes", "budget", "download", "licence"
KINDS = (
    "a name of the catalogue ({names}), a data YAML, a folder in PASCAL VOC layout (Annotations/*.xml, JPEGImages/), a "
    "COCO JSON or a folder with annotations/*.json"
)


class Dataset(NamedTuple):
    """A data set that was found."""

    name: str  # short, for tables and folders
    data: str  # for ultralytics' `data=`
    budget: dict[str, Any]  # training arguments that the catalogue suggests
    classes: int | None = None  # how many the catalogue says it has


def catalogue() -> dict[str, dict[str, Any]]:
    """Return the entries of the bundled datasets.yaml and of a `datasets.yaml` in the current folder.

    Returns:
        (dict): By name: `data`, `task`, `budget`, and `classes`, `download`, `licence` where the entry has them.

    Raises:
        ValueError: If a file is no catalogue.

    Examples:
        >>> catalogue()["shapes"]["classes"]
        6
    """
    brought, own = bundled.place("datasets.yaml"), Path("datasets.yaml").resolve()
    return {**_entries(brought), **(_entries(own) if own.is_file() and own != brought else {})}


def resolve(data: str | Path, task: str = "detect") -> Dataset:
    """Find a data set, convert it if it is in PASCAL VOC layout or a COCO JSON, and download nothing.

    Args:
        data (str | Path): A name of the catalogue, a data YAML (path, or name of one that ultralytics or this package
            brings), a folder in PASCAL VOC layout, a COCO JSON, or what else ultralytics takes: a URL, an archive.
        task (str): Task to train; it decides what a conversion writes.

    Returns:
        (Dataset): Name, what to give ultralytics, and the catalogue's training arguments.

    Raises:
        FileNotFoundError: If there is no such data set; the message names the nearest.
        ValueError: If it is there and cannot be used.
        TypeError: If `data` is neither text nor a path.

    Examples:
        >>> resolve("shapes").data
        'shapes.yaml'
    """
    if not isinstance(data, str | os.PathLike):
        raise TypeError(f"data={data!r} is {type(data).__name__}: give {_kinds(catalogue())}.")
    data = str(data).strip()
    known = catalogue()
    if data not in known:
        name, found = _locate(data, task, known)
        return Dataset(name, found, {})
    entry = known[data]
    return Dataset(data, _locate(entry["data"], task, known)[1], dict(entry["budget"]), entry.get("classes"))


def _entries(file: Path) -> dict[str, dict[str, Any]]:
    """Return the entries of a catalogue."""
    try:
        content = yaml.safe_load(file.read_text(encoding="utf-8"))
    except (OSError, ValueError, RecursionError, yaml.YAMLError) as error:
        raise ValueError(f"{file} cannot be read: {error}") from error
    if not isinstance(content, dict):
        raise ValueError(f"{file} is no catalogue: it must hold entries, `name: {{data: ..., budget: ...}}`.")
    entries = {}
    for name, entry in content.items():
        if not isinstance(entry, dict) or not isinstance(entry.get("data"), str):
            raise ValueError(f"{file}: the entry {name!r} needs `data:`, a data YAML, a folder or a COCO JSON.")
        entry = {"task": "detect", **entry, "budget": entry.get("budget") or {}}
        if not isinstance(entry["budget"], dict):
            raise ValueError(
                f"{file}: `budget` of {name!r} is {reprlib.repr(entry['budget'])}: write `budget: {{epochs: 100}}`."
            )
        for what, given, allowed in (("key", entry, KEYS), ("training argument", entry["budget"], DEFAULT_CFG_DICT)):
            for key in given:
                if key not in allowed:
                    raise ValueError(f"{file}: {name!r} has the unknown {what} {key!r}.{_nearest(key, allowed)}")
        for key, value in entry["budget"].items():  # a catalogue may be a stranger's, and a checkpoint can execute code
            if not isinstance(value, (int, float, list)) and key not in WORDS:
                raise ValueError(
                    f"{file}: `{key}` in `budget` of {name!r} is {reprlib.repr(value)}: only numbers, True and False "
                    f"stand there, and words for {', '.join(WORDS)}; give others in the command."
                )
        if (file.parent / entry["data"]).exists():
            entry["data"] = str(file.parent / entry["data"])
        entries[str(name)] = entry
    return entries


def _locate(data: str, task: str, known: dict) -> tuple[str, str]:
    """Return the name of a data set that is no name of the catalogue, and what to give ultralytics."""
    path = Path(data).expanduser()
    if "://" in data or task == "classify":  # of the latter, ultralytics takes folders and names of its own
        return path.stem, data
    if data and path.exists():
        return _local(path.resolve(), task)
    for name in (data, f"{data}.yaml") if data else ():
        if Path(name).suffix in (".yaml", ".yml") and (bundled.find(name) or check_file(name, hard=False)):
            return Path(name).stem, name
    if path.parent != Path():  # a path: what lies beside it is nearer than any name
        beside = [str(path.parent / f) for f in os.listdir(path.parent)] if path.parent.is_dir() else []
        raise FileNotFoundError(f"data={data!r} does not exist.{_nearest(data, beside)}")
    allowed = [*known, *_bundled_yamls()]
    raise FileNotFoundError(f"data={data!r} was not found: it may be {_kinds(known)}.{_nearest(data, allowed)}")


def _local(path: Path, task: str) -> tuple[str, str]:
    """Return the name of a data set on the disk and what to give ultralytics."""
    from ultralytics_diffattn.data import coco_json, conversion, voc

    name = path.parent.name if path.stem.lower() in ("data", "dataset") else path.stem
    if path.is_file():
        if path.suffix.lower() != ".json":
            return name, str(path)  # a data YAML, or an archive, which ultralytics unpacks
    else:
        yamls = sorted([*path.glob("*.yaml"), *path.glob("*.yml")])
        if len(yamls) > 1:
            raise ValueError(
                f"{path} has {len(yamls)} YAMLs, {', '.join(f.name for f in yamls)}: give the path of one."
            )
        if yamls:
            return path.name, str(yamls[0])
        if not voc.is_voc(path) and not coco_json.family(path, task):
            inside = sorted(f.name for f in path.iterdir())
            raise FileNotFoundError(
                f"{path} is {'empty' if not inside else 'no data set; it has ' + ', '.join(inside[:8])}: there must be "
                "a data YAML, Annotations/*.xml with JPEGImages/ (PASCAL VOC) or annotations/*.json (COCO)."
            )
    converted = conversion.convert(path, task)
    return converted.parent.name.rpartition("-")[0], str(converted)


def _kinds(known: dict) -> str:
    return KINDS.format(names=", ".join(known))


def _bundled_yamls() -> list[str]:
    places = ROOT / "cfg" / "datasets", bundled.place("cfg") / "datasets"
    return [f.name for place in places for f in place.glob("*.yaml")]


def _nearest(name: str, allowed: Any) -> str:
    """Return a sentence that suggests the nearest names, or nothing."""
    lower = {str(a).lower(): str(a) for a in allowed}
    found = [lower[n] for n in difflib.get_close_matches(name.lower(), lower, n=3)]
    return f" Did you mean {' or '.join(found)}?" if found else ""
