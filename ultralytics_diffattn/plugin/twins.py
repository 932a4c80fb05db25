# Ultralytics DiffAttn - AGPL-3.0 License
"""Twins: classes that stand in ultralytics' globals for registered modules, so that `parse_model` reads their rows.

`parse_model` looks a row's module up in the globals of `ultralytics.nn.tasks` and decides by tests such as
`m in {C2PSA, ...}` which arguments it gets. A *twin* is a class with the hash and the `==` of a stock class, so these
tests accept it; calling the twin builds the real module. Each registered module has a twin of the stock module whose
rows its own resemble. Models and checkpoints hold only the ordinary class; `parse_model` stays as it is.
"""

from __future__ import annotations

import inspect
from collections.abc import Callable
from pkgutil import resolve_name
from types import ModuleType
from typing import Any

from torch import nn

from ultralytics_diffattn.errors import UserError
from ultralytics_diffattn.nn.arguments import ArgumentError
from ultralytics_diffattn.plugin import dry_run, needs
from ultralytics_diffattn.plugin.registry import Row
from ultralytics_diffattn.plugin.row_context import RowContext
from ultralytics_diffattn.plugin.signatures import SEVERAL, codes_of, leading, special_cases
from ultralytics_diffattn.plugin.versions import ADVICE, VersionError, require_ultralytics, ultralytics_version


class Twin(type):
    """The type of a class that stands in ultralytics' globals for one of the registered modules."""

    row: Row
    stock: type | None
    namespace: dict[str, Any]  # globals of the module of ultralytics that holds the twin

    def __new__(mcs, name: str, row: Row, stock: type | None, namespace: dict[str, Any]) -> Twin:
        """Create the twin of `stock`, which is None if this ultralytics no longer has that module."""
        module = row.build.partition(":")[0] if row.source else "ultralytics_diffattn"
        twin = super().__new__(mcs, name, (stock or nn.Module,), {"__module__": module})
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
        """Build the real module from the arguments that `parse_model` gives, or say which row is wrong and why."""
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
        if cls.row.adjust is not None and (context.c1 is not None or context.inputs):
            args = tuple(cls.row.adjust(list(args), context))
        if named or not cls._are_read_as_expected(args, context) or cls._has_unknown_special_cases(context):
            raise VersionError(
                f"ultralytics {ultralytics_version()} does not read rows of {cls.__name__} as it reads "
                f"{cls.row.described}: it gave the arguments {received}{context}. {ADVICE}"
            )
        module = cls._build(args, context)
        if cls.row.source:  # a user's, which nobody has tried
            dry_run.check(module, cls.__name__, context, signature=cls.row.signature)
            needs.note(module, cls.__name__, cls.row)
        return module

    def _build(cls, args: tuple[Any, ...], context: RowContext) -> nn.Module:
        """Build the module, or name the row whose arguments it refuses; other errors are bugs and pass as they are."""
        build: Callable[..., nn.Module] = resolve_name(cls.row.build)
        try:
            inspect.signature(build).bind(*args)
        except TypeError as error:  # more arguments than there are
            called = f"{cls.__name__}({', '.join(map(repr, args))})"
            detail = f"; it was called as {called}, by {cls.row.described}, and its class has {signature_of(build)}"
            raise UserError(f"{cls.__name__}: {error}{detail if cls.row.source else ''}{context}") from error
        if "legacy" in vars(cls) and isinstance(build, type) and cls.row.signature != SEVERAL:
            setattr(build, "legacy", vars(cls)["legacy"])  # noqa: B010 - what parse_model tells a head's class
        try:
            return build(*args)
        except ArgumentError as error:
            raise UserError(f"{error}{context}") from error
        except Exception as error:
            if context.text and hasattr(error, "add_note"):  # from Python 3.11 on
                error.add_note(f"while building {cls.__name__}{context}")
            raise

    def _are_read_as_expected(cls, args: tuple[Any, ...], context: RowContext) -> bool:
        """Return whether the arguments begin as they are to: with c1, c2 and n, as far as the rows it is like do."""
        names = leading(cls.row.signature or cls.row.like, cls.stock)
        if names == ["channels"]:
            return bool(context.inputs) and args[:1] == (list(context.inputs),)
        are_integers = all(isinstance(a, int) and not isinstance(a, bool) for a in args[: len(names)])
        is_adjusted = cls.row.adjust is None or context.c1 is not None
        begins_with_c1 = "c1" not in names or context.c1 in (None, *args[:1])
        return len(args) >= len(names) and are_integers and is_adjusted and begins_with_c1

    def _has_unknown_special_cases(cls, context: RowContext) -> bool:
        """Return whether `parse_model` has more special cases for the stock class than `Row.adjust` makes up for."""
        handled = 1 if cls.row.adjust is not None and not cls.row.signature else 0
        cases = special_cases(codes_of(context.code, cls.namespace), cls.row.like) if cls.row.like else 0
        return cases > handled


def put(tasks: ModuleType, name: str, row: Row) -> None:
    """Put the twin of a module where `parse_model` looks for it, unless a module of others has that name.

    Args:
        tasks (ModuleType): `ultralytics.nn.tasks`, loaded.
        name (str): In a YAML.
        row (Row): The module.
    """
    present = vars(tasks).get(name)
    stock = vars(tasks).get(row.like) if row.like else nn.Module  # of which no set of parse_model's knows
    if present is None or (isinstance(present, Twin) and (present.stock is not stock or present.row != row)):
        setattr(tasks, name, Twin(name, row, stock, vars(tasks)))


def signature_of(build: Callable[..., Any]) -> str:
    """Return the signature of a class or function without types, such as `CBAM(c1, kernel_size=7)`.

    Args:
        build (Callable): The class or function.

    Returns:
        (str): For messages.

    Examples:
        >>> signature_of(type("CBAM", (), {"__init__": lambda self, c1, kernel_size=7: None}))
        'CBAM(c1, kernel_size=7)'
    """
    parameters = inspect.signature(build).parameters.values()
    short = (str(parameter.replace(annotation=inspect.Parameter.empty)) for parameter in parameters)
    return f"{getattr(build, '__name__', build)}({', '.join(short)})"
