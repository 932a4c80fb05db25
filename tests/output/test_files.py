"""output/files.py: files are complete or absent, and JSON holds what is put into it."""

import math
import os

import numpy as np
import pytest

from ultralytics_diffattn.output import files


def test_json_round_trip(tmp_path):
    value = {"a": [1, 2.5, None, "x"], "b": {"c": True}}
    files.write_json(tmp_path / "a.json", value)
    assert files.read_json(tmp_path / "a.json") == value


def test_json_of_arrays_and_of_what_json_cannot_hold(tmp_path):
    files.write_json(tmp_path / "a.json", {"n": np.float32(0.5), "a": np.arange(2), 3: math.nan, "t": (math.inf, 1)})
    assert files.read_json(tmp_path / "a.json") == {"n": 0.5, "a": [0, 1], "3": None, "t": [None, 1]}


@pytest.mark.parametrize("failing", ["write", "replace"])
def test_a_failure_leaves_the_old_file_and_nothing_else(tmp_path, monkeypatch, failing):
    files.write_text(tmp_path / "a", "old")

    def full(*_, **__):
        raise OSError(28, "No space left on device")

    monkeypatch.setattr(*((files.Path, "write_text") if failing == "write" else (os, "replace")), full)
    with pytest.raises(OSError, match="No space"):
        files.write_text(tmp_path / "a", "new")
    monkeypatch.undo()
    assert [f.name for f in tmp_path.iterdir()] == ["a"]
    assert (tmp_path / "a").read_text() == "old"
