"""The code blocks and links of README.md and of the pages in docs/, which test_readme.py and test_docs.py hold true."""

import re

from tests.places import ROOT

PAGES = {  # path from the root: text
    str(file.relative_to(ROOT)): file.read_text(encoding="utf-8")
    for file in (ROOT / "README.md", *sorted((ROOT / "docs").rglob("*.md")))
}
README = PAGES["README.md"]
TRANSLATED = [page for page in PAGES if page.replace(".md", ".zh.md") in PAGES]
FENCE = re.compile(r"^( *)```(\S*)\n(.*?)^\1```$", re.M | re.S)  # indent, language, content


def blocks(language):
    """Return the different blocks of a language, of all pages; one that stands on two pages comes once."""
    found = [content for page in PAGES.values() for _, name, content in FENCE.findall(page) if name == language]
    return list(dict.fromkeys(found))


COMMANDS = list(dict.fromkeys(line for block in blocks("bash") for line in block.splitlines()))
CLIP_COMMANDS = [c for c in COMMANDS if re.search(r" (zeroshot|retrieve|clip-train) ", c)]
WORDS_BLOCKS = [block for block in blocks("python") if re.search(r"YOLO(E|World)\(", block)]


def links(page):
    """Return the path from the root and the anchor of each link to another place in the repository."""
    folder = (ROOT / page).parent
    for target in re.findall(r"\]\((?!http)([^)\s]+)\)", FENCE.sub("", PAGES[page])):
        path, _, anchor = target.partition("#")
        file = (folder / path).resolve() if path else ROOT / page
        yield file.relative_to(ROOT), anchor


def anchors(page):
    """Return what a page's headings are called in a link, by GitHub's rule or by the `{#name}` of a translated one."""
    headings = re.findall(r"^#+ (.+?)(?: \{#(\S+)\})?$", FENCE.sub("", PAGES[page]), re.M)
    return {name or re.sub(r"[^\w\- ]", "", heading.lower()).replace(" ", "-") for heading, name in headings}
