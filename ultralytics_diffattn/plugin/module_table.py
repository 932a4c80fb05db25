# Ultralytics DiffAttn - AGPL-3.0 License
"""The table of our modules: what ultralytics' `parse_model` must know to build them from YAML rows.

Which arguments a row gets, `parse_model` decides by membership in sets of stock classes. A row of this table names the
stock module whose rows ours resemble; twins.py makes ours count as that one.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Any, NamedTuple

from ultralytics_diffattn.plugin.row_context import RowContext


class Row(NamedTuple):
    """How the rows of one module are read."""

    like: str  # stock module that parse_model gives the same arguments
    build: str  # what those arguments are passed to, "module:callable"
    # What parse_model does to the arguments of that class alone, `if m is A2C2f:`, which is false of a twin
    adjust: Callable[[list[Any], RowContext], list[Any]] | None = None


def _c3k2(args: list[Any], context: RowContext) -> list[Any]:
    """Return `[c1, c2, n, c3k, ...]` with c3k set where the scale is m, l or x."""
    return [*args[:3], True, *args[4:]] if context.scale in {"m", "l", "x"} else args


def _a2c2f(args: list[Any], context: RowContext) -> list[Any]:
    """Return `[c1, c2, n, a2, area, ...]` with residual and mlp_ratio behind area set where the scale is l or x."""
    return [*args[:5], True, 1.2, *args[7:]] if context.scale in {"l", "x"} else args


def _aifi(args: list[Any], context: RowContext) -> list[Any]:
    """Return `[cm, num_heads, ...]` with c1 before them."""
    return [context.c1, *args] if args == list(context.written or ()) else args


# parse_model also notes at some of these classes that the heads of the model are not of the old design, but not at a
# twin of them: a YAML needs one stock C3k2 or A2C2f beside rows of ours, as all that are bundled have.
MODULES = {  # name in a YAML: adding a module is one line here
    "A2C2f_Diff": Row("A2C2f", "ultralytics_diffattn.nn.area:A2C2f_Diff", _a2c2f),
    "AIFI_Diff": Row("AIFI", "ultralytics_diffattn.nn.aifi:AIFI_Diff", _aifi),
    "C2PSA_Diff": Row("C2PSA", "ultralytics_diffattn.nn.blocks:C2PSA_Diff"),
    "C3k2_Diff": Row("C3k2", "ultralytics_diffattn.nn.blocks:C3k2_Diff", _c3k2),
    "DiffAttention": Row("PSA", "ultralytics_diffattn.nn.blocks:diff_attention_row"),
}
