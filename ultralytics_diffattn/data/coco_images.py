# Ultralytics DiffAttn - AGPL-3.0 License
"""Where the images of a COCO JSON are, and which entry an image belongs to."""

from __future__ import annotations

import filecmp
import os
from collections.abc import Iterable, Sequence
from pathlib import Path, PurePosixPath
from typing import NamedTuple

from ultralytics_diffattn.data import splits
from ultralytics_diffattn.data.annotations import KEPT, AnnotatedImage, Issue

BESIDE = {"annotations", "labels"}  # folders of JSONs whose images lie elsewhere


class Found(NamedTuple):
    """An image that was looked for by its name.

    Attributes:
        path (Path): The image.
        guessed (bool): Whether only the last part of the name led to it.
        others (int): Number of images of that name and another content, in less specific folders.
    """

    path: Path
    guessed: bool
    others: int


def split_name(file: Path) -> tuple[str | None, list[str]]:
    """Return the split that the name of a file, or else of its folder, says, and how it is spelled there.

    Args:
        file (Path): A JSON file.

    Returns:
        split (str | None): As from `splits.split_of`.
        spellings (list[str]): With and without a number behind it: `train2017`, `train`.
    """
    match = splits.PATTERN.search(file.stem) or splits.PATTERN.fullmatch(file.parent.name)
    return (splits.split_of(match[1]), [match[0], match[1]]) if match else (None, [])


def folders(file: Path) -> list[Path]:
    """Return where the images of a JSON file may be, the most specific folder first.

    Args:
        file (Path): The JSON file.

    Returns:
        (list[Path]): Existing folders: those of the file's split, then those for all images, then the file's own.
    """
    split, spellings = split_name(file)
    own = splits.PATTERN.fullmatch(file.parent.name) is not None
    beside = file.parent.name.lower() in BESIDE or own
    roots = [file.parent, file.parent.parent] if beside else [file.parent]  # else the folder above may be a home
    of_split = [file.parent / "images", file.parent / "data", file.parent] if own else []
    for root in roots:
        for parent in (root / "images", root / "data", root):
            of_split += [parent / name for name in spellings]
            if parent.is_dir():
                of_split += [d for d in sorted(parent.iterdir()) if split and splits.split_of(d.name) == split]
    for_all = [root / name for root in roots for name in ("images", "data")]
    return [d for d in dict.fromkeys((*of_split, *for_all, *roots)) if d.is_dir()]


def find(name: str, folders: Sequence[Path]) -> Found | None:
    """Return the image of a file_name: as it is, or its last part alone, in one of the folders and never elsewhere.

    Args:
        name (str): With folders in front of it or without.
        folders (Sequence[Path]): From `folders`.

    Returns:
        (Found | None): The image in the most specific folder; None if there is none.
    """
    named = [PurePosixPath(text.replace("\\", "/")) for text in (name, name.strip())]
    roots = [Path(os.path.abspath(folder)) for folder in folders]
    narrow = [root for root in roots if root != root.parent]  # all files are below /
    try:
        for path in dict.fromkeys((*named, *(PurePosixPath(path.name) for path in named))):
            candidates = dict.fromkeys(Path(os.path.abspath(root / path)) for root in roots)
            inside = [f for f in candidates if any(map(f.is_relative_to, narrow)) and f.is_file()]
            if inside:
                others = sum(not _is_same(inside[0], other) for other in inside[1:])
                return Found(inside[0], path not in named, others)
    except (OSError, ValueError):  # a name that is too long, or holds a zero byte
        pass
    return None


def _is_same(file: Path, other: Path) -> bool:
    """Return whether two images have the same content."""
    return os.path.samefile(file, other) or filecmp.cmp(file, other, shallow=False)


def settle(found: Iterable[tuple[AnnotatedImage, bool]]) -> tuple[list[AnnotatedImage], list[Issue]]:
    """Return images such that none is guessed that another entry has a better claim to, and list the guesses.

    Args:
        found (Iterable[tuple[AnnotatedImage, bool]]): Each entry of the data set, and whether its image was guessed.

    Returns:
        images (list[AnnotatedImage]): The same; one that lost its image has none.
        issues (list[Issue]): One for each guess.
    """
    found = list(found)
    claims: dict[Path | None, set[tuple[str, bool]]] = {}
    for image, guessed in found:
        claims.setdefault(image.path, set()).add((image.name, guessed))
    images: list[AnnotatedImage] = []
    issues: list[Issue] = []
    for image, guessed in found:
        if image.path is None or not guessed:
            images.append(image)
        elif len(claims[image.path]) > 1:
            images.append(image._replace(path=None))
        else:
            images.append(image)
            issues.append(Issue(image.file, image.name, f"not found as it is named; {image.path.name} is taken", KEPT))
    return images, issues
