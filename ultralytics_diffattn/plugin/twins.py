# Ultralytics DiffAttn - AGPL-3.0 License
"""Twins: classes that stand in ultralytics' globals for our modules, so that `parse_model` reads our rows as stock's.

`parse_model` looks a row's module up in the globals of `ultralytics.nn.tasks` and decides by membership in sets of
stock classes which arguments it gets. A *twin* stands there for each of our modules: a class that hashes and compares
equal to the stock module whose rows ours resemble, so that it is a member wherever that one is, and that builds our
module when it is called. Models and checkpoints hold only the ordinary class; `parse_model` stays as it is.
"""

from __future__ import annotations

import dis
import functools
import inspect
from collections.abc import Callable
from pkgutil import resolve_name
from types import CodeType, FunctionType
from typing import Any

from torch import nn

from ultralytics_diffattn.errors import UserError
from ultralytics_diffattn.nn.arguments import ArgumentError
from ultralytics_diffattn.plugin.modules import Row
from ultralytics_diffattn.plugin.row_context import RowContext
from ultralytics_diffattn.plugin.versions import ADVICE, VersionError, require_ultralytics, ultralytics_version


class Twin(type):
    """The type of a class that stands in ultralytics' globals for one of our modules."""

    row: Row
    stock: type | None
    names: dict[str, Any]  # of the module where the twin stands

    def __new__(mcs, name: str, row: Row, stock: type | None, names: dict[str, Any]) -> Twin:
        """Create the twin of `stock`; of nothing, where this ultralytics has no such module any more."""
        twin = super().__new__(mcs, name, (stock or nn.Module,), {"__module__": "ultralytics_diffattn"})
        twin.row, twin.stock, twin.names = row, stock, names
        return twin

    def __init__(cls, *_: object) -> None:
        """Take the arguments of `__new__`."""

    def __eq__(cls, other: object) -> bool:
        """Equal the stock module, so that sets and tuples that hold it seem to hold the twin."""
        return other is cls or (cls.stock is not None and other is cls.stock)

    def __hash__(cls) -> int:
        """Hash as the stock module does."""
        return hash(cls.stock)

    def __call__(cls, *args: object, **named: object) -> nn.Module:
        """Build our module from the arguments that `parse_model` gives, or say which row is wrong and why."""
        context = RowContext.of_caller()
        require_ultralytics(cls.__name__)
        if cls.stock is None:
            raise VersionError(
                f"ultralytics {ultralytics_version()} has no module {cls.row.like} any more, which {cls.__name__} "
                f"builds on. {ADVICE}"
            )
        if not isinstance(context.repeats, int) or isinstance(context.repeats, bool):
            raise UserError(f"repeats={context.repeats!r} must be an integer >= 1{context}.")
        received = (*args, named) if named else args
        if cls.row.adjust is not None and context.c1 is not None:
            args = tuple(cls.row.adjust(list(args), context))
        integers = [p for p in inspect.signature(cls.stock).parameters if p in {"c1", "c2", "n"}]
        first = args[: len(integers)]
        fits = len(args) >= len(integers) and all(isinstance(a, int) and not isinstance(a, bool) for a in first)
        unadjusted = cls.row.adjust is not None and context.c1 is None
        if named or unadjusted or not fits or context.c1 not in {None, args[0]} or cls._has_branches_unknown(context):
            raise VersionError(
                f"ultralytics {ultralytics_version()} does not read rows of {cls.__name__} as it reads those of "
                f"{cls.row.like}: it gave the arguments {received}{context}. {ADVICE}"
            )
        return cls._build(args, context)

    def _build(cls, args: tuple[Any, ...], context: RowContext) -> nn.Module:
        """Build our module, or name the row whose arguments it refuses; other errors are bugs and pass as they are."""
        build: Callable[..., nn.Module] = resolve_name(cls.row.build)
        try:
            inspect.signature(build).bind(*args)
        except TypeError as error:  # more arguments than there are
            raise UserError(f"{cls.__name__}: {error}{context}") from error
        try:
            return build(*args)
        except ArgumentError as error:
            raise UserError(f"{error}{context}") from error
        except Exception as error:
            if context.text and hasattr(error, "add_note"):  # from Python 3.11 on
                error.add_note(f"while building {cls.__name__}{context}")
            raise

    def _has_branches_unknown(cls, context: RowContext) -> bool:
        """Return whether the parser singles the stock module out more often than the row of the table makes up for."""
        times: dict[str, int] = {}  # by the function's name: of one that a plugin has replaced, both may be there
        for f in {f.__code__ for f in cls.names.values() if isinstance(f, FunctionType)} | context.code:
            times[f.co_name] = max(times.get(f.co_name, 0), _singled_out(f, cls.row.like))
        return sum(times.values()) > (cls.row.adjust is not None)


@functools.cache
def _singled_out(code: CodeType, name: str) -> int:
    """Return how often a function compares with a class by `is` or by its name, which a twin does not live up to."""
    steps = list(dis.get_instructions(code)) if name in (*code.co_names, *code.co_varnames) else []
    by_is = sum(s.opname == "IS_OP" and name in [x.argval for x in steps[i - 2 : i]] for i, s in enumerate(steps))
    inner = sum(_singled_out(c, name) for c in code.co_consts if isinstance(c, CodeType))
    named = sum(c == name or (isinstance(c, (frozenset, tuple)) and name in c) for c in code.co_consts)
    return int(by_is + inner + named)
