# Ultralytics DiffAttn - AGPL-3.0 License
"""Files that are complete or absent, whenever the process is killed."""

from __future__ import annotations

import json
import math
import os
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any


@contextmanager
def whole(path: Path) -> Iterator[Path]:
    """Yield a path to write to, beside `path`; the file is moved to `path` in one step at the end of the context.

    Args:
        path (Path): Where the file goes; an existing one is replaced, unless an error is raised.

    Yields:
        (Path): In the same folder, which must exist.

    Examples:
        >>> import tempfile
        >>> path = Path(tempfile.mkdtemp()) / "a.txt"
        >>> with whole(path) as beside:
        ...     _ = beside.write_text("content")
        >>> [file.name for file in path.parent.iterdir()]
        ['a.txt']
    """
    beside = path.with_name(f"{path.name}.{os.getpid()}.tmp")
    try:
        yield beside
        os.replace(beside, path)
    finally:
        beside.unlink(missing_ok=True)


def write_text(path: Path, text: str) -> None:
    """Write a text file in one step.

    Args:
        path (Path): Where it goes; an existing file is replaced.
        text (str): The whole content, written in UTF-8.
    """
    with whole(path) as beside:
        beside.write_text(text, encoding="utf-8")


def write_json(path: Path, value: Any) -> None:
    """Write a value as JSON, in one step.

    Args:
        path (Path): Where it goes; an existing file is replaced.
        value (Any): What `json` can write, and arrays and tensors; a number that is not finite becomes null.
    """
    write_text(path, json.dumps(_finite(value), indent=1, allow_nan=False) + "\n")


def read_json(path: Path) -> Any:
    """Return the value of a JSON file.

    Args:
        path (Path): The file, in UTF-8.

    Returns:
        (Any): Dicts, lists, texts, numbers, True, False and None.

    Raises:
        FileNotFoundError: If there is no such file.
        ValueError: If it is no JSON.
    """
    return json.loads(path.read_text(encoding="utf-8"))


def _finite(value: Any) -> Any:
    """Return a value that JSON can hold: arrays as lists, and None for a number that is not finite."""
    if isinstance(value, dict):
        return {str(k): _finite(v) for k, v in value.items()}
    if isinstance(value, (list, tuple)):
        return [_finite(v) for v in value]
    if hasattr(value, "tolist"):
        return _finite(value.tolist())
    return None if isinstance(value, float) and not math.isfinite(value) else value
