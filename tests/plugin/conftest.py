"""A user's file with modules, and a registry that is as before after each test."""

import os
import sys

import pytest
from ultralytics.nn import tasks

from ultralytics_diffattn.plugin import user_files, user_modules
from ultralytics_diffattn.plugin.registry import MODULES
from ultralytics_diffattn.plugin.twins import Twin

BLOCKS = """
import torch
from torch import nn

from ultralytics_diffattn import register


class Gate(nn.Module):
    def __init__(self, channels):
        super().__init__()
        self.conv = nn.Conv2d(channels, channels, 1)

    def forward(self, x):
        return x * self.conv(x).sigmoid()


@register(like="Conv")
class Mixer(nn.Module):
    def __init__(self, c1, c2, k=1):
        super().__init__()
        self.conv = nn.Conv2d(c1, c2, k, padding=k // 2)
        self.gate = Gate(c2)

    def forward(self, x):
        return self.gate(self.conv(x))


@register(like="(c1, *args)")
class Attend(nn.Module):
    def __init__(self, c1, k=1):
        super().__init__()
        self.gate = Gate(c1)
        self.k = k

    def forward(self, x):
        return self.gate(x)


@register(like="(*args)")
class Scale(nn.Module):
    def __init__(self, factor=2.0):
        super().__init__()
        self.factor = factor

    def forward(self, x):
        return x * self.factor


@register(like="(channels, *args)", name="Join")
class GatedConcat(nn.Module):
    def __init__(self, channels, power=1):
        super().__init__()
        self.weights = nn.Parameter(torch.full((len(channels),), 0.5))
        self.sum, self.power = sum(channels), power

    def forward(self, xs):
        return torch.cat([w**self.power * x for w, x in zip(self.weights, xs)], 1)


@register(like="C3k2")
class Deep(nn.Module):
    def __init__(self, c1, c2, n=1, c3k=False, e=0.5):
        super().__init__()
        self.convs = nn.Sequential(*(nn.Conv2d(c1 if i == 0 else c2, c2, 1) for i in range(n)))
        self.c3k = c3k

    def forward(self, x):
        return self.convs(x)
"""
NAMES = "Mixer", "Attend", "Scale", "Join", "Deep"


@pytest.fixture(autouse=True)
def own_registry(tmp_path, monkeypatch):
    """Undo what a test registers."""
    rows, names, modules = dict(MODULES), set(vars(tasks)), set(sys.modules)
    monkeypatch.setenv(user_files.PATHS, "")
    monkeypatch.setenv(user_files.INHERITED, "[]")
    monkeypatch.setattr(user_modules, "_failures", {})
    yield
    MODULES.clear()
    MODULES.update(rows)
    for name in set(vars(tasks)) - names:
        if isinstance(vars(tasks)[name], Twin):
            delattr(tasks, name)
    for name in set(sys.modules) - modules:
        if str(tmp_path) in str(getattr(sys.modules[name], "__file__", "")):  # a user's; what else was imported stays
            del sys.modules[name]


@pytest.fixture
def blocks(tmp_path):
    """Return a file with five modules of a user's."""
    file = tmp_path / "my_blocks.py"
    file.write_text(BLOCKS)
    return file


@pytest.fixture
def known(blocks, monkeypatch):
    """Make the file known, as a user does."""
    monkeypatch.setenv(user_files.PATHS, os.fspath(blocks))
    return blocks
