"""What is refused before the first training: formats that are unknown, not for this machine, or lack a package."""

import re

import pytest

from ultralytics_diffattn.errors import MissingPackageError, UserError
from ultralytics_diffattn.evaluation import export_formats
from ultralytics_diffattn.evaluation.export_formats import Export, as_arguments, exports_of


@pytest.fixture
def installed(monkeypatch):
    """Have all packages installed but those that are added to the returned set."""
    missing = set()
    monkeypatch.setattr(export_formats, "find_spec", lambda name: None if name in missing else object())
    return missing


@pytest.mark.usefixtures("installed")
@pytest.mark.parametrize(
    ("int8", "half", "precisions"),
    [
        (False, False, ["float32"]),
        (True, False, ["int8"]),
        (False, True, ["float16"]),
        (True, True, ["int8", "float16"]),
    ],
)
def test_precisions(int8, half, precisions, monkeypatch):
    monkeypatch.setattr(export_formats, "_has", lambda kind, precision: True)
    exports = exports_of(["onnx", "openvino"], int8, half, on_cpu=True)
    assert exports == [Export(kind, precision) for kind in ("onnx", "openvino") for precision in precisions]
    switches = {name: True for name, asked in (("int8", int8), ("half", half)) if asked}
    assert as_arguments(exports) == {"formats": "onnx,openvino", **switches}


@pytest.mark.usefixtures("installed")
@pytest.mark.parametrize(
    ("formats", "precision", "message"),
    [
        (["onxx"], {}, "formats=onxx is unknown. Did you mean onnx"),
        (["onnx", "zzz"], {}, "formats=zzz is unknown. Allowed: torchscript, onnx, openvino"),
        (["imx"], {}, "formats=imx is for special hardware"),
        (
            ["torchscript"],
            {"int8": True},
            "formats=torchscript int8=True: this version of ultralytics does not export torchscript in int8",
        ),
        (["engine"], {}, "engine float32 needs an NVIDIA GPU"),
    ],
)
def test_refused(formats, precision, message):
    with pytest.raises(UserError, match=re.escape(message)):
        exports_of(formats, **{"int8": False, "half": False, "on_cpu": True, **precision})


@pytest.mark.parametrize(
    ("kind", "int8", "lacking", "message"),
    [
        ("onnx", False, {"onnxruntime"}, "needs onnxruntime, which is not installed: pip install onnxruntime"),
        ("ncnn", False, {"ncnn", "pnnx"}, "needs ncnn and pnnx, which are not installed: pip install ncnn pnnx"),
        ("openvino", True, {"nncf"}, "formats=openvino in int8 needs nncf, which is not installed: pip install nncf"),
        ("openvino", False, {"nncf"}, None),
        ("paddle", False, {"paddle"}, "pip install paddlepaddle"),
    ],
)  # fmt: skip
def test_missing_packages_are_named(kind, int8, lacking, message, installed):
    installed |= lacking
    if message is None:
        assert exports_of([kind], int8, half=False, on_cpu=True)
    else:
        with pytest.raises(MissingPackageError, match=re.escape(message)):
            exports_of([kind], int8, half=False, on_cpu=True)


def test_every_format_of_ultralytics_is_measured_or_refused():
    """And none of the table is misspelt: each is one of some release."""
    from ultralytics.engine.exporter import export_formats as table

    known = {*table()["Argument"][1:]}
    assert {"torchscript", "onnx", "openvino"} <= known & {*export_formats.PACKAGES}
    assert {*export_formats.PACKAGES} - known <= {"tflite", "litert", "executorch", "mnn", "ncnn"}
    assert {*export_formats.FOR_INT8} <= {*export_formats.PACKAGES}
