# Ultralytics DiffAttn - AGPL-3.0 License
"""What a checkpoint needs: each module of a user's carries a note of where its class comes from.

The note is a line of JSON in an attribute, so that it stands in the file as plain text and can be read without
executing anything of it.
"""

from __future__ import annotations

import importlib.util
import json
import sys
import zipfile
from collections.abc import Iterable
from importlib.metadata import PackageNotFoundError, version
from pathlib import Path
from typing import NamedTuple

from torch import nn

from ultralytics_diffattn.errors import MissingPackageError, UserError
from ultralytics_diffattn.plugin import user_files
from ultralytics_diffattn.plugin.registry import Row

ATTRIBUTE = "diffattn_needs"  # of a module, and the first key of the note
LONGEST = 10_000  # characters of a note, with two long paths


class Need(NamedTuple):
    """Where the class of a module comes from.

    Attributes:
        name (str): In model YAMLs.
        build (str): "package.module:Class".
        like (str): What its rows are read like.
        source (str): The package with its version, or the file.
        sha256 (str): Of the file; empty for a package.
    """

    name: str
    build: str
    like: str
    source: str
    sha256: str = ""

    @property
    def module(self) -> str:
        """The name that is imported first."""
        return self.build.partition(":")[0].partition(".")[0]


def note(module: nn.Module, name: str, row: Row) -> None:
    """Leave in a module of a user's the note of where its class comes from.

    Args:
        module (nn.Module): Just built.
        name (str): Its name in the YAML.
        row (Row): Its entry in the registry.
    """
    need = Need(name, row.build, row.signature or row.like, row.source, user_files.digest(row.source))
    text = json.dumps({ATTRIBUTE: need.build, **need._asdict()})
    vars(module)[ATTRIBUTE] = text


def of(model: nn.Module) -> list[Need]:
    """Return what a model needs besides ultralytics and this package.

    Args:
        model (nn.Module): Any model.

    Returns:
        (list[Need]): Each once.

    Examples:
        >>> of(nn.Sequential(nn.ReLU()))
        []
    """
    texts = [vars(module)[ATTRIBUTE] for module in model.modules() if ATTRIBUTE in vars(module)]
    return _parsed(str(text).encode() for text in texts)


def read(weights: str | Path) -> list[Need]:
    """Return what a checkpoint needs besides ultralytics and this package, without executing anything of it.

    Args:
        weights (str | Path): The file; nothing is needed where it is none, or not one of PyTorch's.

    Returns:
        (list[Need]): Each once.

    Examples:
        >>> read("no-such-file.pt")
        []
    """
    if not Path(weights).is_file() or not zipfile.is_zipfile(weights):
        return []
    with zipfile.ZipFile(weights) as archive:
        return _parsed(archive.read(name) for name in archive.namelist() if name.rpartition("/")[2] == "data.pkl")


def _parsed(texts: Iterable[bytes]) -> list[Need]:
    """Return the notes that stand in texts, each once."""
    start = b'{"' + ATTRIBUTE.encode() + b'": '
    found: dict[Need, None] = {}
    for part in (part for text in texts for part in text.split(start)[1:]):
        try:
            values, _ = json.JSONDecoder().raw_decode((start + part[:LONGEST]).decode(errors="replace"))
            fields = (str(values[field]) for field in Need._fields)
            found[Need(*("".join(c for c in text if c.isprintable()) for text in fields))] = None
        except (ValueError, KeyError, TypeError):  # not a note of ours
            continue
    return list(found)


def check(weights: str | Path) -> list[Need]:
    """Return what a checkpoint needs, or raise if it is missing; log where a file has changed since.

    Args:
        weights (str | Path): The file.

    Returns:
        (list[Need]): What it needs.

    Raises:
        MissingPackageError: With the package or the file.
        UserError: If Python would import another file than the known one.
    """
    found = read(weights)
    for need in {n.module: n for n in found}.values():
        file = _file_of(need.module)
        if file is None:
            raise MissingPackageError(
                f"{weights} needs {_missing(need, [n for n in found if n.module == need.module])}"
            )
        hidden = [user_files.hidden_by(known) for known in user_files.known() if known.name == need.module]
        if hidden and all(hidden):  # else it is one of the known
            raise UserError(f"{weights} needs {need.module}: {hidden[0]}.")
        user_files.warn_if_changed(file, need.sha256, f"since {weights} was made")
        if not need.sha256:
            _warn_if_other_version(need, weights)
    return found


def _warn_if_other_version(need: Need, weights: str | Path) -> None:
    """Log once where another version of a package is installed than the one that a checkpoint was made with."""
    package, _, then = need.source.rpartition(" ")
    try:
        now = version(package)
    except (PackageNotFoundError, ValueError):
        return
    if now != then:
        message = f"{weights} was made with {need.source}, and {package} {now} is installed: it is used as it is now."
        user_files.warn_once((package, then), message)


def _file_of(module: str) -> str | None:
    """Return the file that a module is imported from, without importing it; None where there is none."""
    if module in sys.modules:
        return str(getattr(sys.modules[module], "__file__", None) or "")
    try:
        spec = importlib.util.find_spec(module)
    except (ImportError, ValueError):
        return None
    return None if spec is None else str(spec.origin or "")


def _missing(need: Need, alike: list[Need]) -> str:
    """Return what is missing, and what to do."""
    versions = {user_files.digest(f.path): f.path for f in user_files.known() if f.name == need.module}
    versions.pop("", None)
    names = ", ".join(dict.fromkeys(n.build.partition(":")[2] for n in alike))
    if len(versions) > 1:
        return f"{names} of {need.module}, and {' and '.join(versions.values())} both have that name: keep one of them."
    if need.sha256:
        file = Path(need.source).name
        return (
            f"{names} of the file {file} (it was {need.source}, sha256 {need.sha256[:12]}), which no Python here "
            f"knows: get the file and run `diffattn modules add {file}`, or set DIFFATTN_MODULES to its path."
        )
    return (
        f"{names} of the package {need.source}, which is not installed here: "
        "install it, if you trust where the checkpoint comes from."
    )
