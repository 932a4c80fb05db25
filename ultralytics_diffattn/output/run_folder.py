# Ultralytics DiffAttn - AGPL-3.0 License
"""The folder of a run, as ultralytics chooses it: project/name, or runs/task/name with a number behind it."""

from __future__ import annotations

from pathlib import Path


def run_folder(task: str, mode: str, name: str, project: str | None = None, exist_ok: bool = False) -> Path:
    """Return the folder into which a verb writes; it is not created.

    Args:
        task (str): Of the model, such as "detect"; a part of the path where there is no `project`.
        mode (str): Ultralytics' own mode that is nearest: "train", "val" or "predict".
        name (str): Of the folder; if it exists, a number is put behind it.
        project (str, optional): Folder above; by default ultralytics' runs and the task.
        exist_ok (bool): Whether a folder that exists is taken as it is.

    Returns:
        (Path): The folder.

    Examples:
        >>> run_folder("detect", "val", "bench", project="/tmp/none").name
        'bench'
    """
    from ultralytics.cfg import get_save_dir
    from ultralytics.utils import IterableSimpleNamespace

    where = {"task": task, "mode": mode, "name": name, "project": project or None, "save_dir": None}
    return Path(get_save_dir(IterableSimpleNamespace(**where, exist_ok=exist_ok)))
