# Ultralytics DiffAttn - AGPL-3.0 License
"""What a row's arguments are: those of a stock module that it is `like`, or one of a few plain signatures."""

from __future__ import annotations

import dis
import functools
import inspect
import itertools
from collections.abc import Callable, Iterable
from types import CodeType, FunctionType, ModuleType
from typing import Any, NamedTuple

from torch import nn

from ultralytics_diffattn.errors import UserError
from ultralytics_diffattn.plugin.row_context import RowContext
from ultralytics_diffattn.suggestions import did_you_mean

Adjust = Callable[[list[Any], RowContext], list[Any]]
SEVERAL = "(channels, *args)"  # of a module whose forward gets a list of tensors


class Signature(NamedTuple):
    """How a plain signature is had from `parse_model`."""

    like: str  # stock module whose arguments it starts from; "" for a module that parse_model does not know
    leading: tuple[str, ...]  # what stands before the arguments of the row
    adjust: Adjust | None = None


def _c3k2(args: list[Any], context: RowContext) -> list[Any]:
    """Return `[c1, c2, n, c3k, ...]` with c3k set where the scale is m, l or x."""
    return [*args[:3], True, *args[4:]] if context.scale in {"m", "l", "x"} else args


def _a2c2f(args: list[Any], context: RowContext) -> list[Any]:
    """Return `[c1, c2, n, a2, area, ...]` with residual and mlp_ratio behind area set where the scale is l or x."""
    return [*args[:5], True, 1.2, *args[7:]] if context.scale in {"l", "x"} else args


def _c1_first(args: list[Any], context: RowContext) -> list[Any]:
    """Return `[c1, ...]`, where `parse_model` has left the arguments as they are written."""
    return [context.c1, *args] if args == list(context.written or ()) else args


def _channels_first(args: list[Any], context: RowContext) -> list[Any]:
    """Return `[channels, ...]` for what a head gets: its arguments, perhaps reg_max and end2end, the channels."""
    channels = list(context.inputs)
    if not channels or args[-1:] != [channels]:
        return args
    of_heads = [context.local("reg_max"), context.local("end2end")]  # from ultralytics 8.4 on
    return [channels, *(args[:-3] if args[-3:-1] == of_heads else args[:-1])]


PLAIN = {
    "(c1, c2, *args)": Signature("Conv", ("c1", "c2")),  # the row begins with c2, which the width scales
    "(c1, *args)": Signature("", ("c1",), _c1_first),  # as many channels come out
    "(*args)": Signature("", ()),  # as many channels come out
    SEVERAL: Signature("Detect", ("channels",), _channels_first),
}
# What parse_model does to the arguments of one class alone, `if m is A2C2f:`, which is false of a twin
BRANCHES: dict[str, Adjust] = {"C3k2": _c3k2, "A2C2f": _a2c2f, "AIFI": _c1_first}


def plain(like: str) -> str:
    """Return a signature as it is spelt in `PLAIN`, whatever spaces and brackets it is written with, or `like` itself.

    Args:
        like (str): Name of a stock module, or a signature.

    Returns:
        (str): One of the keys of `PLAIN`, or the name.

    Examples:
        >>> plain("c1,*args"), plain("Conv")
        ('(c1, *args)', 'Conv')
    """
    bare = {"".join(signature.split()).strip("()"): signature for signature in PLAIN}
    return bare.get("".join(like.split()).strip("()"), like.strip())


def leading(like: str, stock: type | None) -> list[str]:
    """Return the names of the first arguments, as far as they are c1, c2 and n.

    Args:
        like (str): A plain signature, or the name of the stock module.
        stock (type | None): The stock module.

    Returns:
        (list[str]): In their order.
    """
    if like in PLAIN:
        return list(PLAIN[like].leading)
    parameters = inspect.signature(stock).parameters if stock else ()
    return list(itertools.takewhile(lambda p: p in {"c1", "c2", "n"}, parameters))


def check_like(like: str, tasks: ModuleType) -> None:
    """Raise unless rows can be read like those of a stock module, or by a plain signature.

    Args:
        like (str): One of the two.
        tasks (ModuleType): `ultralytics.nn.tasks`, loaded.

    Raises:
        UserError: If it is neither, or `parse_model` reads the rows of that module in a way of its own.
    """
    if like in PLAIN:
        return
    known = known_likes(tasks)
    if like not in known:
        stock = vars(tasks).get(like)
        reason = (
            "is read by ultralytics' parser in a way that is its own"
            if isinstance(stock, type) and issubclass(stock, nn.Module)
            else "is no module of ultralytics"
        )
        raise UserError(
            f"like={like!r} {reason}.{did_you_mean(like, known)} Give one of the signatures "
            f"{', '.join(map(repr, PLAIN))}, or one of {', '.join(known)}."
        )


def known_likes(tasks: ModuleType) -> list[str]:
    """Return the names of the stock modules whose rows others can be read like.

    Args:
        tasks (ModuleType): `ultralytics.nn.tasks`, loaded.

    Returns:
        (list[str]): In alphabetical order.

    Examples:
        >>> from ultralytics.nn import tasks
        >>> {"Conv", "C2PSA", "C3k2"} <= set(known_likes(tasks)), "Concat" in known_likes(tasks)
        (True, False)
    """
    parser = inspect.unwrap(tasks.parse_model).__code__
    codes = codes_of(frozenset({parser}), vars(tasks))
    modules = [
        name
        for name in parser.co_names
        if isinstance(vars(tasks).get(name), type) and issubclass(vars(tasks)[name], nn.Module)
    ]
    return sorted(
        name
        for name in modules
        if special_cases(codes, name) <= (name in BRANCHES)
        and name not in {"TorchVision", "Index"}  # whose rows begin with channels that their class does not get
    )


def codes_of(parser: frozenset[CodeType], namespace: dict[str, Any]) -> frozenset[CodeType]:
    """Return the code of a parser and of the functions that it calls, of all functions where the parser is not known.

    Args:
        parser (frozenset[CodeType]): That of `parse_model`, or none.
        namespace (dict[str, Any]): Its globals.

    Returns:
        (frozenset[CodeType]): All code in which a class may be a case of its own.
    """
    functions = [f.__code__ for f in namespace.values() if isinstance(f, FunctionType)]
    called = {name for code in parser for name in _names(code)}
    return parser | {code for code in functions if not parser or code.co_name in called}


def _names(code: CodeType) -> set[str]:
    """Return the names that a function, and the functions within it, look up."""
    return set(code.co_names).union(*(_names(c) for c in code.co_consts if isinstance(c, CodeType)))


def special_cases(codes: Iterable[CodeType], name: str) -> int:
    """Return how often functions have a case for one class alone, which they test by `is` or by its name.

    Args:
        codes (Iterable[CodeType]): The functions.
        name (str): Of the class.

    Returns:
        (int): The number of the tests that a twin fails.
    """
    cases: dict[str, int] = {}  # by function: if another plugin has wrapped one, both are present, and count once
    for code in codes:
        cases[code.co_name] = max(cases.get(code.co_name, 0), _count_special_cases(code, name))
    return sum(cases.values())


@functools.cache
def _count_special_cases(code: CodeType, name: str) -> int:
    """Return how often a function compares with a class by `is` or by its name: tests that a twin fails."""
    steps = list(dis.get_instructions(code)) if name in (*code.co_names, *code.co_varnames) else []
    by_is = sum(s.opname == "IS_OP" and name in [x.argval for x in steps[i - 2 : i]] for i, s in enumerate(steps))
    inner = sum(_count_special_cases(c, name) for c in code.co_consts if isinstance(c, CodeType))
    named = sum(c == name or (isinstance(c, (frozenset, tuple)) and name in c) for c in code.co_consts)
    return int(by_is + inner + named)
