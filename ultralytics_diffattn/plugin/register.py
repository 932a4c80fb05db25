# Ultralytics DiffAttn - AGPL-3.0 License
"""`register`: a module of yours becomes a name for rows of a model YAML."""

from __future__ import annotations

import inspect
import os
import sys
from collections.abc import Callable, Sequence
from importlib import import_module
from importlib.metadata import PackageNotFoundError, version
from pkgutil import resolve_name
from types import ModuleType
from typing import Any, TypeVar, overload

from torch import nn

from ultralytics_diffattn.errors import UserError
from ultralytics_diffattn.plugin import registry, user_files, user_modules
from ultralytics_diffattn.plugin.attach import attach, attach_all
from ultralytics_diffattn.plugin.signatures import PLAIN, check_like, leading, plain
from ultralytics_diffattn.plugin.twins import Twin, signature_of

Class = TypeVar("Class", bound=type[nn.Module])


@overload
def register() -> None: ...
@overload
def register(*, like: str, name: str = "") -> Callable[[Class], Class]: ...
@overload
def register(module: Class, like: str, name: str = "") -> Class: ...
@overload
def register(module: str, like: str, name: str = "") -> type[nn.Module]: ...


def register(module: Any = None, like: str = "", name: str = "") -> Any:
    """Register a module, so that model YAMLs may name it; it is known to the processes that this one starts, too.

    As a decorator, `@register(like="Conv")` above the class. `like` says which arguments its rows give: those of the
    rows of a stock module, or one of the signatures `(c1, c2, *args)`, `(c1, *args)` and `(*args)`, whose modules give
    as many channels as they get, and `(channels, *args)` for a module over several inputs, whose `forward` gets a list.
    A file with such a class is made known to all processes by `diffattn modules add FILE.py`.

    Without arguments: make the model rows and bundled YAMLs of this package known to ultralytics, in this process.
    Installed with pip, the package does so by itself; call this where that is turned off (`DIFFATTN_AUTOLOAD=0`) or
    start-up files are not read (`python -S`). It may be called any number of times, from any thread.

    Args:
        module (type[nn.Module] | str, optional): The class, or where it is, "package.module:Class".
        like (str): Name of a stock module, or one of the signatures.
        name (str): In a YAML; by default that of the class.

    Returns:
        (type[nn.Module] | Callable | None): The class; without `module` the decorator; without arguments nothing.

    Raises:
        UserError: If it is no `nn.Module` that can be imported by its name, the name is taken, `like` is unknown, or
            the class cannot be called with the arguments that its rows give.

    Examples:
        >>> register()
        >>> from ultralytics import YOLO
        >>> model = YOLO("yolo11n-diffattn.yaml")
        >>> register("torch.nn:Softsign", like="(*args)").__name__
        'Softsign'
        >>> from ultralytics.nn import tasks
        >>> rows = [[-1, 1, "Conv", [8, 3, 2]], [-1, 1, "Softsign", []]]
        >>> tasks.parse_model({"nc": 1, "backbone": rows, "head": []}, ch=3, verbose=False)[0][1]
        Softsign()
    """
    if module is None and not like and not name:
        return attach_all()
    if module is None:
        return lambda cls: register(cls, like, name)
    if not like:
        raise UserError(
            f"like= is missing: what are rows of {getattr(module, '__name__', module)} like? Give a stock module, as "
            f'in like="Conv", or one of {", ".join(map(repr, PLAIN))}.'
        )
    cls = _imported(module) if isinstance(module, str) else module
    _check_class(cls)
    build, like, name = f"{cls.__module__}:{cls.__qualname__}", plain(like), name or cls.__name__
    file = _file_of(cls)
    source = user_modules.source() or _package_of(cls) or file or build
    tasks = _tasks()
    if tasks is not None:
        check_like(like, tasks)
        _check_signature(cls, like, tasks)
    _check_name(name, build, source, tasks)
    registry.add(build, like, name, source)
    if tasks is not None:
        attach(tasks)
    user_files.bequeath(build, like, name, source, file)
    user_modules.allow()
    return cls


def _imported(place: str) -> Any:
    """Return what "package.module:Class" names."""
    if not all(place.partition(":")):
        raise UserError(f'{place!r} must be "package.module:Class", such as "my_blocks:CBAM".')
    try:
        return resolve_name(place)
    except (ImportError, AttributeError, ValueError) as error:
        raise UserError(f"{place} cannot be imported: {error}") from error


def _check_class(cls: Any) -> None:
    """Raise unless checkpoints and other processes can name a class."""
    if not (isinstance(cls, type) and issubclass(cls, nn.Module)):
        what = f"the {type(cls).__name__} {getattr(cls, '__name__', cls)}"
        what = "a lambda, which cannot be pickled," if "<lambda>" in what else what
        raise UserError(f"{what} is no class of nn.Module: register a class.")
    if "<" in cls.__qualname__:  # <locals>
        raise UserError(
            f"{cls.__qualname__} is a class inside a function, which cannot be pickled, and so neither saved nor given "
            "to another process: define it at the top of a file."
        )
    if cls.__module__ == "__main__":
        raise UserError(
            f"{cls.__name__} is defined in a notebook or in the script that runs, where neither its checkpoints nor "
            "other processes find it: put it into a file of its own (in a notebook, with `%%writefile my_blocks.py` on "
            f'top of the cell) and register("my_blocks:{cls.__name__}", like=...).'
        )


def _check_name(name: str, build: str, source: str, tasks: ModuleType | None) -> None:
    """Raise if a name is another's, or the same class comes from another file."""
    old = registry.MODULES.get(name)
    if not name.isidentifier():
        raise UserError(f"name={name!r} cannot stand in a row: give letters, digits and underscores.")
    if old is not None and old.build != build:
        whose = f"of {old.source}" if old.source else "of ultralytics-diffattn"
        raise UserError(f"{name} is registered already, {whose}; give another, as in name='My{name}'.")
    digests = [user_files.digest(where) for where in (old.source, source)] if old is not None else []
    if old is not None and all(digests) and digests[0] != digests[1]:
        raise UserError(f"{name} is registered already, from {old.source}, and now from {source}: keep one of them.")
    present = vars(tasks).get(name) if tasks is not None else None
    if present is not None and not isinstance(present, Twin):
        whose = getattr(present, "__module__", "")
        raise UserError(
            f"{name} is taken: {whose if whose.startswith('ultralytics.') else 'another plugin'} has something of that "
            f"name; give another, as in name='My{name}'."
        )


def _check_signature(cls: type[nn.Module], like: str, tasks: ModuleType) -> None:
    """Raise unless a class takes, by position, the arguments that come before those of the row."""
    names = leading(like, vars(tasks).get(like))
    called = like if like in PLAIN else f"({', '.join([*names, '*args'])}), as {like} is"
    parameters = inspect.signature(cls).parameters.values()
    by_position = [p for p in parameters if p.kind in {p.POSITIONAL_ONLY, p.POSITIONAL_OR_KEYWORD}]
    takes_any = any(p.kind is p.VAR_POSITIONAL for p in parameters)
    by_name_only = [p.name for p in parameters if p.kind is p.KEYWORD_ONLY and p.default is p.empty]
    if by_name_only:
        raise UserError(f"{signature_of(cls)} needs {by_name_only[0]}= by name, but a row gives arguments by position.")
    if (misfit := _misfit(names, by_position, takes_any)) is not None:
        fits = [p for p, (_, leading_, _) in PLAIN.items() if _misfit(leading_, by_position, takes_any) is None]
        raise UserError(
            f"a row would call {cls.__name__}{called}, but its class has {signature_of(cls)}{misfit}: "
            f"change the class, or give another like=; by its arguments, these fit: {', '.join(map(repr, fits))}."
        )


def _misfit(names: Sequence[str], by_position: Sequence[inspect.Parameter], takes_any: bool) -> str | None:
    """Return why parameters do not take these arguments, for a sentence and perhaps empty; None if they do."""
    # `lam=1e-4` is no place for c1; the number of repeats may have a default, as stock's have, whatever its name
    for name, p in zip(names, by_position, strict=False):
        if name not in {"n", p.name} and p.default is not p.empty:
            return f", and {p.name} would get {name}"
    return "" if len(by_position) < len(names) and not takes_any else None


def _tasks() -> ModuleType | None:
    """Return `ultralytics.nn.tasks`, loaded; None while it is being imported: what is registered is added behind it."""
    tasks = sys.modules.get("ultralytics.nn.tasks")
    if tasks is not None and getattr(tasks.__spec__, "_initializing", False):
        return None
    return import_module("ultralytics.nn.tasks")


def _file_of(cls: type) -> str:
    """Return the file that is imported first for a class, or ""."""
    file = getattr(sys.modules.get(cls.__module__.partition(".")[0]), "__file__", None)
    return os.path.realpath(file) if file else ""


def _package_of(cls: type) -> str:
    """Return the package of a class with its version, or "" for a class of a single file."""
    name = cls.__module__.partition(".")[0]
    if not hasattr(sys.modules.get(name), "__path__"):
        return ""
    try:
        return f"{name} {version(name)}"
    except PackageNotFoundError:
        return name
