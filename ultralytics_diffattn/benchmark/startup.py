# Ultralytics DiffAttn - AGPL-3.0 License
"""Fresh interpreters with and without the line that the installed package adds to each start."""

from __future__ import annotations

import os
import re
import subprocess
import sys
import sysconfig
from collections.abc import Callable
from functools import partial
from pathlib import Path
from typing import Literal, NamedTuple

import torch

from ultralytics_diffattn.bundled import PACKAGE
from ultralytics_diffattn.errors import MissingFileError


class Import(NamedTuple):
    """Our import at one start of an interpreter: its time in milliseconds, and the modules that it loads."""

    ms: float
    modules: list[str]


def start(code: str) -> dict[str, Callable[[], str]]:
    """Return fresh interpreters that execute `code`, with and without the line that this package adds to each start.

    Args:
        code (str): Python.

    Returns:
        (dict[str, Callable]): `with` and `without`, each returns the process' standard output.

    Raises:
        MissingFileError: If the package is neither installed nor a checkout.
    """
    return {"with": partial(_python, f"{_line()}\n{code}"), "without": partial(_python, code)}


def at_start() -> Import:
    """Return the cost of our import at one start of an interpreter, by `-X importtime`.

    Returns:
        (Import): Time and modules.

    Raises:
        RuntimeError: If it loads no module of ours, of which a start of the interpreter says nothing.
    """
    report = _python(_line(), "-X", "importtime", stream="stderr")
    rows = re.findall(r"\|\s+(\d+) \|\s*(ultralytics_diffattn\S*)", report)
    if not rows:
        raise RuntimeError("the line of ultralytics_diffattn.pth does not load ultralytics_diffattn")
    return Import(max(int(microseconds) for microseconds, _ in rows) / 1000, [name for _, name in rows])


def _line() -> str:
    """Return the line of our .pth file, from site-packages or from the checkout."""
    folders = Path(sysconfig.get_path("purelib")), PACKAGE.parent
    for folder in folders:
        if (folder / "ultralytics_diffattn.pth").is_file():
            return (folder / "ultralytics_diffattn.pth").read_text().strip()
    raise MissingFileError(f"there is no ultralytics_diffattn.pth in {' or '.join(map(str, folders))}")


def _python(code: str, *flags: str, stream: Literal["stdout", "stderr"] = "stdout") -> str:
    """Return the output of code in an interpreter that reads no .pth files."""
    import ultralytics

    homes = (*(Path(file).resolve().parents[1] for file in (torch.__file__, ultralytics.__file__)), PACKAGE.parent)
    env = {key: value for key, value in os.environ.items() if key != "DIFFATTN_AUTOLOAD"}
    env |= {"PYTHONPATH": os.pathsep.join(dict.fromkeys(map(str, homes))), "YOLO_OFFLINE": "true"}
    code = f"import os, site\n{code}"  # an ordinary start has loaded them when it comes to .pth files; -S has not
    command = [sys.executable, "-S", *flags, "-c", code]
    done = subprocess.run(command, env=env, capture_output=True, text=True)
    if done.returncode:
        raise RuntimeError(f"an interpreter without .pth files failed: {done.stderr.strip().splitlines()[-1]}")
    return done.stdout if stream == "stdout" else done.stderr
