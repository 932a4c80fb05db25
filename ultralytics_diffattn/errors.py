# Ultralytics DiffAttn - AGPL-3.0 License
"""What a user can mend: the one class of error that the `diffattn` command prints as a line, without a traceback."""

from __future__ import annotations

import errno
from collections.abc import Iterator
from contextlib import contextmanager

UNWRITABLE_DISK = errno.ENOSPC, errno.EDQUOT, errno.EROFS


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


class DisagreementError(UserError, RuntimeError):
    """An exported model that predicts something else than PyTorch does; also a `RuntimeError`."""


@contextmanager
def as_user_errors(*kinds: type[Exception]) -> Iterator[None]:
    """Raise as a `UserError` what the system or a library says of the user's files, rights, disk or network.

    It stands round a call that hands over what the user typed, and round nothing else: everywhere else the same errors
    are bugs, whose tracebacks are wanted.

    Args:
        *kinds (type[Exception]): What else the called function raises for a value that it refuses.

    Yields:
        (None): Nothing.

    Raises:
        MissingFileError: In place of a `FileNotFoundError`.
        UserError: In place of `kinds`, and of errors of permission, connection, a full or a read-only disk.

    Examples:
        >>> with as_user_errors():
        ...     open("no-such-folder/a.txt")
        Traceback (most recent call last):
        ...
        ultralytics_diffattn.errors.MissingFileError: [Errno 2] No such file or directory: 'no-such-folder/a.txt'
    """
    refused: tuple[type[Exception], ...] = (
        NotADirectoryError,
        IsADirectoryError,
        PermissionError,
        ConnectionError,
        *kinds,
    )
    try:
        yield
    except UserError:
        raise
    except FileNotFoundError as e:
        raise MissingFileError(str(e).strip()) from e
    except refused as e:
        raise UserError(str(e).strip()) from e
    except OSError as e:
        if e.errno not in UNWRITABLE_DISK:
            raise
        raise UserError(str(e).strip()) from e
