# Ultralytics DiffAttn - AGPL-3.0 License
"""The row of a model YAML that `parse_model` is building, read from its frame."""

from __future__ import annotations

import sys
from types import CodeType, FrameType
from typing import Any, NamedTuple


class RowContext(NamedTuple):
    """The row of a model YAML that is being built, as far as the frame of the parser shows it."""

    text: str = ""
    c1: int | None = None
    scale: str | None = None
    written: list[Any] | None = None
    repeats: Any = 1
    code: frozenset[CodeType] = frozenset()  # of the parser

    @classmethod
    def of_caller(cls) -> RowContext:
        """Read the row from the frame of `parse_model`; an empty context where there is none."""
        frame: FrameType | None = sys._getframe(2)
        while frame and frame.f_code.co_name != "parse_model":
            frame = frame.f_back
        try:
            if frame is None:
                return cls()
            i, d, ch, f = (frame.f_locals[x] for x in ("i", "d", "ch", "f"))
            scale = d.get("scale") or next(iter(d.get("scales") or ()), None)  # as parse_model takes it
            scale = frame.f_locals.get("scale") or scale
            row = (d["backbone"] + d["head"])[i]
            return cls(f" (row {i} of the model YAML: {row})", ch[f], scale, row[3], row[1], frozenset({frame.f_code}))
        except (AttributeError, IndexError, KeyError, TypeError):  # a parser with other variables
            return cls()

    def __str__(self) -> str:
        """Return the row, to stand at the end of a message."""
        return self.text
