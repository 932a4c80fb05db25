# Ultralytics DiffAttn - AGPL-3.0 License
"""JSON files as frozen dataclasses: written field by field, and checked against the types when they are read."""

from __future__ import annotations

import dataclasses
import json
from pathlib import Path
from types import UnionType
from typing import Any, TypeVar, Union, get_args, get_origin, get_type_hints, is_typeddict

from ultralytics_diffattn.errors import MissingFileError, UserError
from ultralytics_diffattn.output.files import read_json, write_json

T = TypeVar("T")


def write(file: Path, value: object) -> None:
    """Write a dataclass as JSON, in one step.

    Args:
        file (Path): Where it goes; an existing file is replaced.
        value (object): An instance of a dataclass; a number that is not finite becomes null.
    """
    write_json(file, dataclasses.asdict(value))  # type: ignore[call-overload]  # there is no public type for "dataclass"


def read(kind: type[T], file: Path) -> T:
    """Read a JSON file as an instance of a type.

    Args:
        kind (type): A dataclass, or a `dict` or `list` of what `parse` takes.
        file (Path): The file.

    Returns:
        (T): The instance.

    Raises:
        MissingFileError: If there is no such file.
        UserError: If it is not JSON, or not of this type; the message names the file and the field.
    """
    return parse(kind, load(file), str(file))


def load(file: Path) -> object:
    """Return the content of a JSON file, before it is checked against a type.

    Args:
        file (Path): The file.

    Returns:
        (object): As `json.loads` returns it.

    Raises:
        MissingFileError: If there is no such file.
        UserError: If it is not JSON.
    """
    try:
        value: object = read_json(file)
    except FileNotFoundError:
        raise MissingFileError(f"{file} does not exist.") from None
    except (json.JSONDecodeError, UnicodeDecodeError) as error:
        raise UserError(f"{file} is not JSON: {error}") from error
    return value


def parse(kind: type[T], value: object, name: str = "") -> T:
    """Return a value of JSON as an instance of a type.

    Args:
        kind (type): A dataclass or TypedDict of such types, `list[...]`, `dict[str, ...]`, `tuple[...]`, a union with
            None, `int`, `float`, `str`, `bool`, or `Any` for what is passed on as it is.
        value (object): As `json.loads` returns it.
        name (str): Where the value stands, for the message of an error.

    Returns:
        (T): The instance; an int where a float is expected becomes a float.

    Raises:
        UserError: If the value is not of the type; the message names the field.

    Examples:
        >>> parse(list[float], [1, 0.5])
        [1.0, 0.5]
        >>> parse(dict[str, int], {"seed": "a"}, "run.json")
        Traceback (most recent call last):
        ...
        ultralytics_diffattn.errors.UserError: run.json: seed must be int, not 'a'.
    """
    try:
        return _parse(kind, value, ())  # type: ignore[no-any-return]  # `kind` is known at run time only
    except _MismatchError as error:
        prefix = f"{name}: " if name else ""
        raise UserError(f"{prefix}{error}") from None


class _MismatchError(Exception):
    """A value that is not of the expected type."""


def _parse(kind: Any, value: Any, path: tuple[str, ...]) -> Any:
    """Return the value as `kind`; `path` are the keys that lead to it."""
    origin, arguments = get_origin(kind), get_args(kind)
    if kind is Any:
        return value
    if origin in (Union, UnionType):  # only `X | None` occurs
        (inner,) = (argument for argument in arguments if argument is not type(None))
        return None if value is None else _parse(inner, value, path)
    if dataclasses.is_dataclass(kind) and isinstance(value, dict):
        return kind(**_fields(kind, value, path))  # type: ignore[operator]  # a class, since `kind` is a type
    if is_typeddict(kind) and isinstance(value, dict):
        return _fields(kind, value, path)
    if origin is dict and isinstance(value, dict):
        return {key: _parse(arguments[1], item, (*path, key)) for key, item in value.items()}
    if origin is list and isinstance(value, list):
        return [_parse(arguments[0], item, (*path, str(i))) for i, item in enumerate(value)]
    if origin is tuple and isinstance(value, list) and len(value) == len(arguments):
        return tuple(_parse(a, item, (*path, str(i))) for i, (a, item) in enumerate(zip(arguments, value, strict=True)))
    if kind is float and type(value) in (int, float):
        return float(value)
    if isinstance(kind, type) and type(value) is kind:  # not isinstance: True is no int here
        return value
    name = kind.__name__ if isinstance(kind, type) and origin is None else str(kind)
    raise _MismatchError(f"{'.'.join(path) or 'the file'} must be {name}, not {str(value)[:40]!r}.")


def _fields(kind: Any, value: dict[str, Any], path: tuple[str, ...]) -> dict[str, Any]:
    """Return the fields of a dataclass or TypedDict, none missing and none more."""
    types = get_type_hints(kind)
    for verb, names in (("lacks", types.keys() - value.keys()), ("must not have", value.keys() - types.keys())):
        if names:
            raise _MismatchError(f"{'.'.join(path) or 'the file'} {verb} {', '.join(sorted(names))}.")
    return {name: _parse(field, value[name], (*path, name)) for name, field in types.items()}
