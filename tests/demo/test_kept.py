"""What is kept: the most recently used, under names of their own, whoever else asks at the same time."""

from concurrent.futures import ThreadPoolExecutor

import pytest

from ultralytics_diffattn.demo.kept import GoneError, Kept


def test_the_longest_unused_goes():
    kept = Kept(2)
    a, b = kept.add("a"), kept.add("b")
    assert kept.get(a) == "a"
    c = kept.add("c")
    assert (kept.get(a), kept.get(c), len(kept)) == ("a", "c", 2)
    with pytest.raises(GoneError):
        kept.get(b)


def test_a_frame_takes_the_place_of_its_own_predecessor():
    kept = Kept(3)
    other = kept.add("another user's")
    frame = kept.add(0)
    for i in range(1, 50):
        frame = kept.add(i, instead_of=frame)
    assert (kept.get(other), kept.get(frame), len(kept)) == ("another user's", 49, 2)


def test_many_threads_at_once():
    kept = Kept(8)
    with ThreadPoolExecutor(8) as threads:
        names = list(threads.map(kept.add, range(400)))
    assert len(set(names)) == 400
    assert len(kept) == 8
