# Ultralytics DiffAttn - AGPL-3.0 License
"""What a measurement depends on: versions and hardware."""

from __future__ import annotations

import os
import platform
from importlib.metadata import PackageNotFoundError, version

import torch

from ultralytics_diffattn.version import __version__


def versions() -> dict[str, str]:
    """Return the versions that a result depends on.

    Returns:
        (dict[str, str]): By the name of the package.
    """
    import ultralytics

    return {
        "ultralytics": ultralytics.__version__,
        "ultralytics-diffattn": __version__,
        "torch": torch.__version__,
        "python": platform.python_version(),
    }


def hardware() -> dict[str, str | int]:
    """Return what the measurements depend on.

    Returns:
        (dict[str, str | int]): Processor, number of cores, GPU, system.
    """
    from ultralytics.utils.torch_utils import get_cpu_info

    gpu = torch.cuda.get_device_name() if torch.cuda.is_available() else "none"
    return {"cpu": get_cpu_info(), "cores": os.cpu_count() or 0, "gpu": gpu, "system": platform.platform()}


def optional_versions() -> dict[str, str]:
    """Return the versions of what some groups need."""
    found = {}
    for name in ("timm", "onnxruntime", "openvino"):
        try:
            found[name] = version(name)
        except PackageNotFoundError:
            found[name] = "not installed"
    return found
