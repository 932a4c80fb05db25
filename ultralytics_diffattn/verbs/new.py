# Ultralytics DiffAttn - AGPL-3.0 License
"""`diffattn new`: a module of your own to begin with, its YAML and its test, in the current folder."""

from __future__ import annotations

from pathlib import Path
from typing import Any

from ultralytics_diffattn.errors import UserError, as_user_errors
from ultralytics_diffattn.verbs.arguments import check_known

OWN: dict[str, Any] = {"name": "", "like": "Conv"}
POSITIONAL = ("name",)


def new(name: str = "", like: str = "Conv", **args: Any) -> list[str]:
    """Write a module, a model YAML with a row of it, and a test that passes.

    Args:
        name (str): Of the class, such as CBAM; the files are named after it.
        like (str): What its rows are read like: a stock module, or a signature such as "(c1, *args)".
        **args (Any): None; here to be refused by name.

    Returns:
        (list[str]): The files.

    Raises:
        UserError: If an argument is missing or unknown, or the name is taken.
        ExistingFileError: If one of the files exists.

    Examples:
        >>> new("CBAM", like="Conv")  # doctest: +SKIP
        ['cbam.py', 'yolo11-cbam.yaml', 'test_cbam.py']
    """
    from ultralytics.utils import LOGGER

    from ultralytics_diffattn.plugin.new_module import write

    check_known("new", args, OWN)
    if not name:
        raise UserError("new needs the name of a class, as in diffattn new CBAM like=Conv.")
    with as_user_errors(OSError):
        files, commands = write(str(name), str(like), Path())
    LOGGER.info(f"{', '.join(map(str, files))} written. Now:\n  " + "\n  ".join(commands))
    return [str(file) for file in files]
