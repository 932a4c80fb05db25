"""gradient_norms.py: norms against those that ultralytics clips, spikes and summaries against made-up series."""

import math

import pytest
import torch

from ultralytics_diffattn.numerics import gradient_norms
from ultralytics_diffattn.numerics.gradient_norms import PartSummary, Step, read_steps, spikes, summarize, write_steps

ONES = [1.0] * 50
SERIES = [  # norms, the first step behind the warm-up, spikes
    (ONES, 0, 0),  # nothing has a window
    ([*ONES, 5.0], 0, 0),  # not over
    ([*ONES, 5.1, 1.0, 6.0], 0, 2),
    ([*ONES, 5.1], 1, 0),  # its window would begin in the warm-up
    ([99.0, *ONES, 5.1], 1, 1),
    ([*[0.2] * 50, *[1.1] * 50], 0, 25),  # a new level, until it is half of the window
    ([*ONES, math.nan], 0, 1),
    ([*ONES, math.inf], 0, 1),
]


@pytest.mark.parametrize(("norms", "first", "expected"), SERIES)
def test_spikes(norms, first, expected):
    assert spikes(norms, first) == expected


def test_summary_of_a_training():
    steps = [Step(0, 900.0, 1.0)] * 7 + [Step(1, 4.0, 1.0)] * 51 + [Step(2, 24.0, 1.0)]
    summary = summarize(steps, 1)
    assert (summary.steps, summary.clipped, summary.lam, summary.rms) == (2, 0.5, None, None)
    assert summary.parts == {
        "total": PartSummary(14.0, 6.0, (1, 1, 1)),
        "attention": PartSummary(1.0, 1.0, (0, 0, 0)),
        "lambda_vectors": None,
        "gain": None,
    }
    assert summarize(steps[:20], 1) is None


def test_lambda_and_head_norm_of_a_training():
    steps = [Step(0, 1.0, lam=0.2 + i / 1000, rms_min=1.0 + i, rms_median=2.0 + i) for i in range(51)]
    summary = summarize(steps, 0)
    assert summary.lam == pytest.approx((0.2, 0.25))
    assert summary.rms == (1.0, 27.0)


def test_steps_are_read_as_they_were_written(tmp_path):
    steps = [Step(0, 1.5), Step(1, math.inf, 0.1, 0.2, 0.3, 0.4, 0.5, 0.6)]
    write_steps(tmp_path / "norms.csv", steps)
    assert read_steps(tmp_path / "norms.csv") == steps


def test_norms_are_those_before_clipping(tiny, tmp_path, monkeypatch):
    """What `clip_grad_norm_` returns is the oracle; a second call trains nothing again."""
    clipped, clip = [], torch.nn.utils.clip_grad_norm_

    def recording(*args, **kwargs):
        clipped.append(clip(*args, **kwargs).item())
        return torch.tensor(clipped[-1])

    monkeypatch.setattr(torch.nn.utils, "clip_grad_norm_", recording)
    args = {"data": str(tiny), "project": str(tmp_path), "epochs": 1, "imgsz": 64, "batch": 4, "nbs": 4, "workers": 0}
    args |= {"plots": False, "val": False, "device": "cpu"}
    steps, again = (gradient_norms.record_training("yolo11n-diffattn.yaml", 3, **args) for _ in range(2))
    assert steps == again
    assert [step.total for step in steps] == pytest.approx(clipped, rel=1e-4)
    assert len(steps) == 2
    for step in steps:
        parts = step.attention, step.lambda_vectors, step.gain
        assert 0 < math.hypot(*parts) < step.total
        assert min(parts) > 0
        assert 1e-5**0.5 < step.rms_min < step.rms_median
