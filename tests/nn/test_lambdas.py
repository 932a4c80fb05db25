"""How lambda starts: the schedule, and the vectors drawn as published."""

import math

import pytest
import torch

from ultralytics_diffattn import DiffAttention, lambda_init_schedule


@pytest.mark.parametrize(("depth", "expected"), [(1, 0.2), (2, 0.8 - 0.6 * math.exp(-0.3)), (40, 0.8)])
def test_schedule(depth, expected):
    assert lambda_init_schedule(depth) == pytest.approx(expected, abs=1e-5)
    assert DiffAttention(8, 2, lambda_init="schedule", depth=depth).lambda_init == pytest.approx(expected, abs=1e-5)


def test_lambda_starts_as_published():
    torch.manual_seed(0)
    module = DiffAttention(4096, 8)
    for name in ("lambda_q1", "lambda_k1", "lambda_q2", "lambda_k2"):
        vector = getattr(module, name)
        assert vector.mean().abs() < 0.02
        assert 0.08 < vector.std() < 0.12
    assert (module.diff_norm.weight == 1).all()
