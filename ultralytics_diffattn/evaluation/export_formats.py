# Ultralytics DiffAttn - AGPL-3.0 License
"""The exports that a model can be measured in, and whether this machine and this ultralytics can make them."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from importlib.util import find_spec
from typing import Any, NamedTuple

from ultralytics_diffattn.errors import MissingPackageError, UserError
from ultralytics_diffattn.evaluation.format_packages import FORMATS
from ultralytics_diffattn.suggestions import did_you_mean

# What ultralytics' export and its inference import, by pip's name. Formats that it can only make for other hardware
# than a computer's are not here.
AS_LISTED = "onnx", "openvino", "coreml", "saved_model", "pb", "litert", "paddle", "mnn", "ncnn", "executorch"
PACKAGES: dict[str, tuple[str, ...]] = {
    "torchscript": (),
    **{kind: FORMATS[kind].shown for kind in AS_LISTED},
    "engine": ("onnx", "tensorrt"),
    "tflite": FORMATS["saved_model"].shown,
}
FOR_INT8 = {"openvino": ("nncf",), "litert": ("ai-edge-quantizer",), "coreml": ("scikit-learn",)}
MODULES = {"paddlepaddle": "paddle", "scikit-learn": "sklearn"}  # where pip's name is another
ON_GPU = "engine", "torchscript"  # the others are made and measured on the CPU
PRECISIONS = {"int8": ("INT8_FORMATS", "int8"), "float16": ("FP16_FORMATS", "half")}  # what ultralytics calls them


class Export(NamedTuple):
    """An export of a model.

    Attributes:
        kind (str): Ultralytics' name of the format.
        precision (str): "float32", "float16" or "int8".
    """

    kind: str
    precision: str

    @property
    def title(self) -> str:
        """Return how messages and tables call it."""
        return f"{self.kind} {self.precision}"


def exports_of(formats: Iterable[str], int8: bool, half: bool, on_cpu: bool) -> list[Export]:
    """Return the exports that are asked for, if all of them can be made here.

    Args:
        formats (Iterable[str]): Ultralytics' names.
        int8 (bool): Whether each is made in int8.
        half (bool): Whether each is made in float16; without both it is made in float32.
        on_cpu (bool): Whether there is no GPU to use.

    Returns:
        (list[Export]): Format by format.

    Raises:
        UserError: If a format is unknown, is not for this machine, or has not such a precision.
        MissingPackageError: If a package is missing; nothing is installed.

    Examples:
        >>> [export.title for export in exports_of(["torchscript"], int8=False, half=False, on_cpu=True)]
        ['torchscript float32']
    """
    precisions = [name for name, wanted in (("int8", int8), ("float16", half)) if wanted] or ["float32"]
    exports = [Export(kind, precision) for kind in formats for precision in precisions]
    for export in exports:
        _check(export, on_cpu)
    return exports


def as_arguments(exports: Sequence[Export]) -> dict[str, Any]:
    """Return the arguments of `diffattn compare` that ask for some exports.

    Args:
        exports (Sequence[Export]): From `exports_of`.

    Returns:
        (dict[str, Any]): Empty for none.

    Examples:
        >>> as_arguments([Export("onnx", "int8"), Export("openvino", "int8")])
        {'formats': 'onnx,openvino', 'int8': True}
    """
    if not exports:
        return {}
    precisions = {export.precision for export in exports}
    switches = {argument: True for name, (_, argument) in PRECISIONS.items() if name in precisions}
    return {"formats": ",".join(dict.fromkeys(export.kind for export in exports)), **switches}


def _check(export: Export, on_cpu: bool) -> None:
    """Raise unless an export can be made and measured here."""
    from ultralytics.engine.exporter import export_formats
    from ultralytics.utils import MACOS

    kind, precision = export
    known = export_formats()["Argument"][1:]
    measured = [name for name in known if name in PACKAGES]
    if kind not in known:
        raise UserError(f"formats={kind} is unknown.{did_you_mean(kind, known)} Allowed: {', '.join(measured)}.")
    if kind not in measured:
        raise UserError(
            f"formats={kind} is for special hardware, and cannot be measured on this machine. Allowed: "
            f"{', '.join(measured)}."
        )
    if precision != "float32" and not _has(kind, precision):
        able = [name for name in measured if _has(name, precision)]
        switch = PRECISIONS[precision][1]
        raise UserError(
            f"formats={kind} {switch}=True: this version of ultralytics does not export {kind} in {precision}. Leave "
            f"one of the two out; it exports in {precision}: {', '.join(able)}."
        )
    if on_cpu and (kind == "engine" or export == ("torchscript", "float16")):
        raise UserError(
            f"{export.title} needs an NVIDIA GPU, but this comparison uses none: leave {kind} out of formats=."
        )
    if kind == "coreml" and not MACOS:
        raise UserError(
            "formats=coreml needs macOS, since Core ML models run only there: leave coreml out of formats=."
        )
    _check_packages(export)


def _check_packages(export: Export) -> None:
    """Raise if a package is missing, which ultralytics would install unasked in the middle of the comparison."""
    kind, precision = export
    needed = [*PACKAGES[kind], *(FOR_INT8.get(kind, ()) if precision == "int8" else ())]
    missing = [name for name in needed if not find_spec(MODULES.get(name, name.replace("-", "_")))]
    if missing:
        raise MissingPackageError(
            f"formats={kind} in {precision} needs {' and '.join(missing)}, which "
            f"{'is' if len(missing) == 1 else 'are'} not installed: pip install {' '.join(missing)}"
        )


def _has(kind: str, precision: str) -> bool:
    """Return whether the installed ultralytics exports to a format in a precision."""
    from ultralytics.engine import exporter

    formats, argument = PRECISIONS[precision]
    if hasattr(exporter, formats):
        return kind in getattr(exporter, formats)
    if precision == "float16" and kind in ("onnx", "torchscript"):
        return False  # on a CPU, releases before 8.4 say that they make float32 of it, and go on
    table = exporter.export_formats()
    return argument in dict(zip(table["Argument"], table["Arguments"], strict=True))[kind]
