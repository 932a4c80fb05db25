"""Items one after another where they are quick, on all cores where they are not, always in their order."""

import threading
import time

import pytest

from ultralytics_diffattn.evaluation.threads import SHORT, in_threads


@pytest.mark.parametrize(("seconds", "alone"), [(0, True), (2 * SHORT, False)])
def test_only_long_items_are_spread(seconds, alone):
    def work(item):
        time.sleep(seconds)  # as a pass of NumPy, it frees the other threads
        return item, threading.get_ident() == threading.main_thread().ident

    found = in_threads(work, range(6))
    assert [item for item, _ in found] == [*range(6)]
    assert [here for _, here in found] == [True, *[alone] * 5]


@pytest.mark.parametrize("count", [0, 1])
def test_few(count):
    assert in_threads(str, range(count)) == ["0"] * count
