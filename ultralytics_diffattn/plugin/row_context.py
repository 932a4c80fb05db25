# Ultralytics DiffAttn - AGPL-3.0 License
"""The row of a model YAML that `parse_model` is building, read from its frame."""

from __future__ import annotations

import sys
from types import CodeType, FrameType
from typing import Any, NamedTuple


class RowContext(NamedTuple):
    """The row of a model YAML that is being built, as far as the frame of the parser shows it."""

    text: str = ""
    c1: int | None = None  # channels of the input, where there is one
    scale: str | None = None
    written: list[Any] | None = None
    repeats: Any = 1
    code: frozenset[CodeType] = frozenset()  # of the parser
    inputs: tuple[int, ...] = ()  # channels of each input, where the row lists several
    frame: FrameType | None = None

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
            c1, inputs = (None, tuple(ch[x] for x in f)) if isinstance(f, list) else (ch[f], ())
            text, code = f" (row {i} of the model YAML: {row})", frozenset({frame.f_code})
            return cls(text, c1, scale, row[3], row[1], code, inputs, frame)
        except (AttributeError, IndexError, KeyError, TypeError):  # a parser with other variables
            return cls()

    def local(self, name: str) -> Any:
        """Return a variable of the parser, or None."""
        return self.frame.f_locals.get(name) if self.frame else None

    def set_channels(self, c2: int) -> bool:
        """Tell the parser how many channels the row gives; return whether it took that.

        For a row over several inputs it leaves the number of the row before. From Python 3.13 on a frame's variables
        can be written; before, the call that debuggers make is needed, too.
        """
        if self.frame is None or "c2" not in self.frame.f_locals:
            return False
        self.frame.f_locals["c2"] = c2
        if sys.version_info < (3, 13):
            import ctypes

            ctypes.pythonapi.PyFrame_LocalsToFast(ctypes.py_object(self.frame), ctypes.c_int(0))
        return bool(self.frame.f_locals["c2"] == c2)  # read anew from the variables themselves

    def __str__(self) -> str:
        """Return the row, to stand at the end of a message."""
        return self.text
