# Ultralytics DiffAttn - AGPL-3.0 License
"""A warning that several processes of one training give once."""

from __future__ import annotations


def warn(message: str) -> None:
    """Log a warning, in the first of several processes.

    Args:
        message (str): The warning.
    """
    from ultralytics.utils import LOGGER, RANK

    if RANK in {-1, 0}:
        LOGGER.warning(message)
