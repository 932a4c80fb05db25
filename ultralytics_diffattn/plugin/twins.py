# Ultralytics DiffAttn - AGPL-3.0 License
"""Twins: classes that stand in ultralytics' globals for our modules, so that `parse_model` reads our rows as stock's.

`parse_model` looks a row's module up in the globals of `ultralytics.nn.tasks` and decides by tests such as
`m in {C2PSA, ...}` which arguments it gets. A *twin* is a class with the hash and the `==` of a stock class, so these
tests accept it; calling the twin builds our module. Each of our modules has a twin of the stock module whose rows ours
resemble. Models and checkpoints hold only the ordinary class; `parse_model` stays as it is.
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
from ultralytics_diffattn.plugin.module_table import Row
from ultralytics_diffattn.plugin.row_context import RowContext
from ultralytics_diffattn.plugin.versions import ADVICE, VersionError, require_ultralytics, ultralytics_version


class Twin(type):
    """The type of a class that stands in ultralytics' globals for one of our modules."""

    row: Row
    stock: type | None
    namespace: dict[str, Any]  # globals of the module of ultralytics that holds the twin

    def __new__(mcs, name: str, row: Row, stock: type | None, namespace: dict[str, Any]) -> Twin:
        """Create the twin of `stock`, which is None if this ultralytics no longer has that module."""
        twin = super().__new__(mcs, name, (stock or nn.Module,), {"__module__": "ultralytics_diffattn"})
        twin.row, twin.stock, twin.namespace = row, stock, namespace
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
        if named or not cls._are_read_as_stocks(args, context) or cls._has_unknown_special_cases(context):
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

    def _are_read_as_stocks(cls, args: tuple[Any, ...], context: RowContext) -> bool:
        """Return whether the arguments begin with those of the stock module: c1, c2 and n, as far as it takes them."""
        assert cls.stock is not None
        leading = [p for p in inspect.signature(cls.stock).parameters if p in {"c1", "c2", "n"}]
        are_integers = all(isinstance(a, int) and not isinstance(a, bool) for a in args[: len(leading)])
        is_adjusted = cls.row.adjust is None or context.c1 is not None
        return len(args) >= len(leading) and are_integers and is_adjusted and context.c1 in {None, args[0]}

    def _has_unknown_special_cases(cls, context: RowContext) -> bool:
        """Return whether `parse_model` has more special cases for the stock class than `Row.adjust` makes up for."""
        cases: dict[str, int] = {}  # by function: if another plugin has wrapped one, both are present, and count once
        functions = {f.__code__ for f in cls.namespace.values() if isinstance(f, FunctionType)} | context.code
        for code in functions:
            cases[code.co_name] = max(cases.get(code.co_name, 0), _count_special_cases(code, cls.row.like))
        handled = 1 if cls.row.adjust is not None else 0
        return sum(cases.values()) > handled


@functools.cache
def _count_special_cases(code: CodeType, name: str) -> int:
    """Return how often a function compares with a class by `is` or by its name: tests that a twin fails."""
    steps = list(dis.get_instructions(code)) if name in (*code.co_names, *code.co_varnames) else []
    by_is = sum(s.opname == "IS_OP" and name in [x.argval for x in steps[i - 2 : i]] for i, s in enumerate(steps))
    inner = sum(_count_special_cases(c, name) for c in code.co_consts if isinstance(c, CodeType))
    named = sum(c == name or (isinstance(c, (frozenset, tuple)) and name in c) for c in code.co_consts)
    return int(by_is + inner + named)
