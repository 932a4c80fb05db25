"""Where the tests of data sets work."""

import pytest
from ultralytics.utils import SETTINGS


@pytest.fixture
def here(tmp_path, monkeypatch):
    """Work in an empty folder, with the datasets_dir below it."""
    monkeypatch.setitem(SETTINGS, "datasets_dir", str(tmp_path / "datasets"))
    (tmp_path / "here").mkdir()
    monkeypatch.chdir(tmp_path / "here")
    return tmp_path / "here"
