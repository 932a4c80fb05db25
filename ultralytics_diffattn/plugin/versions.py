# Ultralytics DiffAttn - AGPL-3.0 License
"""Which ultralytics this package works with, and what it says of others: when a model of ours is built, not before."""

from __future__ import annotations

from ultralytics_diffattn.errors import UserError

MINIMUM_ULTRALYTICS = "8.3.108"
ADVICE = "Install a newer ultralytics-diffattn or an older ultralytics, and please open an issue."


class VersionError(UserError, RuntimeError):
    """An ultralytics that is too old, or that this package does not know yet; also a `RuntimeError`."""


def ultralytics_version() -> str:
    """Return the version of the loaded ultralytics."""
    import ultralytics

    return str(ultralytics.__version__)


def require_ultralytics(name: str, minimum: str = MINIMUM_ULTRALYTICS) -> None:
    """Raise unless ultralytics is in the supported range.

    Args:
        name (str): What needs it, for the message.
        minimum (str): The first version that will do, where that is not this package's.

    Raises:
        VersionError: If ultralytics is too old.
    """
    from ultralytics.utils.checks import check_version

    if not check_version(ultralytics_version(), f">={minimum}"):
        raise VersionError(
            f"{name} needs ultralytics>={minimum}, found {ultralytics_version()}: `pip install -U ultralytics`."
        )
