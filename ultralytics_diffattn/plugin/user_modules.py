# Ultralytics DiffAttn - AGPL-3.0 License
"""Modules of users: imported when a model or a checkpoint names one that is not known yet, and not before.

They come from packages that declare an entry point in the group `ultralytics_diffattn.modules`, from the files of
user_files.py, and from what the process that started this one has registered. One that cannot be imported costs a
warning.
"""

from __future__ import annotations

import keyword
import os
import sys
import threading
from collections.abc import Callable, Iterator
from importlib import import_module
from importlib.metadata import EntryPoint, entry_points
from types import ModuleType
from typing import Any

import torch
from torch import nn

from ultralytics_diffattn.errors import UserError
from ultralytics_diffattn.plugin import needs, registry, user_files
from ultralytics_diffattn.plugin.registry import MODULES
from ultralytics_diffattn.plugin.replacing import replace
from ultralytics_diffattn.plugin.signatures import SEVERAL, leading
from ultralytics_diffattn.plugin.twins import Twin, put
from ultralytics_diffattn.plugin.warning import warn
from ultralytics_diffattn.suggestions import did_you_mean

GROUP = "ultralytics_diffattn.modules"

_lock = threading.RLock()
_failures: dict[str, tuple[str, str]] = {}  # by source: which version was tried, and why it failed, "" after success
_package = ""  # that is being imported, with its version


class UnknownModuleError(UserError, KeyError):
    """A row of a model YAML whose module neither ultralytics has nor anybody has registered; also a `KeyError`."""

    __str__ = Exception.__str__  # that of KeyError would quote the message


def attach(tasks: ModuleType) -> None:
    """Let `parse_model` and `torch_safe_load` of ultralytics know the modules of users that they come across.

    Args:
        tasks (ModuleType): `ultralytics.nn.tasks`, loaded.
    """

    def make_parser(stock: Callable[..., Any]) -> Callable[..., Any]:
        def with_modules(*args: Any, **kwargs: Any) -> Any:
            d = args[0] if args else kwargs.get("d")
            if isinstance(d, dict):
                _check_rows(d, tasks)
            return stock(*args, **kwargs)

        return with_modules

    def make_loader(stock: Callable[..., Any]) -> Callable[..., Any]:
        def with_needs(weight: Any, *args: Any, **kwargs: Any) -> Any:
            from ultralytics.utils.downloads import attempt_download_asset

            if str(weight).endswith(".pt"):  # else stock refuses it
                prepare(attempt_download_asset(weight))  # where stock finds it: a folder of the settings, the web
            return stock(weight, *args, **kwargs)

        return with_needs

    replace(tasks, "parse_model", make_parser)
    replace(tasks, "torch_safe_load", make_loader)


def prepare(weights: Any) -> None:
    """Import what a checkpoint needs, as far as it is known, or say which package or file is missing.

    What is imported, the user has made known: a checkpoint decides nothing but when.

    Args:
        weights (str | Path): The checkpoint.

    Raises:
        MissingPackageError: If a package or a file is missing.
    """
    if needs.check(weights):
        load()
    allow()


def allow() -> None:
    """Put the registered classes, and the other modules of their files, on torch's list for ULTRALYTICS_SAFE_LOAD."""
    for module in {row.build.partition(":")[0] for row in MODULES.values() if row.source}:
        loaded = list(vars(sys.modules.get(module, object)).values())
        classes: list[Any] = [
            c for c in loaded if isinstance(c, type) and issubclass(c, nn.Module) and c.__module__ == module
        ]
        if classes:
            torch.serialization.add_safe_globals(classes)


def source() -> str:
    """Return the package that is being imported by its entry point, with its version, or ""."""
    return _package


def load() -> dict[str, str]:
    """Import all modules of users that have not been tried yet as they are, and log a warning for each that fails.

    Returns:
        (dict[str, str]): Why it failed, by where the module comes from.
    """
    with _lock:
        os.environ.update(user_files.environment())  # for children that begin in another folder
        for origin, version, import_it in _sources():
            if _failures.get(origin, ("", ""))[0] == version:
                continue
            _failures[origin] = version, ""  # also while it is being imported
            try:
                import_it()
            except (Exception, SystemExit) as error:
                reason = f"{type(error).__name__}: {error}"
                _failures[origin] = version, reason
                warn(f"{origin} cannot be imported, and its modules are missing: {reason}")
        for entry in user_files.inherited():
            if entry["name"] not in MODULES and not _failures.get(_origin(entry), ("", ""))[1]:
                registry.add(entry["build"], entry["like"], entry["name"], entry["source"])
                _put(entry["name"])
        return {origin: reason for origin, (_, reason) in _failures.items() if reason}


def import_file(path: str) -> None:
    """Import a file with modules of a user's by its name, as it is from now on imported where it is known.

    Args:
        path (str): The file.

    Raises:
        UserError: If it fails, or if Python knows another module by that name.
    """
    file = user_files.UserFile(os.path.abspath(path), user_files.PATHS)
    if not file.name.isidentifier() or keyword.iskeyword(file.name):
        raise UserError(
            f"{path} cannot be imported by its name: give it letters, digits and underscores, and no word of Python's."
        )
    with _lock:
        before = os.environ.get(user_files.PATHS, "")
        os.environ[user_files.PATHS] = os.pathsep.join([file.path, before])
        try:
            _import_file(file, [known.path for known in user_files.known() if known.name == file.name])
        except (Exception, SystemExit) as error:
            raise UserError(f"{path} cannot be imported: {type(error).__name__}: {error}") from error
        finally:
            os.environ[user_files.PATHS] = before


def _put(name: str) -> None:
    """Put the twin of a module into `ultralytics.nn.tasks`."""
    tasks = sys.modules.get("ultralytics.nn.tasks")
    if tasks is not None:
        put(tasks, name, MODULES[name])


def _sources() -> Iterator[tuple[str, str, Callable[[], object]]]:
    """Yield where modules of users come from, which version is there, and how each is imported."""
    files = [file for file in user_files.known() if file.origin != user_files.INHERITED]
    for file in files:
        others = [other.path for other in files if other.name == file.name and other.path != file.path]
        version = user_files.digest(file.path) or "missing"
        yield file.path, version, lambda file=file, others=others: _import_file(file, others)  # type: ignore[misc]
    for point in sorted(entry_points(group=GROUP)):
        package = f"{point.dist.name} {point.dist.version}" if point.dist else point.value
        yield f"{point.name} of {package}", package, lambda point=point, package=package: _import(point, package)  # type: ignore[misc]
    for entry in user_files.inherited():
        if entry["name"] not in MODULES:
            yield _origin(entry), user_files.digest(entry["file"]), lambda entry=entry: _import_inherited(entry)  # type: ignore[misc]


def _origin(entry: dict[str, str]) -> str:
    """Return where an inherited module comes from: a file, under the same name as one that is known otherwise."""
    module = entry["build"].partition(":")[0]
    return f"{module} of {entry['source']}" if "." in module else entry["file"] or entry["source"]


def _import_file(file: user_files.UserFile, others: list[str]) -> None:
    """Import a known file, unless another file has its name."""
    if not os.path.isfile(file.path):
        raise FileNotFoundError(f"{file.origin} names it, but there is no such file")
    different = [path for path in others if user_files.digest(path) not in {"", user_files.digest(file.path)}]
    if different:
        raise UserError(
            f"{' and '.join(different)} has the same name and another content; keep one of them (`diffattn modules "
            "list` says who has made which known)"
        )
    user_files.say_if_changed(file)
    _import_module(file.name, file)


def _import_inherited(entry: dict[str, str]) -> None:
    """Import the module of a class that the process that started this one has registered."""
    file = user_files.UserFile(entry["file"], user_files.INHERITED) if entry["file"] else None
    _import_module(entry["build"].partition(":")[0], file)


def _import_module(name: str, file: user_files.UserFile | None) -> None:
    """Import a module by its name, unless Python would run another file than the known one."""
    hidden = user_files.hidden_by(file) if file is not None else ""
    if hidden:
        raise UserError(hidden)
    import_module(name)


def _import(point: EntryPoint, package: str) -> None:
    """Import what an entry point names."""
    global _package
    _package = package
    try:
        point.load()
    finally:
        _package = ""


def _check_rows(d: dict[str, Any], tasks: ModuleType) -> None:
    """Import what a model needs, and raise for a row that is unknown, or that has not the inputs of its signature."""
    rows = [row for row in [*(d.get("backbone") or ()), *(d.get("head") or ())] if isinstance(row, (list, tuple))]
    rows = [row for row in rows if len(row) == 4 and isinstance(row[2], str)]  # others are stock's business
    missing = [row[2] for row in rows if not row[2].startswith(("nn.", "torchvision.ops."))]
    missing = [name for name in dict.fromkeys(missing) if name not in vars(tasks)]
    if missing:
        failures = load()
        unknown = [name for name in missing if name not in vars(tasks)]
        if unknown:
            raise UnknownModuleError(_unknown(unknown[0], failures, tasks))
    for i, (f, _, name, args) in enumerate(rows):
        twin = vars(tasks).get(name)
        if isinstance(twin, Twin) and twin.row.source:
            _check_row(f, args, twin, f" (row {i} of the model YAML: {[f, _, name, args]}).")


def _check_row(f: Any, args: Any, twin: Twin, row: str) -> None:
    """Raise unless a user's row has as many inputs as its signature, and a first argument where there must be one."""
    several = twin.row.signature == SEVERAL
    names = leading(twin.row.signature or twin.row.like, twin.stock)
    if several and not isinstance(f, list):
        raise UserError(f"{twin.__name__} is a module over several inputs: give a list, such as [-1, 6]{row}")
    if not several and isinstance(f, list) and (twin.row.signature or "c1" in names):  # a head has several, too
        raise UserError(f"{twin.__name__} has one input; like={SEVERAL!r} is for several{row}")
    if "c2" in names and not args:
        raise UserError(f"{twin.__name__} needs the number of its output channels as the first argument{row}")


def _unknown(name: str, failures: dict[str, str], tasks: ModuleType) -> str:
    """Return what to say of a name that nobody knows."""
    modules = [n for n, m in vars(tasks).items() if isinstance(m, type) and issubclass(m, nn.Module)]
    lines = [f" {origin} could not be imported: {reason.rstrip('.')}." for origin, reason in failures.items()]
    own = [n for n, row in MODULES.items() if row.source]
    known = f" Modules of yours that are registered: {', '.join(own) or 'none'}."
    add = (
        " To add one: @register(like=...) above its class, and `diffattn modules add FILE.py`, or "
        "DIFFATTN_MODULES=FILE.py in the environment."
    )
    near = did_you_mean(name, modules)
    more = "".join(lines) if failures else near
    return f"{name!r} is neither a module of ultralytics nor registered.{more}{known}{add if not more else ''}"
