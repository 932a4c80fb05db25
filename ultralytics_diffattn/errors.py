# Ultralytics DiffAttn - AGPL-3.0 License
"""What a user can mend: the one class of error that the `diffattn` command prints as a line, without a traceback."""

from __future__ import annotations


class UserError(ValueError):
    """An argument, a file or an installation that the user can mend; the message says how.

    Examples:
        >>> raise UserError("seeds=-1 must be whole numbers from 0 on, such as seeds=0,1,2.")
        Traceback (most recent call last):
        ...
        ultralytics_diffattn.errors.UserError: seeds=-1 must be whole numbers from 0 on, such as seeds=0,1,2.
    """


class MissingFileError(UserError, FileNotFoundError):
    """A file, a data set or a model that is not where the user says; also a `FileNotFoundError`."""


class ExistingFileError(UserError, FileExistsError):
    """A file or folder that is in the way of a new one; also a `FileExistsError`."""


class MissingPackageError(UserError, ImportError):
    """A package that a part of this one needs and that is not installed; also an `ImportError`."""
