# Ultralytics DiffAttn - AGPL-3.0 License
"""What a measurement depends on: versions and hardware."""

from __future__ import annotations

import os
import platform
from importlib.metadata import PackageNotFoundError, version
from typing import TypedDict

import torch

from ultralytics_diffattn.version import __version__


class Hardware(TypedDict):
    """The machine of a measurement."""

    cpu: str
    cores: int
    gpu: str
    system: str


def versions() -> dict[str, str]:
    """Return the versions that a result depends on.

    Returns:
        (dict[str, str]): By the name of the package.

    Examples:
        >>> list(versions())
        ['ultralytics', 'ultralytics-diffattn', 'torch', 'python']
    """
    import ultralytics

    return {
        "ultralytics": ultralytics.__version__,
        "ultralytics-diffattn": __version__,
        "torch": torch.__version__,
        "python": platform.python_version(),
    }


def hardware() -> Hardware:
    """Return the machine that this process runs on.

    Returns:
        (Hardware): Name of the processor, number of its logical cores, name of the GPU or "none", operating system.

    Examples:
        >>> sorted(hardware())
        ['cores', 'cpu', 'gpu', 'system']
    """
    from ultralytics.utils.torch_utils import get_cpu_info

    gpu = torch.cuda.get_device_name() if torch.cuda.is_available() else "none"
    return {"cpu": get_cpu_info(), "cores": os.cpu_count() or 0, "gpu": gpu, "system": platform.platform()}


def optional_versions() -> dict[str, str]:
    """Return the versions of the packages that only some benchmarks need.

    Returns:
        (dict[str, str]): By the name of the package; "not installed" for a missing one.
    """
    installed = {}
    for name in ("timm", "onnxruntime", "openvino"):
        try:
            installed[name] = version(name)
        except PackageNotFoundError:
            installed[name] = "not installed"
    return installed
