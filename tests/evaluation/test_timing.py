"""Turns, ratios with their spread, and peak memory of allocations that are known."""

import pytest
import torch

from tests.interpreters import python
from ultralytics_diffattn.evaluation import timing


def test_runners_take_turns():
    turns = []
    times_of = timing.interleaved({name: lambda name=name: turns.append(name) for name in "ab"}, repeats=2)
    assert "".join(turns) == "ab" * 5  # three turns warm up
    assert {name: len(times) for name, times in times_of.items()} == {"a": 2, "b": 2}


def test_the_device_is_waited_for_around_each_turn(monkeypatch):
    clock = [0.0]
    monkeypatch.setattr(timing.time, "perf_counter", lambda: clock[0])
    queued = []

    def wait():
        clock[0] += sum(queued)
        queued.clear()

    runners = {"a": lambda: queued.append(0.001), "b": lambda: queued.append(0.002)}  # as a GPU: it returns at once
    times = timing.interleaved(runners, repeats=2, warmup=1, synchronize=wait)
    assert times == {"a": [pytest.approx(1)] * 2, "b": [pytest.approx(2)] * 2}


@pytest.mark.parametrize(
    ("ours", "other", "expected"),
    [
        ([2.0, 2.0, 2.0], [4.0, 4.0, 4.0], (0.5, 0.5, 0.5)),
        ([1.0, 2.0, 3.0, 4.0, 5.0], [1.0] * 5, (3.0, 2.0, 4.0)),
        ([1.0, 1.0, 9.0], [1.0, 1.0, 9.0], (1.0, 1.0, 1.0)),  # what slows a whole turn slows both
        ([3.0], [2.0], (1.5, 1.5, 1.5)),
    ],
)
def test_ratio(ours, other, expected):
    assert timing.ratio(ours, other) == expected


def test_peak_memory_counts_what_is_held_together():
    def run():
        a = torch.empty(1000, 1000)  # 4 MB
        b = torch.empty(500, 1000)  # 2 MB: the peak
        del a
        return b, torch.empty(250, 1000)  # 1 MB

    assert timing.peak_memory(run) == 6_000_000
    assert timing.peak_memory(run) == 6_000_000  # what the first returned has been freed and does not count


def test_peak_memory_inside_an_operator():
    x = torch.rand(1000, 1000)
    assert timing.peak_memory(lambda: (x[:, ::2] @ x[::2]).sum()) >= 4_000_000
    # The product is 4 MB; that it is freed before the second one is allocated has to be seen, too.
    assert timing.peak_memory(lambda: [(x * i).sum().item() for i in range(3)]) < 4_001_000


def test_peak_memory_includes_backward():
    x = torch.rand(1000, 1000, requires_grad=True)

    def forward():
        return (x.exp() * 2).sum()  # 4 MB for each operator, of which backward needs the first

    def backward():
        return torch.autograd.grad(forward(), x)

    def grow():
        return torch.autograd.grad(x.sum(), x)[0] + 0  # forward holds a number, backward a matrix

    assert timing.peak_memory(forward) == pytest.approx(8e6, rel=1e-3)
    assert timing.peak_memory(backward) == pytest.approx(12e6, rel=1e-3)  # the exponential and two gradients
    assert timing.peak_memory(grow) == pytest.approx(4e6, rel=1e-3)


def test_peak_memory_says_nothing():
    code = "import torch; from ultralytics_diffattn.evaluation import timing; timing.peak_memory(lambda: torch.ones(3))"
    done = python(code)  # a process in which nobody has used the profiler before
    assert (done.stdout, done.stderr) == ("", "")


def test_threads():
    before = torch.get_num_threads()
    with timing.threads(before + 1):
        assert torch.get_num_threads() == before + 1
        with timing.threads(None):
            assert torch.get_num_threads() == before + 1
    assert torch.get_num_threads() == before


def test_threads_are_as_before_after_an_error():
    before = torch.get_num_threads()
    with pytest.raises(KeyError), timing.threads(before + 1):
        raise KeyError
    assert torch.get_num_threads() == before
