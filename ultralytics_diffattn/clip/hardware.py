# Ultralytics DiffAttn - AGPL-3.0 License
"""What Lightning's trainer runs on, out of ultralytics' `device=` and of what torchrun has set."""

from __future__ import annotations

import os
from typing import Any, TypedDict

import torch
from ultralytics.utils.torch_utils import select_device

from ultralytics_diffattn.errors import as_user_errors


class Hardware(TypedDict, total=False):
    """The arguments of `lightning.Trainer` that say what it runs on."""

    accelerator: str
    precision: str
    devices: int | str | list[int]
    num_nodes: int
    strategy: str


def choose_hardware(device: Any, amp: bool) -> Hardware:
    """Return what Lightning's trainer is to run on.

    Args:
        device (Any): As ultralytics has it: `cpu`, 0, `0,1`, or None for all GPUs. Under torchrun, which starts the
            processes, only `cpu` counts.
        amp (bool): Whether GPUs may compute in float16.

    Returns:
        (Hardware): Arguments of `lightning.Trainer`.

    Raises:
        UserError: If a GPU is asked for and there is none.
    """
    cuda = torch.cuda.is_available() and device != "cpu"
    hardware: Hardware = {
        "accelerator": "gpu" if cuda else "cpu",
        "precision": "16-mixed" if cuda and amp else "32-true",
    }
    if "LOCAL_WORLD_SIZE" in os.environ:  # torchrun's
        on_this_machine, processes = int(os.environ["LOCAL_WORLD_SIZE"]), int(os.environ["WORLD_SIZE"])
        return {
            **hardware,
            "devices": on_this_machine,
            "num_nodes": processes // on_this_machine,
            "strategy": "ddp",
        }
    if cuda:
        every = device in (None, "")
        return {**hardware, "devices": "auto" if every else [int(i) for i in str(device).strip("()[]").split(",")]}
    if device not in (None, "", "cpu"):
        with as_user_errors(ValueError):
            select_device(device)  # raises, and says which there are
    return {**hardware, "devices": 1}
