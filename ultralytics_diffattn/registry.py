# Ultralytics DiffAttn - AGPL-3.0 License
"""What ultralytics' `parse_model` must know to build our modules from YAML rows, in one table.

`parse_model` looks a row's module up in the globals of `ultralytics.nn.tasks` and decides by membership in sets of
stock classes which arguments it gets. A *twin* stands there for each of our modules: a class that hashes and compares
equal to the stock module whose rows ours resemble, so that it is a member wherever that one is, and that builds our
module when it is called. Models and checkpoints hold only the ordinary class; `parse_model` stays as it is.
"""

from __future__ import annotations

import dis
import functools
import inspect
import sys
import threading
from collections.abc import Callable
from importlib import import_module
from pkgutil import resolve_name
from types import CodeType, FrameType, FunctionType, ModuleType
from typing import Any, NamedTuple

from torch import nn

from ultralytics_diffattn import autoload, bundled, folding, lambdas, text_encoder
from ultralytics_diffattn.compat import ADVICE, require_ultralytics, ultralytics_version


class Row(NamedTuple):
    """How the rows of one module are read."""

    like: str  # stock module that parse_model gives the same arguments
    build: str  # what those arguments are passed to, "module:callable"
    # What parse_model does to the arguments of that class alone, `if m is A2C2f:`, which a twin misses
    missed: Callable[[list[Any], _Place], list[Any]] | None = None


def _c3k2(args: list[Any], place: _Place) -> list[Any]:
    """Return `[c1, c2, n, c3k, ...]` with c3k set where the scale is m, l or x."""
    return [*args[:3], True, *args[4:]] if place.scale in {"m", "l", "x"} else args


def _a2c2f(args: list[Any], place: _Place) -> list[Any]:
    """Return `[c1, c2, n, a2, area]` with residual and mlp_ratio behind them where the scale is l or x."""
    wide = [True, 1.2]
    return [*args, *wide] if place.scale in {"l", "x"} and args[-2:] != wide else args


def _aifi(args: list[Any], place: _Place) -> list[Any]:
    """Return `[cm, num_heads, ...]` with c1 before them."""
    return [place.c1, *args] if args == list(place.written or ()) else args


# parse_model also notes at some of these classes that the heads of the model are not of the old design. A twin misses
# that, too: a YAML needs one stock C3k2 or A2C2f beside rows of ours, as all that are bundled have.
MODULES = {  # name in a YAML: adding a module is one line here
    "A2C2f_Diff": Row("A2C2f", "ultralytics_diffattn.nn.area:A2C2f_Diff", _a2c2f),
    "AIFI_Diff": Row("AIFI", "ultralytics_diffattn.nn.aifi:AIFI_Diff", _aifi),
    "C2PSA_Diff": Row("C2PSA", "ultralytics_diffattn.nn.blocks:C2PSA_Diff"),
    "C3k2_Diff": Row("C3k2", "ultralytics_diffattn.nn.blocks:C3k2_Diff", _c3k2),
    "DiffAttention": Row("PSA", "ultralytics_diffattn.nn.blocks:diff_attention_row"),
}

_lock = threading.RLock()


def register() -> None:
    """Make the model rows and bundled YAMLs of this package known to ultralytics, in this process.

    Installed with pip, the package does so by itself; call this where that is turned off (`DIFFATTN_AUTOLOAD=0`) or
    start-up files are not read (`python -S`). It may be called any number of times, from any thread.

    Examples:
        >>> register()
        >>> from ultralytics import YOLO
        >>> model = YOLO("yolo11n-diffattn.yaml")
    """
    for name in autoload.WATCHED:
        attach(import_module(name))


def attach(module: ModuleType) -> None:
    """Add the twins, the look-up of bundled files, the folding and the text encoder to one of `autoload.WATCHED`.

    With the first comes the logging of lambda, which is among the default callbacks of ultralytics.

    Args:
        module (ModuleType): `ultralytics.nn.tasks`, `ultralytics.data.utils` or a trainer's, loaded.
    """
    with _lock:
        if module.__name__ == "ultralytics.data.utils":
            bundled.attach(module, "check_file")
            return
        if module.__name__ in autoload.TRAINERS:
            text_encoder.attach_trainer(module)
            return
        for name, row in MODULES.items():
            present, stock = (module.__dict__.get(x) for x in (name, row.like))
            if present is None or (isinstance(present, Twin) and present.stock is not stock):  # new, or reloaded
                twin = Twin(name, row, stock, vars(module))
                setattr(module, name, twin)  # a module of that name in a fork is left alone
        bundled.attach(module, "check_yaml", rows=tuple(MODULES))
        folding.attach(module)
        text_encoder.attach(module)
        lambdas.attach()
    for home in {row.build.partition(":")[0] for row in MODULES.values()}:
        import_module(home)  # puts its classes on torch's list for ULTRALYTICS_SAFE_LOAD


class Twin(type):
    """The type of a class that stands in ultralytics' globals for one of our modules."""

    row: Row
    stock: type | None
    names: dict[str, Any]  # of the module where the twin stands

    def __new__(mcs, name: str, row: Row, stock: type | None, names: dict[str, Any]):
        """Create the twin of `stock`; of nothing, where this ultralytics has no such module any more."""
        twin = super().__new__(mcs, name, (stock or nn.Module,), {"__module__": "ultralytics_diffattn"})
        twin.row, twin.stock, twin.names = row, stock, names
        return twin

    def __init__(cls, *_):
        """Take the arguments of `__new__`."""

    def __eq__(cls, other: object) -> bool:
        """Equal the stock module, so that sets and tuples that hold it seem to hold the twin."""
        return other is cls or (cls.stock is not None and other is cls.stock)

    def __hash__(cls) -> int:
        """Hash as the stock module does."""
        return hash(cls.stock)

    def __call__(cls, *args: object, **named: object) -> nn.Module:
        """Build our module from the arguments that `parse_model` gives, or say which row is wrong and why."""
        place = _Place.of_caller()
        require_ultralytics(cls.__name__)
        if cls.stock is None:
            raise RuntimeError(
                f"ultralytics {ultralytics_version()} has no module {cls.row.like} any more, which {cls.__name__} "
                f"builds on. {ADVICE}"
            )
        if not isinstance(place.repeats, int) or isinstance(place.repeats, bool):
            raise TypeError(f"repeats={place.repeats!r} must be an integer >= 1{place}.")
        given = (*args, named) if named else args
        if cls.row.missed is not None and place.c1 is not None:
            args = tuple(cls.row.missed(list(args), place))
        integers = [p for p in inspect.signature(cls.stock).parameters if p in {"c1", "c2", "n"}]
        first = args[: len(integers)]
        fits = len(args) >= len(integers) and all(isinstance(a, int) and not isinstance(a, bool) for a in first)
        unplaced = cls.row.missed is not None and place.c1 is None
        if named or unplaced or not fits or place.c1 not in {None, args[0]} or cls._has_branches_unknown(place):
            raise RuntimeError(
                f"ultralytics {ultralytics_version()} does not read rows of {cls.__name__} as it reads those of "
                f"{cls.row.like}: it gave the arguments {given}{place}. {ADVICE}"
            )
        try:
            return resolve_name(cls.row.build)(*args)
        except (TypeError, ValueError) as error:
            raise type(error)(f"{error}{place}") from error

    def _has_branches_unknown(cls, place: _Place) -> bool:
        """Return whether the parser singles the stock module out more often than the row of the table makes up for."""
        times: dict[str, int] = {}  # by the function's name: of one that a plugin has replaced, both may be there
        for f in {f.__code__ for f in cls.names.values() if isinstance(f, FunctionType)} | place.code:
            times[f.co_name] = max(times.get(f.co_name, 0), _singled_out(f, cls.row.like))
        return sum(times.values()) > (cls.row.missed is not None)


@functools.cache
def _singled_out(code: CodeType, name: str) -> int:
    """Return how often a function compares with a class by `is` or by its name, which a twin does not live up to."""
    steps = list(dis.get_instructions(code)) if name in (*code.co_names, *code.co_varnames) else []
    by_is = sum(s.opname == "IS_OP" and name in [x.argval for x in steps[i - 2 : i]] for i, s in enumerate(steps))
    inner = sum(_singled_out(c, name) for c in code.co_consts if isinstance(c, CodeType))
    return by_is + inner + sum(c == name or (isinstance(c, (frozenset, tuple)) and name in c) for c in code.co_consts)


class _Place(NamedTuple):
    """The row of a model YAML that is being built, as far as it can be told."""

    text: str = ""
    c1: int | None = None
    scale: str | None = None
    written: list[Any] | None = None
    repeats: Any = 1
    code: frozenset[CodeType] = frozenset()  # of the parser

    @classmethod
    def of_caller(cls) -> _Place:
        """Read the row from the frame of `parse_model`; know nothing where there is none."""
        frame: FrameType | None = sys._getframe(2)
        while frame and frame.f_code.co_name != "parse_model":
            frame = frame.f_back
        try:
            i, d, ch, f = (frame.f_locals[x] for x in ("i", "d", "ch", "f"))
            scale = d.get("scale") or next(iter(d.get("scales") or ()), None)  # as parse_model takes it
            scale = frame.f_locals.get("scale") or scale
            row = (d["backbone"] + d["head"])[i]
            return cls(f" (row {i} of the model YAML: {row})", ch[f], scale, row[3], row[1], frozenset({frame.f_code}))
        except (AttributeError, IndexError, KeyError, TypeError):  # AttributeError: no such frame
            return cls()

    def __str__(self) -> str:
        """Return the row, to stand at the end of a message."""
        return self.text
