"""A page with a translation says the same in both, as far as headings, code, figures, links and tables can tell."""

import re

import pytest
from markdown.extensions.toc import slugify

from tests.pages import PAGES, TRANSLATED
from tests.test_readme_zh import CHECKS, differences, sections

ANCHOR = r" \{#(\S+)\}$"


def parts(page):
    """Return heading, anchor and text of each section; the first heading has no anchor of its own."""
    for heading, text in sections(PAGES[page]):
        anchor = re.search(ANCHOR, heading)
        yield heading, anchor and anchor[1], text


@pytest.mark.parametrize("page", TRANSLATED)
def test_a_translation_has_the_sections_of_the_page_under_its_anchors(page):
    english, chinese = list(parts(page)), list(parts(page.replace(".md", ".zh.md")))
    assert [heading.split()[0] for heading, *_ in english] == [heading.split()[0] for heading, *_ in chinese]
    anchors = [slugify(re.sub(r"[#`]", "", heading).strip(), "-") for heading, *_ in english]
    assert [anchor for _, anchor, _ in chinese] == [None, *anchors[1:]]


@pytest.mark.parametrize("page", TRANSLATED)
@pytest.mark.parametrize("check", CHECKS, ids=lambda check: check.__name__)
def test_a_translation_says_the_same(page, check):
    for (heading, _, english), (_, _, chinese) in zip(parts(page), parts(page.replace(".md", ".zh.md")), strict=True):
        assert not differences(check, english, chinese), heading


def test_a_change_is_seen():
    """What the checks rest on: a figure or an argument that one language has alone is reported."""
    text = PAGES["docs/how-to/fine-tuning.zh.md"]
    for check, old, new in (("numbers", "178", "179"), ("spans", "`freeze=`", "`batch=`"), ("tables", "0.105", "0.15")):
        assert old in text
        (check,) = (c for c in CHECKS if c.__name__ == check)
        assert differences(check, text, text.replace(old, new))
