# Ultralytics DiffAttn - AGPL-3.0 License
"""Python modules in processes of their own, which end, with their children, when their parent ends."""

from __future__ import annotations

import os
import signal
import subprocess
import sys
import threading


def run_module(module: str, *arguments: object) -> int:
    """Run `python -m module arguments` and return its exit status.

    Args:
        module (str): A module that calls `end_with_parent` first.
        *arguments (object): Its arguments.

    Returns:
        (int): 0 after success; negative for the signal that ended it.
    """
    command = [sys.executable, "-m", module, *map(str, arguments)]
    # A session of its own: with stdin closed, by our end of any kind, the child ends itself and its children.
    child = subprocess.Popen(command, stdin=subprocess.PIPE, start_new_session=True)
    assert child.stdin is not None
    try:
        return child.wait()
    finally:
        child.stdin.close()
        child.wait()


def end_with_parent() -> None:
    """End this process and its children as soon as its parent is gone.

    `run_module` holds the other end of this process' stdin, which closes when the parent ends, however it ends.
    """

    def wait() -> None:
        while os.read(0, 1):  # not sys.stdin, whose lock would trouble the interpreter at its end
            pass
        if hasattr(os, "killpg"):
            os.killpg(0, signal.SIGKILL)
        os._exit(1)

    threading.Thread(target=wait, daemon=True).start()
