# Ultralytics DiffAttn - AGPL-3.0 License
"""Numbers as people read them: differences with their sign, intervals, durations, percentages."""

from __future__ import annotations

from collections.abc import Sequence
from statistics import mean, stdev


def number(value: float | None, digits: int) -> str:
    """Return a number for a table.

    Args:
        value (float, optional): The number.
        digits (int): After the point.

    Returns:
        (str): A dash where there is none.

    Examples:
        >>> number(1234.5, 0), number(None, 0)
        ('1,234', '-')
    """
    return "-" if value is None else f"{value:,.{digits}f}"


def signed(value: float) -> str:
    """Return a difference with its sign, and one more digit where three would make it zero.

    Args:
        value (float): The difference.

    Returns:
        (str): Such as +0.012.

    Examples:
        >>> signed(0.0123), signed(-0.0003), signed(0)
        ('+0.012', '-0.0003', '+0.000')
    """
    return f"{value:+.3f}" if round(value, 3) or not round(value, 4) else f"{value:+.4f}"


def interval(ends: Sequence[float]) -> str:
    """Return an interval of a difference.

    Args:
        ends (Sequence[float]): Low and high.

    Returns:
        (str): Both with their signs.

    Examples:
        >>> interval([-0.0173, -0.0001])
        '-0.017 to -0.0001'
    """
    return f"{signed(ends[0])} to {signed(ends[1])}"


def mean_sd(values: Sequence[float]) -> str:
    """Return mean and standard deviation over seeds.

    Args:
        values (Sequence[float]): One for each seed.

    Returns:
        (str): Without a deviation of a single value.

    Examples:
        >>> mean_sd([0.1, 0.3]), mean_sd([0.5])
        ('0.200 ± 0.141', '0.500')
    """
    return f"{mean(values):.3f}" + (f" ± {stdev(values):.3f}" if len(values) > 1 else "")


def percent(share: float) -> str:
    """Return a share as a percentage.

    Args:
        share (float): 1 for all.

    Returns:
        (str): With one digit.

    Examples:
        >>> percent(0.2074)
        '20.7 %'
    """
    return f"{100 * share:.1f} %"


def duration(seconds: float) -> str:
    """Return a duration as people say it.

    Args:
        seconds (float): The duration.

    Returns:
        (str): In minutes, from two hours on in hours.

    Examples:
        >>> duration(90), duration(8000)
        ('2 min', '2.2 h')
    """
    return f"{seconds / 3600:.1f} h" if seconds >= 7200 else f"{max(1, round(seconds / 60))} min"
