# Ultralytics DiffAttn - AGPL-3.0 License
"""The folder of a run, as ultralytics chooses it: project/name or runs/task/name, numbered if it exists."""

from __future__ import annotations

from pathlib import Path


def run_folder(task: str, mode: str, name: str, project: str | None = None, exist_ok: bool = False) -> Path:
    """Return the folder into which a verb writes; it is not created.

    Args:
        task (str): Task of the model, such as "detect"; part of the path unless there is a `project`.
        mode (str): The nearest of ultralytics' own modes: "train", "val" or "predict".
        name (str): Name of the folder; if it exists, a number is appended.
        project (str, optional): Parent folder; by default the task's folder in ultralytics' `runs_dir`.
        exist_ok (bool): Whether an existing folder is used as it is.

    Returns:
        (Path): The folder.

    Examples:
        >>> run_folder("detect", "val", "bench", project="/tmp/none").name
        'bench'
    """
    from ultralytics.cfg import get_save_dir
    from ultralytics.utils import IterableSimpleNamespace

    args = {"task": task, "mode": mode, "name": name, "project": project or None, "exist_ok": exist_ok}
    return Path(get_save_dir(IterableSimpleNamespace(**args, save_dir=None)))
