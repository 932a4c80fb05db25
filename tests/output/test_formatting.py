"""output/formatting.py: numbers as people read them."""

import pytest

from ultralytics_diffattn.output.formatting import duration, interval, mean_sd, number, percent, signed


@pytest.mark.parametrize(
    ("seconds", "text"), [(1, "1 min"), (89, "1 min"), (91, "2 min"), (7100, "118 min"), (7200, "2.0 h")]
)
def test_duration(seconds, text):
    assert duration(seconds) == text


@pytest.mark.parametrize(
    ("value", "text"),
    [
        (0.0123, "+0.012"),
        (-0.0123, "-0.012"),
        (0.00034, "+0.0003"),  # three digits would show zero
        (-0.00034, "-0.0003"),
        (0.00004, "+0.000"),  # so would four
        (0, "+0.000"),
        (0.00049, "+0.0005"),
        (0.0006, "+0.001"),
        (1, "+1.000"),
    ],
)
def test_signed(value, text):
    assert signed(value) == text


def test_interval():
    assert interval((-0.0173, 0.0004)) == "-0.017 to +0.0004"


@pytest.mark.parametrize(
    ("values", "text"),
    [([0.5], "0.500"), ([0.1, 0.3], "0.200 ± 0.141"), ([0.2, 0.2, 0.2], "0.200 ± 0.000")],
)
def test_mean_sd(values, text):
    assert mean_sd(values) == text


@pytest.mark.parametrize(
    ("value", "digits", "text"), [(None, 2, "-"), (0, 1, "0.0"), (1234567, 0, "1,234,567"), (2.345, 2, "2.35")]
)
def test_number(value, digits, text):
    assert number(value, digits) == text


@pytest.mark.parametrize(("share", "text"), [(0, "0.0 %"), (1, "100.0 %"), (0.2074, "20.7 %"), (1.5, "150.0 %")])
def test_percent(share, text):
    assert percent(share) == text
