# Ultralytics DiffAttn - AGPL-3.0 License
"""Make this checkout a version: `python scripts/version.py 0.2.0`; prints what the changelog says of it.

It writes ultralytics_diffattn/version.py, CITATION.cff and conda/recipe.yaml, and gives what CHANGELOG.md has under
"Unreleased" the version and the date. Nothing is written if any of it cannot be. `.github/workflows/release.yml` does
it on the runner.
"""

import re
import sys
from datetime import datetime, timezone
from pathlib import Path

ROOT = Path(__file__).resolve().parents[1]
UNRELEASED = "## Unreleased\n"
NUMBER = r"(?:0|[1-9]\d*)\.(?:0|[1-9]\d*)\.(?:0|[1-9]\d*)"
PLACES = {  # file: the line that has the version
    "ultralytics_diffattn/version.py": r'(?m)^(__version__ = ").+(")$',
    "CITATION.cff": r"(?m)^(version: ).+()$",
    "conda/recipe.yaml": r'(?m)^(  version: ")\d.+(")$',
}


def stamp(root: Path, version: str, date: str) -> str:
    """Write a version and its date into a checkout.

    Args:
        root (Path): The checkout.
        version (str): Such as 0.2.0, above every version of the changelog.
        date (str): Such as 2026-11-28.

    Returns:
        (str): The changelog's section of it, without the heading.

    Raises:
        SystemExit: If the version is none or not the next one, or nothing is unreleased.
    """
    if not re.fullmatch(NUMBER, version):
        raise SystemExit(f"'{version}' is no version: give three numbers, such as 0.2.0.")
    changelog = (root / "CHANGELOG.md").read_text(encoding="utf-8")
    if changelog.count(UNRELEASED) != 1:
        raise SystemExit("CHANGELOG.md has to have one section '## Unreleased'.")
    before, _, after = changelog.partition(UNRELEASED)
    notes = re.split(r"(?m)^## ", after)[0].strip()
    if not re.search(r"(?m)^- ", notes):
        raise SystemExit("CHANGELOG.md has nothing under '## Unreleased': there is nothing to release.")
    released = re.findall(rf"(?m)^## ({NUMBER})\b", after)
    if late := [r for r in released if _key(r) >= _key(version)]:
        raise SystemExit(f"{version} is not above {max(late, key=_key)}, which CHANGELOG.md has already.")
    texts = {"CHANGELOG.md": f"{before}{UNRELEASED}\n## {version} - {date}\n{after}"}
    for name, line in PLACES.items():
        texts[name], found = re.subn(line, rf"\g<1>{version}\g<2>", (root / name).read_text(encoding="utf-8"))
        if found != 1:
            raise SystemExit(f"{name} has {found} lines with the version; it has to have one.")
    for name, text in texts.items():
        (root / name).write_text(text, encoding="utf-8")
    return notes


def _key(version: str) -> tuple[int, ...]:
    """Return what versions are sorted by."""
    return tuple(map(int, version.split(".")))


if __name__ == "__main__":
    if len(sys.argv) != 2 or sys.argv[1] in {"help", "-h", "--help"}:
        raise SystemExit(__doc__)
    print(stamp(ROOT, sys.argv[1], datetime.now(timezone.utc).date().isoformat()))
