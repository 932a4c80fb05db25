"""What the user can mend becomes a `UserError` where the value is handed over; a bug stays what it is."""

import errno

import pytest

from ultralytics_diffattn import errors
from ultralytics_diffattn.errors import UserError, as_user_errors


@pytest.mark.parametrize(
    ("raised", "expected"),
    [
        (FileNotFoundError(errno.ENOENT, "No such file", "a.pt"), errors.MissingFileError),
        (FileExistsError(errno.EEXIST, "File exists", "a.pt"), errors.ExistingFileError),
        (NotADirectoryError("a/b"), UserError),
        (IsADirectoryError("a"), UserError),
        (PermissionError(errno.EACCES, "Permission denied", "a.pt"), UserError),
        (ConnectionError("no network"), UserError),
        (OSError(errno.ENOSPC, "No space left on device"), UserError),
        (OSError(errno.EROFS, "Read-only file system"), UserError),
        (SyntaxError("bad argument"), UserError),  # asked for below
    ],
    ids=repr,
)
def test_mistakes(raised, expected):
    with pytest.raises(expected) as caught, as_user_errors(SyntaxError):
        raise raised
    assert type(caught.value) is expected
    assert str(caught.value) == str(raised)
    assert caught.value.__cause__ is raised


@pytest.mark.parametrize(
    "raised",
    [TypeError("bug"), ValueError("bug"), KeyError("bug"), OSError(errno.EIO, "I/O error"), RuntimeError()],
    ids=repr,
)
def test_bugs(raised):
    with pytest.raises(type(raised)) as caught, as_user_errors(SyntaxError):
        raise raised
    assert caught.value is raised


def test_a_user_error_passes_unchanged():
    error = errors.MissingPackageError("timm is not installed")
    with pytest.raises(ImportError) as caught, as_user_errors(ImportError):
        raise error
    assert caught.value is error


@pytest.mark.parametrize(
    ("kind", "stock"),
    [
        (errors.MissingFileError, FileNotFoundError),
        (errors.ExistingFileError, FileExistsError),
        (errors.MissingPackageError, ImportError),
        (errors.DisagreementError, RuntimeError),
    ],
)
def test_each_kind_is_also_the_stock_one(kind, stock):
    assert issubclass(kind, UserError)
    assert issubclass(kind, stock)
    assert str(kind("what to do")) == "what to do"
