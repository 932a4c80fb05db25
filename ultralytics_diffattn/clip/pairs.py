# Ultralytics DiffAttn - AGPL-3.0 License
"""Images and their captions: a CSV with the columns `image` and `caption`."""

from __future__ import annotations

import csv
from pathlib import Path

from ultralytics.utils import LOGGER


def read(file: str | Path) -> tuple[list[Path], list[str]]:
    """Return the images and the captions of a table; a warning counts rows in which one is missing.

    Args:
        file (str | Path): CSV in UTF-8 with a header; images are relative to its folder. An image may have several
            captions, each in a row of its own.

    Returns:
        (tuple[list[Path], list[str]]): As long as each other.

    Raises:
        FileNotFoundError: If there is no such file.
        ValueError: If a column is missing, or there are no rows.
    """
    file = Path(file)
    if not file.is_file():
        raise FileNotFoundError(f"there is no file {file}; data= takes a CSV with the columns image and caption.")
    images, captions, short = [], [], 0
    try:
        with open(file, newline="", encoding="utf-8-sig") as f:
            rows = csv.DictReader(f)
            if missing := {"image", "caption"} - set(rows.fieldnames or ()):
                raise ValueError(
                    f"{file} has the columns {', '.join(rows.fieldnames or ['none'])}, but not "
                    f"{' and '.join(sorted(missing))}."
                )
            for row in rows:
                if (row["image"] or "").strip() and (row["caption"] or "").strip():
                    images.append(file.parent / row["image"].strip())
                    captions.append(row["caption"].strip())
                else:
                    short += 1
    except (UnicodeDecodeError, csv.Error) as e:
        raise ValueError(f"{file} is no CSV in UTF-8: {e}") from e
    if short:
        LOGGER.warning(f"{file}: {short} rows without an image or a caption are left out.")
    if not images:
        raise ValueError(f"{file} holds no rows with an image and a caption.")
    return images, captions
