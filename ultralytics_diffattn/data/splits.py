# Ultralytics DiffAttn - AGPL-3.0 License
"""Splits: how tools spell them, what they mean together, and a share for val where a source has none."""

from __future__ import annotations

import hashlib
import re
from collections.abc import Iterable, Sequence

from ultralytics_diffattn.data.annotations import KEPT, AnnotatedImage, Issue, UsableImage
from ultralytics_diffattn.errors import UserError

SPLITS = "train", "val", "test"
VAL = 0.2  # share of val where the source has none
# `trainval` and what tools call all images alike are for train and val together
SPELLINGS = {
    "train": "train", "training": "train",
    "val": "val", "valid": "val", "validation": "val", "dev": "val",
    "test": "test", "testing": "test",
    "trainval": "trainval", "default": "trainval", "all": "trainval",
}  # fmt: skip
PATTERN = re.compile(
    rf"(?<![a-z])({'|'.join(sorted(SPELLINGS, key=len, reverse=True))})(?![a-z])([-_]?\d*)", re.IGNORECASE
)


def split_of(name: str) -> str | None:
    """Return the split that a name stands for: that of a list, of a folder or of a part of a file's name.

    Args:
        name (str): Such as `train`, `Validation` or `val2017`.

    Returns:
        (str | None): "train", "val", "test", "trainval" for what is both, or None for any other name.

    Examples:
        >>> split_of("Valid"), split_of("train2017"), split_of("holdout")
        ('val', 'train', None)
    """
    match = PATTERN.fullmatch(name)
    return SPELLINGS[match[1].lower()] if match else None


def resolve(
    images: Sequence[AnnotatedImage], source: str, declared: Iterable[str | None] = ()
) -> tuple[list[AnnotatedImage], list[Issue]]:
    """Return images whose splits are train, val and test, or None and test where `assign` is to choose val.

    Of trainval beside one of its halves, the rest is the other half. Test images are never validated on: they would no
    longer test anything.

    Args:
        images (Sequence[AnnotatedImage]): As a source lists them, once for each split.
        source (str): Its name, for an error.
        declared (Iterable[str | None]): Splits that the source has even if no image is left in them.

    Returns:
        images (list[AnnotatedImage]): The same, without those of trainval that train and val hold.
        issues (list[Issue]): One for each image that is left out, or in several splits.

    Raises:
        UserError: If there is a split, and none to train on.
    """
    members: dict[str | None, set[object]] = {split: set() for split in declared}
    for image in images:
        members.setdefault(image.split, set()).add(_identity(image))
    halves = {"train", "val"} & members.keys()
    present = [split for split in ("val", "test") if split in members]
    if present and not {"train", "trainval", None} & members.keys():
        raise UserError(f"{source} has {' and '.join(present)} and nothing to train on: add a split called train.")
    other = {"train": "val", "val": "train"}[min(halves)] if "trainval" in members and len(halves) == 1 else None
    in_halves = members.get("train", set()) | members.get("val", set())
    issues: list[Issue] = []
    resolved: list[AnnotatedImage] = []
    for image in images:
        if image.split == "trainval" and _identity(image) in in_halves:
            continue
        if image.split == "trainval" and len(halves) == 2:
            issues.append(Issue(image.file, image.name, "in trainval, but neither in train nor in val"))
            continue
        resolved.append(image._replace(split=other) if image.split == "trainval" else image)
    if "val" not in {*declared, other, *(image.split for image in resolved)}:
        resolved = [image if image.split == "test" else image._replace(split=None) for image in resolved]
    return resolved, issues + _several(resolved)


def _several(images: Sequence[AnnotatedImage]) -> list[Issue]:
    """Return an issue for each image that is in several splits."""
    splits: dict[object, list[str]] = {}
    for image in images:
        names, name = splits.setdefault(_identity(image), []), image.split or "train or val"
        if name not in names:
            names.append(name)
    first = {_identity(image): image for image in reversed(images)}
    return [
        Issue(first[key].file, first[key].name, f"in several splits: {', '.join(names)}", KEPT)
        for key, names in splits.items()
        if len(names) > 1
    ]


def _identity(image: AnnotatedImage) -> object:
    """Return what two entries of one image share."""
    return image.path or image.name


def assign(images: Sequence[UsableImage]) -> dict[str, list[UsableImage]]:
    """Return the images of train, val and test; those without a split are divided by a hash of their names.

    Args:
        images (Sequence[UsableImage]): Each with one of `SPLITS`, or None.

    Returns:
        (dict[str, list[UsableImage]]): By split, in the order of their names.
    """
    without = [image for image in images if image.split is None]
    without.sort(key=lambda image: hashlib.sha256(image.name.encode(errors="surrogateescape")).digest())
    count = max(1, round(VAL * len(without)))
    chosen = [image._replace(split="val" if i < count else "train") for i, image in enumerate(without)]
    images = [*(image for image in images if image.split), *chosen]
    return {split: sorted((i for i in images if i.split == split), key=lambda i: i.name) for split in SPLITS}
