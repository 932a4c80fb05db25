# Ultralytics DiffAttn - AGPL-3.0 License
"""Which image an XML file annotates: the one of its own name, else one that it names and that no other file owns."""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable, Iterable, Mapping, Sequence
from pathlib import Path, PurePosixPath

from ultralytics_diffattn.data.annotations import KEPT, LEFT_OUT, Issue


def match(
    filenames: Mapping[str, PurePosixPath], images: Mapping[str, Sequence[Path]], names: Mapping[str, str]
) -> tuple[dict[str, Path | None], list[Issue]]:
    """Return the image of each annotation file.

    Args:
        filenames (Mapping[str, PurePosixPath]): What each file calls its image; keys are paths without suffix.
        images (Mapping[str, Sequence[Path]]): Images by path without suffix: a.jpg and a.png have one.
        names (Mapping[str, str]): What each annotation file is called in messages.

    Returns:
        matches (dict[str, Path | None]): None for a file whose image does not exist, or belongs to another.
        issues (list[Issue]): One for each guess, and for each image that several files claim.
    """
    matches: dict[str, Path | None] = dict.fromkeys(filenames)
    issues: list[Issue] = []
    for key, filename in filenames.items():
        if candidates := images.get(key):
            path = next((p for p in candidates if p.name == filename.name), candidates[0])
            matches[key] = path
            if len(candidates) > 1:
                others = ", ".join(p.name for p in candidates if p != path)
                text = f"{path.name} has the same name as {others}, which is not used"
                issues.append(Issue(names[key], "", text))
    owned = {key for key in filenames if key in images}
    free = [path for key, paths in images.items() if key not in owned for path in paths]
    by_name, by_stem = _grouped(free, lambda path: path.name), _grouped(free, lambda path: path.stem)
    claims: dict[str, Path] = {}
    for key, filename in filenames.items():
        own = key.rpartition("/")[2]
        readings = by_name.get(filename.name), by_stem.get(filename.stem), by_stem.get(own)
        meant = next((paths for paths in readings if paths), [])
        if key not in owned and len(meant) == 1:
            claims[key] = meant[0]
    count = Counter(claims.values())
    for key, path in claims.items():
        if count[path] > 1:
            text, done = f"{count[path]} annotations claim the image {path.name}: none gets it", LEFT_OUT
        else:
            text, done = f"no image of its own name: {path.name}, which no other file has, is taken", KEPT
            matches[key] = path
        issues.append(Issue(names[key], "", text, done))
    return matches, issues


def _grouped(paths: Iterable[Path], by: Callable[[Path], str]) -> dict[str, list[Path]]:
    """Return paths by what a function gives for them."""
    groups: dict[str, list[Path]] = {}
    for path in paths:
        groups.setdefault(by(path), []).append(path)
    return groups
