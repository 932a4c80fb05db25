# Ultralytics DiffAttn - AGPL-3.0 License
"""The registry of modules: which names rows of a model YAML may have besides ultralytics' own, and how they are read.

Which arguments a row gets, `parse_model` decides by membership in sets of stock classes. An entry names the stock
module whose rows it resembles; twins.py makes it count as that one. Ours (module_table.py) and users' are added alike.
"""

from __future__ import annotations

from typing import NamedTuple

from ultralytics_diffattn.plugin.signatures import BRANCHES, PLAIN, Adjust


class Row(NamedTuple):
    """How the rows of one module are read."""

    like: str  # stock module that parse_model gives the same arguments; "" for a module that it does not know
    build: str  # what those arguments are passed to, "module:callable"
    # What parse_model does to the arguments of that class alone, or what a plain signature does
    adjust: Adjust | None = None
    signature: str = ""  # where it is a plain one
    source: str = ""  # of a user's module, the package or file that it comes from; "" for ours

    @property
    def described(self) -> str:
        """What the rows are like, for messages."""
        return self.signature or f"those of {self.like}"


MODULES: dict[str, Row] = {}  # by name in a YAML


def add(build: str, like: str, name: str = "", source: str = "") -> str:
    """Add a module to the registry, or replace its entry, without a look at the module itself.

    Args:
        build (str): What builds it, "package.module:Class".
        like (str): Stock module whose rows it resembles, or one of the signatures in `PLAIN`.
        name (str): In a YAML; by default that of the class.
        source (str): The package or file, of a user's module.

    Returns:
        (str): The name.

    Examples:
        >>> add("my_blocks:CBAM", like="(c1, *args)"), MODULES.pop("CBAM").described
        ('CBAM', '(c1, *args)')
    """
    name = name or build.rpartition(":")[2]
    if like in PLAIN:
        MODULES[name] = Row(PLAIN[like].like, build, PLAIN[like].adjust, like, source)
    else:
        MODULES[name] = Row(like, build, BRANCHES.get(like), source=source)
    return name


def row_of(cls: type) -> Row | None:
    """Return the entry that builds a class, or None.

    Args:
        cls (type): Of a module in a model.

    Returns:
        (Row | None): The entry.

    Examples:
        >>> row_of(int) is None
        True
    """
    build = f"{cls.__module__}:{cls.__qualname__}"
    return next((row for row in MODULES.values() if row.build == build), None)
