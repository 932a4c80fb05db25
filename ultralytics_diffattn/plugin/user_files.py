# Ultralytics DiffAttn - AGPL-3.0 License
"""Files with modules that a user has made known: which they are, and how Python finds them by their names.

Standard library only, since the finder of autoload.py asks here. A file is known if `DIFFATTN_MODULES` names it, if
`diffattn modules add` has recorded it for this environment, or if the process that started this one has registered a
class of it. Nothing is looked for in any folder.
"""

from __future__ import annotations

import json
import os
import sys
from importlib.machinery import ModuleSpec
from typing import Any, NamedTuple

PATHS = "DIFFATTN_MODULES"  # in the environment: paths, separated as in PATH
INHERITED = "DIFFATTN_REGISTERED"  # in the environment of child processes: what their parent has registered, as JSON


class UserFile(NamedTuple):
    """A file that may be imported by its name.

    Attributes:
        path (str): Absolute.
        origin (str): Who has made it known, for messages.
        sha256 (str): Of what was recorded; empty where only the path was given.
    """

    path: str
    origin: str
    sha256: str = ""

    @property
    def name(self) -> str:
        """What it is imported as."""
        folder, file = os.path.split(self.path)
        return os.path.basename(folder) if file == "__init__.py" else os.path.splitext(file)[0]


def record() -> str:
    """Return the path of the file in which `diffattn modules add` records files for this environment."""
    return os.path.join(sys.prefix, "share", "ultralytics-diffattn", "modules.json")  # as in autoload.py


def recorded() -> list[UserFile]:
    """Return the files that are recorded for this environment, in their order.

    Raises:
        ValueError: If the record is broken.
    """
    try:
        with open(record(), encoding="utf-8") as file:
            text = file.read()
    except OSError:
        return []
    try:
        return [UserFile(entry["path"], "diffattn modules add", entry["sha256"]) for entry in json.loads(text)]
    except (ValueError, KeyError, TypeError) as error:
        raise ValueError(f"{record()} is broken; delete it, and add its files again: {error!r}") from error


def add(path: str) -> None:
    """Record a file for this environment, or its present content where it is recorded already.

    Args:
        path (str): The file.
    """
    path = os.path.abspath(path)
    _write([*(file for file in recorded() if file.path != path), UserFile(path, "", digest(path))])


def remove(path: str) -> list[str]:
    """Take a file out of what is recorded for this environment.

    Args:
        path (str): The file, by its path or the name that it is imported by.

    Returns:
        (list[str]): The paths that it may be: removed if it is one, none if it is not recorded.
    """
    files = recorded()
    found = [file for file in files if os.path.abspath(path) == file.path] or [f for f in files if path == f.name]
    if len(found) == 1:
        _write([file for file in files if file not in found])
    return [file.path for file in found]


def _write(files: list[UserFile]) -> None:
    """Write what is recorded, whole or not at all; nothing of it is left behind where there is nothing to record."""
    from pathlib import Path

    from ultralytics_diffattn.output.files import write_text

    place = Path(record())
    if files:
        place.parent.mkdir(parents=True, exist_ok=True)
        entries = [{"path": file.path, "sha256": file.sha256} for file in files]
        write_text(place, json.dumps(entries, indent=1, ensure_ascii=False) + "\n")
    else:
        place.unlink(missing_ok=True)


def named() -> list[UserFile]:
    """Return the files that `DIFFATTN_MODULES` names."""
    paths = os.environ.get(PATHS, "").split(os.pathsep)
    return [UserFile(os.path.abspath(os.path.expanduser(path)), PATHS) for path in paths if path.strip()]


def environment() -> dict[str, str]:
    """Return the variables by which another process, in whatever folder, knows what this one knows by them."""
    values = {PATHS: os.pathsep.join(file.path for file in named()), INHERITED: os.environ.get(INHERITED, "")}
    return {name: value for name, value in values.items() if value}


def inherited() -> list[dict[str, str]]:
    """Return what the process that started this one has registered, with the arguments of `bequeath`."""
    entries: list[dict[str, str]] = json.loads(os.environ.get(INHERITED) or "[]")
    return entries


def bequeath(build: str, like: str, name: str, source: str, file: str) -> None:
    """Let processes that this one starts know a module that was registered here.

    Args:
        build (str): "package.module:Class".
        like (str): What its rows are read like.
        name (str): In a YAML.
        source (str): The package or file that it comes from, for messages.
        file (str): Which is imported first: that of the module, or `__init__.py` of its package.
    """
    entries = [entry for entry in inherited() if entry["name"] != name]
    entries.append({"build": build, "like": like, "name": name, "source": source, "file": file})
    os.environ[INHERITED] = json.dumps(entries, ensure_ascii=False)


def known() -> list[UserFile]:
    """Return all files that are known, each once."""
    files = named()
    try:
        files += recorded()
    except ValueError as error:
        warn_once(("", str(error)), str(error))
    files += [UserFile(entry["file"], INHERITED) for entry in inherited() if entry["file"]]
    by_path: dict[str, UserFile] = {}
    for file in files:
        path = os.path.realpath(file.path)
        if path not in by_path or (file.sha256 and not by_path[path].sha256):  # whose changes can be told
            by_path[path] = file
    return list(by_path.values())


def spec(name: str) -> ModuleSpec | None:
    """Return how Python is to import a known file; None for any other name, and where two files have that name.

    Args:
        name (str): Of a module, without a dot.

    Returns:
        (ModuleSpec | None): For `sys.meta_path`.
    """
    from importlib.util import spec_from_file_location

    files = [file for file in known() if file.name == name and os.path.isfile(file.path)]
    if len({digest(file.path) for file in files}) != 1:
        return None
    file = files[0]
    say_if_changed(file)
    folder = os.path.dirname(file.path)
    places: Any = [folder] if os.path.basename(file.path) == "__init__.py" else None
    return spec_from_file_location(name, file.path, submodule_search_locations=places)


def digest(path: str) -> str:
    """Return the SHA-256 of a file, or "" where there is none."""
    import hashlib

    try:
        with open(path, "rb") as file:
            return hashlib.sha256(file.read()).hexdigest()
    except OSError:
        return ""


def hidden_by(file: UserFile) -> str:
    """Return what Python would import, or has imported, in the place of a known file, without running anything.

    Such as a file of that name in the current folder. A copy counts as the file itself, of a package only its folder.

    Args:
        file (UserFile): The file.

    Returns:
        (str): For messages; "" where it is the file itself, or nothing.
    """
    from importlib.util import find_spec

    if file.name in sys.modules:
        found, verb = getattr(sys.modules[file.name], "__file__", None), "has imported"
    else:
        spec, verb = find_spec(file.name), "would import"
        if spec is None:
            return ""
        found = spec.origin or f"the folder {', '.join(spec.submodule_search_locations or ())}"
    if found is None or os.path.realpath(found) == os.path.realpath(file.path):
        return ""
    is_copy = os.path.basename(file.path) != "__init__.py" and digest(found) == digest(file.path) != ""
    return "" if is_copy else f"Python {verb} {found} as {file.name}, and not {file.path}; rename one of the two"


_warned: set[tuple[str, str]] = set()


def warn_if_changed(path: str, sha256: str, since: str) -> None:
    """Log once, in the first of several processes, that a file is another than it was.

    Args:
        path (str): The file.
        sha256 (str): Of the file as it was; empty where that is not known.
        since (str): When it was, for the message.
    """
    now = digest(path)
    if sha256 and now and now != sha256:
        warn_once((path, sha256), f"{path} has changed {since}: it is used as it is now.")


def warn_once(about: tuple[str, str], message: str) -> None:
    """Log a warning once, in the first of several processes.

    Args:
        about (tuple[str, str]): What it is about, and in which version.
        message (str): The sentence.
    """
    import logging

    if about not in _warned and os.environ.get("RANK", "-1") in {"-1", "0"}:
        logging.getLogger("ultralytics").warning(message)
    _warned.add(about)


def say_if_changed(file: UserFile) -> None:
    """Log once where a recorded file is another than it was when it was recorded."""
    warn_if_changed(file.path, file.sha256, f"since `diffattn modules add {file.path}`, which would renew it")


class Finder:
    """The last finder: it finds known files by name where nothing else is found by it."""

    @classmethod
    def find_spec(cls, name: str, path: Any = None, target: Any = None) -> ModuleSpec | None:
        """Return the spec of a known file, or None."""
        try:
            return None if path is not None or "." in name else spec(name)
        except Exception:  # a broken record must not reach a program that may not use this package at all
            return None
