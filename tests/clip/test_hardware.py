"""clip/hardware.py: a CPU, GPUs, processes of torchrun, and a GPU that does not exist."""

import pytest
import torch

from ultralytics_diffattn.clip.hardware import choose_hardware
from ultralytics_diffattn.errors import UserError


@pytest.mark.parametrize(
    ("device", "environment", "devices", "nodes"),
    [
        ("cpu", {}, 1, None),
        (None, {"LOCAL_WORLD_SIZE": "2", "WORLD_SIZE": "2"}, 2, 1),
        ("cpu", {"LOCAL_WORLD_SIZE": "2", "WORLD_SIZE": "4"}, 2, 2),
    ],
)
def test_hardware(device, environment, devices, nodes, monkeypatch):
    for name, value in environment.items():
        monkeypatch.setenv(name, value)
    hardware = choose_hardware(device, amp=True)
    assert hardware["devices"] == devices
    assert hardware.get("num_nodes") == nodes


def test_no_gpu(monkeypatch):
    monkeypatch.setattr(torch.cuda, "is_available", lambda: False)
    monkeypatch.setattr(torch.cuda, "device_count", lambda: 0)
    with pytest.raises(UserError, match="Invalid CUDA"):
        choose_hardware(0, amp=True)


@pytest.mark.parametrize(("device", "devices"), [(None, "auto"), (0, [0]), ("0,1", [0, 1]), ((1, 2), [1, 2])])
def test_hardware_with_gpus(device, devices, monkeypatch):
    monkeypatch.setattr(torch.cuda, "is_available", lambda: True)
    assert choose_hardware(device, amp=True) == {"accelerator": "gpu", "precision": "16-mixed", "devices": devices}
    assert choose_hardware(device, amp=False)["precision"] == "32-true"
