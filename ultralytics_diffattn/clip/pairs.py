# Ultralytics DiffAttn - AGPL-3.0 License
"""Images and their captions: a CSV with the columns `image` and `caption`."""

from __future__ import annotations

import csv
from pathlib import Path
from typing import NamedTuple

from ultralytics.utils import LOGGER

from ultralytics_diffattn.errors import MissingFileError, UserError, as_user_errors


class CaptionedImages(NamedTuple):
    """Images and their captions, as many of the one as of the other; an image may be repeated.

    Attributes:
        files (list[Path]): The image of each caption.
        captions (list[str]): The captions.
    """

    files: list[Path]
    captions: list[str]


def read(file: str | Path) -> CaptionedImages:
    """Return the images and the captions of a table; a warning counts rows in which one is missing.

    Args:
        file (str | Path): CSV in UTF-8 with a header; images are relative to its folder. An image may have several
            captions, each in a row of its own.

    Returns:
        (CaptionedImages): One for each row.

    Raises:
        MissingFileError: If there is no such file.
        UserError: If a column is missing, or there are no rows.
    """
    file = Path(file)
    if not file.is_file():
        raise MissingFileError(f"there is no file {file}; data= takes a CSV with the columns image and caption.")
    pairs, incomplete = CaptionedImages([], []), 0
    try:
        with as_user_errors(), open(file, newline="", encoding="utf-8-sig") as f:
            rows = csv.DictReader(f)
            if missing := {"image", "caption"} - set(rows.fieldnames or ()):
                raise UserError(
                    f"{file} has the columns {', '.join(rows.fieldnames or ['none'])}, but not "
                    f"{' and '.join(sorted(missing))}."
                )
            for row in rows:
                if (row["image"] or "").strip() and (row["caption"] or "").strip():
                    pairs.files.append(file.parent / row["image"].strip())
                    pairs.captions.append(row["caption"].strip())
                else:
                    incomplete += 1
    except (UnicodeDecodeError, csv.Error) as e:
        raise UserError(f"{file} is no CSV in UTF-8: {e}") from e
    if incomplete:
        LOGGER.warning(f"{file}: {incomplete} rows without an image or a caption are left out.")
    if not pairs.files:
        raise UserError(f"{file} holds no rows with an image and a caption.")
    return pairs
