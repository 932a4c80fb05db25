# Ultralytics DiffAttn - AGPL-3.0 License
"""Attaches this package to ultralytics: adds to the modules of ultralytics that are loaded what they must know."""

from __future__ import annotations

import sys
import threading
from importlib import import_module
from types import ModuleType

from ultralytics_diffattn.plugin import (
    folding,
    lambda_log,
    loading,
    text_encoder,
    user_files,
    user_modules,
    yaml_lookup,
)
from ultralytics_diffattn.plugin.module_table import MODULES
from ultralytics_diffattn.plugin.twins import put

_lock = threading.RLock()


def attach_all() -> None:
    """Attach to all of them, importing those that are not loaded."""
    for name in TO_ATTACH:
        attach(import_module(name))
    if not {"UserFiles", "Finder"} & {getattr(finder, "__name__", "") for finder in sys.meta_path}:
        sys.meta_path.append(user_files.Finder)  # autoload.py, which does so else, is turned off


def attach(module: ModuleType) -> None:
    """Add what a module of ultralytics must know of this package; it may be called any number of times.

    Args:
        module (ModuleType): One of `TO_ATTACH`, loaded.
    """
    with _lock:
        TO_ATTACH[module.__name__](module)
    if module.__name__ == "ultralytics.nn.tasks":  # not under the lock: another thread may be at these imports
        for module_name in {row.build.partition(":")[0] for row in MODULES.values() if not row.source}:
            import_module(module_name)  # puts its classes on torch's list for ULTRALYTICS_SAFE_LOAD


def _tasks(tasks: ModuleType) -> None:
    """Add the twins, users' modules, the look-up of model YAMLs, the folding, the text encoder, and what is logged."""
    for name, row in list(MODULES.items()):
        put(tasks, name, row)  # a module of that name in a fork is left alone
    user_modules.attach(tasks)
    yaml_lookup.attach(tasks, "check_yaml", rows=tuple(name for name, row in MODULES.items() if not row.source))
    folding.attach(tasks)
    loading.attach(tasks)
    text_encoder.attach(tasks)
    lambda_log.attach()  # among the default callbacks of ultralytics


def _data_utils(utils: ModuleType) -> None:
    """Add the look-up of the bundled data YAML."""
    yaml_lookup.attach(utils, "check_file")


TO_ATTACH = {  # the names that autoload.py watches for
    "ultralytics.nn.tasks": _tasks,
    "ultralytics.data.utils": _data_utils,
    "ultralytics.models.yolo.world.train": text_encoder.attach_trainer,
    "ultralytics.models.yolo.yoloe.train": text_encoder.attach_trainer,
}
