# Ultralytics DiffAttn - AGPL-3.0 License
"""`diffattn modules`: files with modules of your own, made known to every process of this environment."""

from __future__ import annotations

import os
from typing import Any

from ultralytics_diffattn.errors import MissingFileError, UserError, as_user_errors
from ultralytics_diffattn.verbs.arguments import check_known

OWN: dict[str, Any] = {"action": "list", "file": ""}
POSITIONAL = "action", "file"
ACTIONS = "add", "list", "remove"


def modules(action: str = "list", file: str = "", **args: Any) -> list[str]:
    """Record a file for this environment, forget it, or list what is known.

    What is recorded is the file's path and its hash. It is imported when a model or a checkpoint names one of its
    modules; where it has changed by then, that is said. `add` imports it once, to see what it registers.

    Args:
        action (str): "add", "list" or "remove".
        file (str): The file; for `remove` also the name that it is imported by.
        **args (Any): None; here to be refused by name.

    Returns:
        (list[str]): The lines that are logged.

    Raises:
        MissingFileError: If there is no such file.
        UserError: If an argument is unknown, the file cannot be imported or registers nothing, or nothing can be
            written into this environment.

    Examples:
        >>> modules("add", "my_blocks.py")  # doctest: +SKIP
        ['my_blocks.py is known from now on: CBAM, whose rows are read as those of Conv']
    """
    from ultralytics.utils import LOGGER

    check_known("modules", args, OWN)
    if action not in ACTIONS:
        raise UserError(
            f"there is no modules {action}: it is one of {', '.join(ACTIONS)}, as in diffattn modules list."
        )
    if (action == "list") != (not file):
        raise UserError(
            f"diffattn modules {action} {'takes no file' if file else 'needs a file, such as my_blocks.py'}."
        )
    lines = {"add": _add, "remove": _remove}[action](file) if file else _list()
    LOGGER.info("\n".join(lines))
    return lines


def _add(file: str) -> list[str]:
    """Import a file, record it, and return what it registers."""
    from ultralytics_diffattn.plugin import user_files, user_modules
    from ultralytics_diffattn.plugin.registry import MODULES

    if not os.path.isfile(file):
        raise MissingFileError(f"{file} does not exist.")
    if not file.endswith(".py"):
        raise UserError(f"{file} must end with .py.")
    user_modules.import_file(file)
    path = os.path.realpath(file)
    names = [f"{name}, whose rows are read as {row.described}" for name, row in MODULES.items() if row.source == path]
    if not names:
        raise UserError(f'{file} registers nothing: put @register(like="Conv"), or another like=, above its class.')
    with as_user_errors(OSError, ValueError):
        user_files.add(file)
    return [f"{file} is known from now on in this environment, {user_files.record()}: {'; '.join(names)}"]


def _remove(file: str) -> list[str]:
    """Forget a file."""
    from ultralytics_diffattn.plugin import user_files

    with as_user_errors(OSError, ValueError):
        found = user_files.remove(file)
        if len(found) > 1:
            raise UserError(f"{file} is the name of {' and '.join(found)}: give the path of one.")
        if not found:
            known = ", ".join(known.path for known in user_files.recorded()) or "nothing"
            raise UserError(f"{file} is not recorded in this environment; recorded is {known}.")
    return [f"{found[0]} is no longer known."]


def _list() -> list[str]:
    """Return a line for each file and each package, without importing them."""
    from importlib.metadata import entry_points

    from ultralytics_diffattn.plugin import user_files, user_modules

    lines = []
    for file in user_files.known():
        now = user_files.digest(file.path)
        state = "missing" if not now else "changed since" if file.sha256 not in {"", now} else "as recorded"
        lines.append(f"{file.path}: by {file.origin}, {state if file.sha256 or not now else 'present'}")
    for point in entry_points(group=user_modules.GROUP):
        package = f"{point.dist.name} {point.dist.version}" if point.dist else "a package"
        lines.append(f"{point.value}: by the entry point {point.name} of {package}")
    return lines or ["No modules of yours are known here: diffattn modules add my_blocks.py"]
