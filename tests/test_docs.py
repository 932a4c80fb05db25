"""The site: it builds without a warning, loads nothing from elsewhere, and its figure is what the script draws."""

import re
import runpy
import sys
from html.parser import HTMLParser

import pytest
import yaml

import ultralytics_diffattn
from tests.interpreters import run
from tests.pages import FENCE, PAGES, TRANSLATED
from tests.places import ROOT
from ultralytics_diffattn import cli
from ultralytics_diffattn.maps import measurement

LOADS = {"script": "src", "img": "src", "iframe": "src", "source": "src", "link": "href"}


@pytest.fixture(scope="module")
def site(tmp_path_factory):
    """Build the site; a page outside the navigation, a dead link or a dead anchor is a warning, and that an error."""
    folder = tmp_path_factory.mktemp("site")
    run(sys.executable, "-m", "mkdocs", "build", "--strict", "--site-dir", folder, cwd=ROOT)
    return folder


def files_of(nav):
    for entry in nav:
        (target,) = entry.values()
        yield from [target] if isinstance(target, str) else files_of(target)


def built(root, page):
    """Return the file that the site has for a page."""
    return root / page.removesuffix("index.md").removesuffix(".md") / "index.html"


def test_every_page_is_built_and_in_the_navigation_once(site):
    config = yaml.safe_load((ROOT / "mkdocs.yml").read_text())
    pages = sorted(page.removeprefix("docs/") for page in PAGES if page != "README.md" and ".zh." not in page)
    assert sorted(files_of(config["nav"])) == pages
    for page in pages:
        for root in (site, site / "zh"):
            assert built(root, page).is_file()


def test_translated_pages_are_those_of_their_language(site):
    """A page of the Chinese site is the translation where there is one; elsewhere the English one."""
    assert len(TRANSLATED) == 2
    for page in TRANSLATED:
        title = PAGES[page.replace(".md", ".zh.md")].partition("\n")[0].removeprefix("# ")
        english, chinese = (built(root, page.removeprefix("docs/")) for root in (site, site / "zh"))
        assert title in chinese.read_text(encoding="utf-8")
        assert title not in english.read_text(encoding="utf-8")


def test_reference_is_generated_from_docstrings(site):
    for page in (ROOT / "docs" / "reference").glob("*.md"):
        html = built(site, f"reference/{page.name}").read_text()
        objects = re.findall(r"^::: (\S+)$", page.read_text(), re.M)
        assert objects
        for o in objects:
            assert f'id="{o}"' in html
        assert html.count("Examples:") >= len(objects), f"{page}: each has an example in its docstring"


def test_reference_has_every_public_name_and_verb():
    text = "".join(page.read_text() for page in (ROOT / "docs" / "reference").glob("*.md"))
    objects = set(re.findall(r"^::: (\S+)$", text, re.M))
    overview = (ROOT / "docs" / "reference" / "index.md").read_text()
    for name, module in ultralytics_diffattn._EXPORTS.items():
        assert f"`{name}`" in overview or f"`ultralytics_diffattn.{name}`" in overview
        assert name == "__version__" or f"ultralytics_diffattn.{module}.{name}" in objects
    for verb in cli.VERBS:
        name = verb.replace("-", "_")
        assert f"ultralytics_diffattn.verbs.{name}.{name}" in objects


def test_list_for_language_models_is_what_the_script_writes(site):
    text = (site / "llms.txt").read_text(encoding="utf-8")
    assert text == runpy.run_path(str(ROOT / "scripts" / "llms.py"))["as_text"](), (
        "python scripts/llms.py docs/llms.txt"
    )
    listed = re.findall(r"^- \[[^]]+\]\(\S+/blob/main/(\S+)\): \S", text, re.M)
    assert sorted(listed) == sorted(page for page in PAGES if page != "README.md" and ".zh." not in page)


def test_pages_load_nothing_from_elsewhere(site):
    loaded = []

    class Reader(HTMLParser):
        def handle_starttag(self, tag, attributes):
            url = dict(attributes).get(LOADS.get(tag)) or ""
            if re.match(r"(https?:)?//", url):
                loaded.append(url)

    pages = list(site.rglob("*.html"))
    assert len(pages) > len(PAGES) - 1
    for page in pages:
        text = page.read_text(encoding="utf-8")
        Reader().feed(text)
        loaded += re.findall(r"url\([\"']?(?:https?:)?//[^)]+\)", text)
    for style in site.rglob("*.css"):
        loaded += re.findall(r"url\([\"']?(?:https?:)?//[^)]+\)|@import[^;]+", style.read_text(encoding="utf-8"))
    assert not loaded


@pytest.mark.parametrize("page", PAGES)
def test_blocks_are_of_a_kind_that_is_tested(page):
    """A block in another language, or one that stands in a list, would be run by nobody."""
    assert PAGES[page].count("```") == 2 * len(FENCE.findall(PAGES[page]))
    for indent, language, content in FENCE.findall(PAGES[page]):
        assert language in {"bash", "python", "yaml", "bibtex", ""}, content
        assert not indent, content
        commands = (
            r"^(?:\$ )?(?:yolo|pip|python3?|mkdocs) "  # `diffattn compare` stands above its own output as a quote
        )
        assert language or not re.search(commands, content, re.M), f"write ```bash, so that it is run: {content}"


def test_figure_is_what_the_script_draws(tmp_path):
    """Bars and words, as far as other releases of Matplotlib leave them alone."""
    run(sys.executable, ROOT / "scripts" / "figure.py", tmp_path / "new.svg")
    texts, bars = [], []
    for file in (ROOT / "docs" / "differential-attention.svg", tmp_path / "new.svg"):
        svg = file.read_text(encoding="utf-8")
        texts.append(re.findall(r"<text[^>]*>([^<]+)</text>", svg))
        paths = re.findall(r'<g id="((?:A1|A2|difference)-\d+)">\s*<path d="([^"]+)"', svg)
        bars.append({name: [float(x) for x in re.findall(r"-?[\d.]+", d)] for name, d in paths})
    assert texts[0] == texts[1]
    assert len(bars[0]) == 3 * 60
    assert bars[0].keys() == bars[1].keys()
    assert all(points == pytest.approx(bars[1][name], abs=0.01) for name, points in bars[0].items())


def test_figure_shows_softmaxes():
    script = runpy.run_path(str(ROOT / "scripts" / "figure.py"))
    first, second = script["maps"]()
    assert first.sum() == pytest.approx(1)
    assert second.sum() == pytest.approx(1)
    assert min(first.min(), second.min()) > 0
    share = script["on_object"]
    assert share(second) < share(first) < share(first - script["LAMBDA"] * second)


def test_figure_needs_a_file():
    done = run(sys.executable, ROOT / "scripts" / "figure.py", check=False)
    assert done.returncode
    assert "Give the file" in done.stderr


def test_fields_of_attention_json_are_its_types():
    """Every field of the file stands in the table of docs/attention.md, and no other."""
    text = (ROOT / "docs" / "attention.md").read_text(encoding="utf-8")
    rows = text.partition("### attention.json")[2].partition("###")[0].strip().splitlines()[2:]
    types = measurement.Measurement, measurement.BlockMeasurement, measurement.MapStatistics
    types = *types, measurement.RemovedShare, measurement.Difference
    fields = {field for kind in types for field in kind.__annotations__}
    assert {field for row in rows for field in re.findall(r"`(.+?)`", row.split("|")[1])} <= fields
    names = {"model", "baseline", "A1", "A2", "difference", "positive", "outside", "inside"}
    assert {name for row in rows for name in re.findall(r"`(.+?)`", row)} == fields | names


def test_attention_summary_is_what_attend_printed():
    """The table of docs/attention.md repeats, in its order, what the printed blocks below it say."""
    text = (ROOT / "docs" / "attention.md").read_text(encoding="utf-8")
    share = r"-?[\d.]+ % \(-?[\d.]+ % to -?[\d.]+ %\)"
    table = re.findall(rf"^\| `(\w+)`, (\S+), .*? \| (\d) \| ({share}) \| ({share}) \|$", text, re.M)
    titles = re.findall(r"^#### (\S+), .*`(\w+)`, seed (\d)$", text, re.M)
    printed = re.findall(rf"removes ({share}) of A1's mass outside all boxes, and ({share}) of that", text)
    assert len(table) == len(titles) == len(printed) == 10
    for row, (data, kind, seed), shares in zip(table, titles, printed, strict=True):
        assert row == (kind, data, seed, *shares)
