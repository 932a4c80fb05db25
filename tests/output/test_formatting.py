"""formatting.py: numbers as people read them."""

import pytest

from ultralytics_diffattn.output.formatting import duration


@pytest.mark.parametrize(
    ("seconds", "text"), [(1, "1 min"), (89, "1 min"), (91, "2 min"), (7100, "118 min"), (7200, "2.0 h")]
)
def test_duration(seconds, text):
    assert duration(seconds) == text
