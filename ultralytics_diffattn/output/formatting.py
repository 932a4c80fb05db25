# Ultralytics DiffAttn - AGPL-3.0 License
"""Numbers for people: differences with their sign, intervals, means, durations, percentages."""

from __future__ import annotations

from collections.abc import Sequence
from statistics import mean, stdev


def number(value: float | None, digits: int) -> str:
    """Return a number for a table.

    Args:
        value (float, optional): The number.
        digits (int): Digits after the point.

    Returns:
        (str): With commas between thousands; a dash for None.

    Examples:
        >>> number(1234.5, 0), number(None, 0)
        ('1,234', '-')
    """
    return "-" if value is None else f"{value:,.{digits}f}"


def signed(value: float) -> str:
    """Return a difference with its sign and three digits, or four where three would show zero.

    Args:
        value (float): The difference.

    Returns:
        (str): Such as "+0.012".

    Examples:
        >>> signed(0.0123), signed(-0.0003), signed(0)
        ('+0.012', '-0.0003', '+0.000')
    """
    return f"{value:+.3f}" if round(value, 3) or not round(value, 4) else f"{value:+.4f}"


def interval(ends: Sequence[float] | None) -> str:
    """Return a confidence interval of a difference.

    Args:
        ends (Sequence[float], optional): Its lower and its upper end.

    Returns:
        (str): Both with their signs, as `signed` has them; a dash for None.

    Examples:
        >>> interval([-0.0173, -0.0001])
        '-0.017 to -0.0001'
    """
    return "-" if ends is None else f"{signed(ends[0])} to {signed(ends[1])}"


def mean_sd(values: Sequence[float]) -> str:
    """Return mean and sample standard deviation over seeds.

    Args:
        values (Sequence[float]): One for each seed.

    Returns:
        (str): With three digits; the mean alone for a single value.

    Examples:
        >>> mean_sd([0.1, 0.3]), mean_sd([0.5])
        ('0.200 ± 0.141', '0.500')
    """
    return f"{mean(values):.3f}" + (f" ± {stdev(values):.3f}" if len(values) > 1 else "")


def percent(share: float) -> str:
    """Return a share as a percentage.

    Args:
        share (float): From 0 to 1.

    Returns:
        (str): With one digit after the point.

    Examples:
        >>> percent(0.2074)
        '20.7 %'
    """
    return f"{100 * share:.1f} %"


def duration(seconds: float) -> str:
    """Return a duration in minutes, or in hours from two hours on.

    Args:
        seconds (float): The duration.

    Returns:
        (str): One minute at least.

    Examples:
        >>> duration(90), duration(8000)
        ('2 min', '2.2 h')
    """
    return f"{seconds / 3600:.1f} h" if seconds >= 7200 else f"{max(1, round(seconds / 60))} min"
