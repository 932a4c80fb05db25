# Ultralytics DiffAttn - AGPL-3.0 License
"""OpenVINO held to float32, so that an export is judged by its graph and not by the processor that it runs on."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from importlib.util import find_spec
from typing import Any


@contextmanager
def openvino_in_float32() -> Iterator[None]:
    """Have OpenVINO compute models that are compiled meanwhile in float32.

    A processor with AMX makes it compute in bfloat16, whatever the file holds, and ultralytics has no argument against
    it; on Windows and 64-bit ARM it asks for float32 itself, with the same property.

    Yields:
        (None): Nothing; without OpenVINO nothing changes.

    References:
        OpenVINO, `INFERENCE_PRECISION_HINT`; ultralytics/nn/backends/openvino.py.
    """
    if not find_spec("openvino"):
        yield
        return
    from openvino import Core

    stock = Core.compile_model

    def compile_model(core: Any, *args: Any, **kwargs: Any) -> Any:
        for device in core.available_devices:
            if "INFERENCE_PRECISION_HINT" in core.get_property(device, "SUPPORTED_PROPERTIES"):
                core.set_property(device, {"INFERENCE_PRECISION_HINT": "f32"})
        return stock(core, *args, **kwargs)

    Core.compile_model = compile_model
    try:
        yield
    finally:
        Core.compile_model = stock
