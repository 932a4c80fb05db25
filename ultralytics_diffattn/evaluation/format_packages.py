# Ultralytics DiffAttn - AGPL-3.0 License
"""Which packages each format of an export needs, as ultralytics asks for them; scripts/formats.py builds them all."""

from __future__ import annotations

from typing import NamedTuple


class Format(NamedTuple):
    """What a format of ultralytics needs.

    Attributes:
        packages (tuple[str, ...]): Requirements, as pip reads them.
        bare (tuple[str, ...]): Those that are installed without what they themselves require.
        shown (tuple[str, ...]): Packages whose versions tell one export from another.
        calibrates (bool): Whether it is int8 alone, and needs `data=`.
    """

    packages: tuple[str, ...] = ()
    bare: tuple[str, ...] = ()
    shown: tuple[str, ...] = ()
    calibrates: bool = False


# As ultralytics asks for them when it exports: engine/exporter.py and utils/export/.
TENSORFLOW = "tensorflow<=2.19.0", "tf_keras<=2.19.0", "sng4onnx>=1.0.1", "onnx_graphsurgeon>=0.3.26", "ai-edge-litert"
FORMATS = {
    "torchscript": Format(shown=("torch",)),
    "onnx": Format(("onnx", "onnxruntime", "onnxslim"), shown=("onnx", "onnxruntime")),
    "openvino": Format(("openvino",), shown=("openvino",)),
    "litert": Format(("litert-torch>=0.10.0", "ai-edge-litert>=2.3.0"), shown=("litert-torch", "ai-edge-litert")),
    "saved_model": Format(TENSORFLOW, bare=("onnx2tf>=1.26.3,<1.29.0",), shown=("tensorflow", "onnx2tf")),
    "pb": Format(TENSORFLOW, bare=("onnx2tf>=1.26.3,<1.29.0",), shown=("tensorflow", "onnx2tf")),
    "ncnn": Format(("pnnx==20260526",), bare=("ncnn",), shown=("ncnn", "pnnx")),
    "mnn": Format(("MNN>=2.9.6",), shown=("MNN",)),
    "paddle": Format(("paddlepaddle>=3.0.0,<3.3.0", "x2paddle", "six"), shown=("paddlepaddle", "x2paddle")),
    "executorch": Format(("executorch",), shown=("executorch",)),
    "coreml": Format(("coremltools>=9.0", "numpy<=2.3.5"), shown=("coremltools",)),
    "rknn": Format(
        ("rknn-toolkit2>=2.3.2,<2.5", "setuptools<82", "onnx>=1.16.1,<1.19.0"),  # which brings torch 2.4
        bare=("torchvision==0.19.0",),
        shown=("rknn-toolkit2",),
    ),
    "qnn": Format(("onnxruntime-qnn",), shown=("onnxruntime-qnn",), calibrates=True),
    "xilinx": Format(("amd-quark>=0.13.0,<0.14.0",), shown=("amd-quark",), calibrates=True),
    "deepx": Format(
        ("onnx2torch", "pycryptodome", "ordered_set", "sortedcontainers", "Rtree", "pybind11"),
        bare=("dx_com>=2.4.1",),  # which wants another OpenCV
        shown=("dx_com",),
        calibrates=True,
    ),
    "coreai": Format(("coreai-torch>=0.4.3",), shown=("coreai-torch",)),
}


def pip_command(kind: str) -> str:
    """Return the command that installs what a format needs.

    Args:
        kind (str): A key of `FORMATS`.

    Returns:
        (str): A line for a shell.

    Examples:
        >>> pip_command("ncnn")
        'pip install "pnnx==20260526" && pip install --no-deps "ncnn"'
    """
    wanted = FORMATS[kind]
    parts = (("pip install", wanted.packages), ("pip install --no-deps", wanted.bare))
    return " && ".join(" ".join([pip, *(f'"{name}"' for name in names)]) for pip, names in parts if names)
