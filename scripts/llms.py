# Ultralytics DiffAttn - AGPL-3.0 License
"""List the pages for language models, https://llmstxt.org: `python scripts/llms.py docs/llms.txt`.

Each page of the navigation in mkdocs.yml, with its first sentence.
"""

import re
import sys
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import yaml

ROOT = Path(__file__).resolve().parents[1]
PAGES = "https://github.com/ultralytics-diffattn/ultralytics-diffattn/blob/main/docs"


def sections(nav: list[dict[str, Any]], title: str = "Pages") -> Iterator[tuple[str, list[str]]]:
    """Return each section of the navigation with the files of its pages."""
    yield title, [target for entry in nav for target in entry.values() if isinstance(target, str)]
    for entry in nav:
        for name, target in entry.items():
            if not isinstance(target, str):
                yield from sections(target, name)


def first_sentence(page: str) -> str:
    """Return the first sentence of a page's text, without Markdown."""
    paragraphs = re.sub(r"```.*?```|<!--.*?-->\n?", "", page, flags=re.S).split("\n\n")
    text = next(p for p in paragraphs if re.match(r"[\w*`\[]", p) and not re.match(r"\*[^*]|\d+\.|\[!", p))
    text = re.sub(r"\]\([^)]+\)|[\[*]", "", " ".join(text.split()))
    return re.split(r"(?<=[.?]) ", text, maxsplit=1)[0].rstrip(".:?")


def as_text() -> str:
    """Return the list."""
    site = yaml.safe_load((ROOT / "mkdocs.yml").read_text(encoding="utf-8"))
    home = (ROOT / "docs" / "index.md").read_text(encoding="utf-8")
    lines = [f"# {site['site_name']}", "", f"> {site['site_description']}", "", first_sentence(home) + "."]
    for title, pages in sections(site["nav"]):
        lines += ["", f"## {title}", ""]
        for file in pages:
            page = (ROOT / "docs" / file).read_text(encoding="utf-8")
            heading = page.partition("\n")[0].removeprefix("# ").replace("`", "")
            lines.append(f"- [{heading}]({PAGES}/{file}): {first_sentence(page)}.")
    return "\n".join(lines) + "\n"


if __name__ == "__main__":
    if len(sys.argv) != 2:
        raise SystemExit("Give the file: python scripts/llms.py docs/llms.txt")
    Path(sys.argv[1]).write_text(as_text(), encoding="utf-8")
