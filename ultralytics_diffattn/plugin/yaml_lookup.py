# Ultralytics DiffAttn - AGPL-3.0 License
"""Lets ultralytics find the bundled YAMLs by bare name, where its own look-up fails."""

from __future__ import annotations

import re
from collections.abc import Callable
from pathlib import Path
from types import ModuleType
from typing import Any

from ultralytics_diffattn.bundled import find
from ultralytics_diffattn.plugin.replacing import replace
from ultralytics_diffattn.plugin.versions import MINIMUM_ULTRALYTICS, require_ultralytics

NEEDS = r"^min_ultralytics:\s*([\d.]+)"  # in a YAML whose stock rows are not in every supported ultralytics


def attach(module: ModuleType, check: str, rows: tuple[str, ...] = ()) -> None:
    """Let a module's `check_yaml` or `check_file` fall back on `find` for missing files.

    Args:
        module (ModuleType): The module of ultralytics that calls the function.
        check (str): The function's name there.
        rows (tuple): Names in a YAML that need a supported ultralytics, or the one that the YAML names itself; without
            the check, one that is too old would stumble first over a stock row that it does not know either.
    """

    def make(stock: Callable[..., Any]) -> Callable[..., Any]:
        def with_bundled(file: Any, *args: Any, **kwargs: Any) -> Any:
            try:
                path = stock(file, *args, **kwargs)
            except FileNotFoundError:  # none from a soft look-up (hard=False): stock may go on to a user's own file
                path = find(file)
                if path is None:
                    raise
            if path and rows:
                text = Path(path).read_text(encoding="utf-8", errors="ignore")
                if any(row in text for row in rows):
                    needs = re.search(NEEDS, text, re.MULTILINE)
                    require_ultralytics(Path(path).name, needs[1] if needs else MINIMUM_ULTRALYTICS)
            return path

        return with_bundled

    replace(module, check, make)
