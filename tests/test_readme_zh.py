"""README.zh-CN.md says what README.md says, as far as headings, code, figures, links and tables can tell."""

import difflib
import re
from collections import Counter

import pytest
from conftest import ROOT
from pages import FENCE, README

CHINESE = (ROOT / "README.zh-CN.md").read_text(encoding="utf-8")
HEADINGS = {
    "# ultralytics-diffattn": "# ultralytics-diffattn",
    "## First result": "## 跑出第一个结果",
    "## See where it looks": "## 看看它关注哪里",
    "## What it costs": "## 代价有多大",
    "## Does it help on your data?": "## 在你的数据上有用吗？",
    "## Usage": "## 用法",
    "## Keep what COCO taught": "## 保留 COCO 预训练学到的东西",
    "## The `diffattn` command": "## `diffattn` 命令",
    "## In Python": "## 在 Python 中使用",
    "## Model YAMLs": "## 模型 YAML",
    "## How it gets into ultralytics": "## 它如何接入 ultralytics",
    "## Troubleshooting": "## 故障排查",
    "## Citation": "## 引用",
    "## Licence": "## 许可证",
}
SWITCHES = r" 中文：\[README\.zh-CN\.md\]\(README\.zh-CN\.md\)\.", r"\[English\]\(README\.md\) \| 简体中文\n\n"
IMAGE = r"!\[([^\]]*)\]\(([^)\s]+)\)"
SPAN = r"(`+)(.+?)\1"
NUMBER = r"(?<![A-Za-z0-9_.,+−±-])[+−±-]?\d+(?:[.,]\d+)*(?: ?%)?"  # not in names: YOLO11, mAP50-95, v2


def sections(text):
    """Return the text below each heading, without the link to the other language; a `#` in code is a comment."""
    for switch in SWITCHES:
        text = re.sub(switch, "", text)
    starts = [*re.finditer(r"^#+ .+$", FENCE.sub(lambda code: "`" * len(code[0]), text), re.M)]
    ends = [match.start() for match in starts[1:]] + [len(text)]
    return {match[0]: text[match.end() : end].strip() for match, end in zip(starts, ends, strict=True)}


def slug(heading):
    """Return what a link calls a heading, by GitHub's rule."""
    return re.sub(r"[^\w\- ]", "", heading.lstrip("#").strip().lower()).replace(" ", "-")


def code(text):
    """Return each block, with its language."""
    return [f"```{language}\n{content}```" for _, language, content in FENCE.findall(text)]


def images(text):
    return [file for _, file in re.findall(IMAGE, text)]


def links(text):
    """Return the targets; where one is a heading of README.md, the heading of README.zh-CN.md in its place."""
    text = re.sub(SPAN, "", re.sub(IMAGE, "", FENCE.sub("", text)), flags=re.S)
    places = {f"#{slug(english)}": f"#{slug(chinese)}" for english, chinese in HEADINGS.items()}
    return sorted(places.get(target, target) for target in re.findall(r"\]\(([^)\s]+)\)", text))


def numbers(text):
    """Return the figures of what is read, of tables too, but not those of code blocks, targets and names."""
    text = re.sub(r"\]\([^)\s]+\)", "]", FENCE.sub("", text))
    return sorted(number.replace(" ", "") for number in re.findall(NUMBER, text))


def spans(text):
    """Return the different inline codes."""
    return sorted({" ".join(span.split()) for _, span in re.findall(SPAN, FENCE.sub("", text), re.S)})


def tables(text):
    """Return, for each row, its place and for each cell the figures and the code in it."""
    found = []
    for table, lines in enumerate(re.findall(r"(?:^\|.*\|$\n?)+", FENCE.sub("", text), re.M), 1):
        for row, line in enumerate(lines.splitlines(), 1):
            cells = re.split(r"(?<!\\)\|", line)[1:-1]
            found.append(f"table {table}, row {row}: {[numbers(cell) + spans(cell) for cell in cells]}")
    return found


def blocks(text):
    """Return the kind of each block between blank lines."""
    kinds = {"|": "table", "```": "code", "![": "image", ">": "quote", "- ": "list", "*`": "caption", "*": "caption"}
    text = FENCE.sub("```", text)
    found = []
    for block in re.split(r"\n\s*\n", text):
        kind = next((kind for start, kind in kinds.items() if re.match(rf"{re.escape(start)}(?!\*)", block)), "text")
        found.append(kind if kind != "list" else f"list of {len(re.findall('^- ', block, re.M))}")
    return found


IN_ORDER = code, images, tables, blocks
IN_ANY_ORDER = links, numbers, spans
CHECKS = *IN_ORDER, *IN_ANY_ORDER


def differences(check, english, chinese):
    """Return a line for each thing that one section has and the other has not, or has at another place."""
    if check in IN_ORDER:
        lines = difflib.ndiff(check(english), check(chinese))
        lines = [line for line in lines if line[0] in "-+"]
    else:
        ours, theirs = Counter(check(english)), Counter(check(chinese))
        lines = [f"- {found}" for found in (ours - theirs).elements()]
        lines += [f"+ {found}" for found in (theirs - ours).elements()]
    return [f"only in README{'.md' if line[0] == '-' else '.zh-CN.md'}: {line[2:]}" for line in lines]


def out_of_step(check, english, chinese):
    """Return what differs, by section; a section that is missing is the business of `headings_out_of_step`."""
    theirs = sections(chinese)
    return [
        f"{check.__name__}, {heading!r}: {line}"
        for heading, text in sections(english).items()
        if HEADINGS.get(heading) in theirs
        for line in differences(check, text, theirs[HEADINGS[heading]])
    ]


def headings_out_of_step(english, chinese):
    """Return the headings that are not where HEADINGS has them."""
    found = []
    for name, text, wanted in (("README.md", english, HEADINGS), ("README.zh-CN.md", chinese, HEADINGS.values())):
        lines = difflib.ndiff([*wanted], [*sections(text)])
        where = {"-": "HEADINGS, not here", "+": "here, not HEADINGS"}
        found += [f"{name}: {line[2:]!r} is in {where[line[0]]}" for line in lines if line[0] in where]
    return found


def dead_anchors(text):
    """Return the links within the page that lead nowhere."""
    slugs = [slug(heading) for heading in sections(text)]
    targets = re.findall(r"\]\((?:README\.zh-CN\.md)?#([^)\s]+)\)", FENCE.sub("", text))
    return [f"#{target} is no heading's" for target in targets if slugs.count(target) != 1]


def test_headings():
    found = headings_out_of_step(README, CHINESE)
    assert not found, "\n".join(found)
    for english, chinese in HEADINGS.items():
        assert english.split()[0] == chinese.split()[0], f"{english!r} and {chinese!r} are of different levels"


@pytest.mark.parametrize("check", CHECKS, ids=lambda check: check.__name__)
def test_section_by_section(check):
    found = out_of_step(check, README, CHINESE)
    assert not found, "\n".join(found)


def test_anchors():
    assert not dead_anchors(CHINESE)


def test_each_links_to_the_other():
    for text, switch in zip((README, CHINESE), SWITCHES, strict=True):
        assert len(re.findall(switch, text)) == 1, switch


@pytest.mark.parametrize("name", ["README.md", "README.zh-CN.md"])
def test_parts_are_found(name):
    """A pattern that finds nothing would hold for any text."""
    found = sections(README if name == "README.md" else CHINESE)
    counts = {check.__name__: sum(len(check(text)) for text in found.values()) for check in CHECKS}
    least = {"code": 10, "images": 3, "tables": 30, "blocks": 50, "links": 30, "numbers": 100, "spans": 80}
    assert all(counts[check] >= least[check] for check in least), counts


@pytest.mark.parametrize(
    ("check", "old", "new"),
    [
        ("code", r"(?s)(```bash\n)(.+?\n)", r"\1# \2"),
        ("code", "```python", "```"),
        ("code", r"(?ms)^```yaml.+?^```\n|^```bash\n.+?^```\n", ""),
        ("images", r"\]\((\S+)\.jpg\)", r"](\1.png)"),
        ("tables", r"(?m)^\|(.+\|.+\|)$", r"| |\1"),
        ("tables", r"(?m)^(\|.*\d.*\|\n)(\|.*\d.*\|\n)", r"\2\1"),
        ("blocks", r"\n\n\*([^*]+)\*\n\n", r"\n\n"),
        ("blocks", r"。\n\n(?=\w)", "。"),
        ("links", r"\]\(docs/", "](doc/"),
        ("links", r"(?<!!)\[([^\]]+)\]\((?!R)[^)]+\)", r"\1"),
        ("numbers", r"(?<= )\d(?=\d* )", "9"),
        ("numbers", r"-0\.", "0."),
        ("numbers", r"(\d+)%", r"\1"),
        ("spans", r"(?<=[一-鿿，] )`([^`\n]+)`", r"\1"),
    ],
)
def test_a_change_is_seen(check, old, new):
    """Each change of the Chinese page is reported, with its section."""
    changed, count = re.subn(old, new, CHINESE, count=1)
    assert count
    assert changed != CHINESE
    found = out_of_step(globals()[check], README, changed)
    assert found
    assert all(re.match(rf"{check}, '##? .+': only in README(\.zh-CN)?\.md: ", line) for line in found)


@pytest.mark.parametrize(
    ("old", "new"),
    [("## 用法", "## 使用方法"), ("## 用法", "### 用法"), ("## 用法\n", ""), ("## 用法", "## 用法\n\n## 还有")],
)
def test_a_changed_heading_is_seen(old, new):
    assert headings_out_of_step(README, CHINESE.replace(old, new, 1))


def test_a_moved_section_and_a_new_one_in_english_are_seen():
    moved = CHINESE.replace("## 引用", "## ?").replace("## 许可证", "## 引用").replace("## ?", "## 许可证")
    assert headings_out_of_step(README, moved)
    assert headings_out_of_step(README + "\n## More\n", CHINESE) == ["README.md: '## More' is in here, not HEADINGS"]


def test_a_dead_anchor_is_seen():
    assert dead_anchors(CHINESE.replace("(#看看它关注哪里)", "(#see-where-it-looks)"))
