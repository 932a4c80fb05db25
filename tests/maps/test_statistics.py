"""statistics.py: shares, entropy and sparsity of maps against their definitions."""

import math

import pytest
import torch

from ultralytics_diffattn.maps.statistics import map_statistics

ONE = torch.zeros(3, 4)
ONE[1, 2] = 1
LEFT = torch.tensor([[1.0, 1, 0, 0]] * 3)
MAPS = [  # a map, the cells inside, and share inside, entropy, sparsity
    (torch.full((3, 4), 1 / 12), LEFT, (0.5, 1, 0), "uniform"),
    (ONE, LEFT, (0, 0, 1), "one token, outside"),
    (ONE, 1 - LEFT, (1, 0, 1), "one token, inside"),
    (0.2 * ONE, 0.5 * (1 - LEFT), (0.5, 0, 1), "mass need not be 1, and half a cell counts half"),
    (LEFT - (1 - LEFT), LEFT, (0.5, 1, 0), "negative weights count as mass"),
    (
        LEFT / 6,
        LEFT,
        (1, math.log(6) / math.log(12), (math.sqrt(12) - math.sqrt(6)) / (math.sqrt(12) - 1)),
        "half of it",
    ),
    (torch.zeros(3, 4), LEFT, (0, 0, None), "nothing at all"),
    (torch.ones(1, 1), torch.ones(1, 1), (1, 0, 1), "a single token"),
]


@pytest.mark.parametrize(("m", "cover", "expected"), [pytest.param(m, c, e, id=i) for m, c, e, i in MAPS])
def test_map_statistics(m, cover, expected):
    statistics = map_statistics(m.double(), cover.double())
    assert statistics.isfinite().all()
    for value, exact in zip(statistics.tolist(), expected, strict=True):
        assert exact is None or value == pytest.approx(exact, abs=1e-6)
