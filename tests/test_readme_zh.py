"""README.zh-CN.md says what README.md says, as far as headings, code, figures, links and tables can tell."""

import difflib
import re
from collections import Counter

import pytest

from tests.pages import FENCE, README
from tests.places import ROOT

CHINESE = (ROOT / "README.zh-CN.md").read_text(encoding="utf-8")
HEADINGS = {
    "# ultralytics-diffattn": "# ultralytics-diffattn",
    "## Quick start": "## 快速开始",
    "## What you get": "## 主要特点",
    "## Does it help?": "## 有效果吗？",
    "## Install": "## 安装",
    "## Train YOLO with differential attention": "## 训练带差分注意力的 YOLO",
    "## Compare two YOLO models": "## 对比两个 YOLO 模型",
    "## Draw attention maps": "## 绘制注意力图",
    "## Documentation": "## 文档",
    "## Citation": "## 引用",
    "## Licence": "## 许可证",
}
SWITCH = r"\[[^\]]*\]\(README(?:\.zh-CN)?\.md\)"  # the link to the other language
IMAGE = r"!\[([^\]]*)\]\(([^)\s]+)\)"
SPAN = r"(`+)(.+?)\1"
NUMBER = r"(?<![A-Za-z0-9_.,+−±-])[+−±-]?\d+(?:[.,]\d+)*(?: ?%)?"  # not in names
NAME = r"(?<![A-Za-z0-9])[A-Za-z][A-Za-z0-9-]*\d[A-Za-z0-9-]*"  # YOLO11, mAP50-95, yolo11n-diffattn


def sections(text):
    """Return each heading with the text below it, in order; a `#` in code is a comment."""
    text = re.sub(rf"(?<=\n\n){SWITCH}.*\n\n|{SWITCH}", "", text)
    starts = [*re.finditer(r"^#+ .+$", FENCE.sub(lambda code: "`" * len(code[0]), text), re.M)]
    ends = [match.start() for match in starts[1:]] + [len(text)]
    return [(match[0], text[match.end() : end].strip()) for match, end in zip(starts, ends, strict=True)]


def slug(heading):
    """Return what a link calls a heading, by GitHub's rule."""
    return re.sub(r"[^\w\- ]", "", heading.lstrip("#").strip().lower()).replace(" ", "-")


def code(text):
    """Return the lines of the blocks, with their fences."""
    return [line for match in FENCE.finditer(text) for line in match[0].splitlines()]


def images(text):
    return [file for _, file in re.findall(IMAGE, text)]


def links(text):
    """Return the targets; where one is a heading of README.md, the heading of README.zh-CN.md in its place."""
    text = re.sub(SPAN, "", re.sub(IMAGE, "", FENCE.sub("", text)), flags=re.S)
    anchors = {f"#{slug(english)}": f"#{slug(chinese)}" for english, chinese in HEADINGS.items()}
    return sorted(anchors.get(target, target) for target in re.findall(r"\]\(([^)\s]+)\)", text))


def numbers(text):
    """Return the figures of what is read, of tables too, but not those of code, targets and names."""
    text = re.sub(SPAN, "", re.sub(r"\]\([^)\s]+\)", "]", FENCE.sub("", text)), flags=re.S)
    return sorted(number.replace(" ", "") for number in re.findall(NUMBER, text))


def spans(text):
    """Return the different inline codes."""
    return sorted({" ".join(span.split()) for _, span in re.findall(SPAN, FENCE.sub("", text), re.S)})


def tables(text):
    """Return each row, with the names that have a figure, the figures and the code of each of its cells."""
    rows = []
    for table, lines in enumerate(re.findall(r"(?:^\|.*\|$\n?)+", FENCE.sub("", text), re.M), 1):
        for line in lines.splitlines():
            cells = re.split(r"(?<!\\)\|", line)[1:-1]
            names = [sorted(re.findall(NAME, re.sub(rf"{SPAN}|\]\(\S+?\)", "", cell))) for cell in cells]
            facts = [names + numbers(cell) + spans(cell) for names, cell in zip(names, cells, strict=True)]
            rows.append(f"table {table}: {facts}")
    return rows


def blocks(text):
    """Return the kind of each block between blank lines."""
    kinds_of_blocks = []
    for block in re.split(r"\n\s*\n", FENCE.sub("```", text)):
        kinds = {"|": "table", "```": "code", "![": "image", ">": "quote", "- ": "list", "**": "text", "*": "caption"}
        kind = next((kind for start, kind in kinds.items() if block.startswith(start)), "text")
        kinds_of_blocks.append(kind if kind != "list" else f"list of {len(re.findall('^- ', block, re.M))}")
    return kinds_of_blocks


IN_ORDER = code, images, tables, blocks
IN_ANY_ORDER = links, numbers, spans
CHECKS = *IN_ORDER, *IN_ANY_ORDER


def unmatched(first, second):
    """Return the items of each of two sequences that the other lacks at this position, with their positions."""
    lacking = [], []
    for tag, *span in difflib.SequenceMatcher(None, first, second, autojunk=False).get_opcodes():
        if tag != "equal":
            for lines, sequence, (start, end) in zip(lacking, (first, second), (span[:2], span[2:]), strict=True):
                lines += [f"{sequence[i]} ({i + 1} of {len(sequence)})" for i in range(start, end)]
    return lacking


def differences(check, english, chinese):
    """Return a line for each item that one section has and the other lacks, or has elsewhere."""
    ours, theirs = check(english), check(chinese)
    if check in IN_ORDER:
        left, right = unmatched(ours, theirs)
    else:
        left, right = ((Counter(a) - Counter(b)).elements() for a, b in ((ours, theirs), (theirs, ours)))
    return [f"only in README.md: {item}" for item in left] + [f"only in README.zh-CN.md: {item}" for item in right]


def out_of_step(check, english, chinese):
    """Return what differs, by section; a missing section is the business of `headings_out_of_step`."""
    theirs = dict(sections(chinese))
    return [
        f"{check.__name__}, {heading!r}: {line}"
        for heading, text in sections(english)
        if HEADINGS.get(heading) in theirs
        for line in differences(check, text, theirs[HEADINGS[heading]])
    ]


def headings_out_of_step(english, chinese):
    """Return the headings that are not where HEADINGS has them."""
    problems = []
    for name, text, expected in (("README.md", english, HEADINGS), ("README.zh-CN.md", chinese, HEADINGS.values())):
        missing, new = unmatched([*expected], [heading for heading, _ in sections(text)])
        problems += [f"{name} has not, at this place, the heading {line}" for line in missing]
        problems += [f"{name} has a heading that HEADINGS in this test has not, at this place: {line}" for line in new]
    return problems


def dead_anchors(text):
    """Return the links within the page that lead nowhere."""
    slugs = [slug(heading) for heading, _ in sections(text)]
    targets = re.findall(r"\]\((?:README\.zh-CN\.md)?#([^)\s]+)\)", FENCE.sub("", text))
    return [f"#{target} is no heading's" for target in targets if slugs.count(target) != 1]


def test_headings():
    problems = headings_out_of_step(README, CHINESE)
    assert not problems, "\n".join(problems)
    for english, chinese in HEADINGS.items():
        assert english.split()[0] == chinese.split()[0], f"{english!r} and {chinese!r} are of different levels"


@pytest.mark.parametrize("check", CHECKS, ids=lambda check: check.__name__)
def test_section_by_section(check):
    problems = out_of_step(check, README, CHINESE)
    assert not problems, "\n".join(problems)


def test_anchors():
    assert not dead_anchors(CHINESE)


def test_each_links_to_the_other():
    assert README.count("](README.zh-CN.md)") == 1
    assert CHINESE.count("](README.md)") == 1
    assert "](README.md)" in CHINESE.partition("\n## ")[0]


@pytest.mark.parametrize("name", ["README.md", "README.zh-CN.md"])
def test_patterns_match(name):
    """A pattern without a match would hold for any text."""
    parts = sections(README if name == "README.md" else CHINESE)
    counts = {check.__name__: sum(len(check(text)) for _, text in parts) for check in CHECKS}
    least = {"code": 40, "images": 1, "tables": 14, "blocks": 25, "links": 30, "numbers": 15, "spans": 12}
    assert all(counts[check] >= least[check] for check in least), counts


@pytest.mark.parametrize(
    ("check", "old", "new"),
    [
        ("code", r"(?s)(```bash\n)(.+?\n)", r"\1# \2"),
        ("code", "```python", "```"),
        ("code", r"(?ms)^```bash\n.+?^```\n", ""),
        ("images", r"\]\((\S+)\.jpg\)", r"](\1.png)"),
        ("tables", r"(?m)^\|(.+\|.+\|)$", r"| |\1"),
        ("tables", r"(?m)^(\|.*)`split`(.*\|)$", r"\1`spilt`\2"),
        ("tables", r"(?m)^(\| \*\*是.*\|\n)(\| .*\|\n)", r"\2\1"),
        ("blocks", r"\n\n\*([^*]+)\*\n\n", r"\n\n"),
        ("blocks", r"。\n\n(?=\w)", "。"),
        ("links", r"\]\(docs/how-to/", "](doc/how-to/"),
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
    check = globals()[check]
    new_problems = {*out_of_step(check, README, changed)} - {*out_of_step(check, README, CHINESE)}
    assert new_problems
    assert all(re.match(rf"{check.__name__}, '##? .+': only in README(\.zh-CN)?\.md: ", line) for line in new_problems)


@pytest.mark.parametrize(
    ("old", "new"),
    [
        ("## 安装", "## 安装方法"),
        ("## 安装", "### 安装"),
        ("## 安装\n", ""),
        ("## 安装", "## 安装\n\n## 还有"),
        ("## 安装", "## 安装\n\n## 安装"),
    ],
)
def test_a_changed_heading_is_seen(old, new):
    problems = headings_out_of_step(README, CHINESE.replace(old, new, 1))
    assert {*problems} - {*headings_out_of_step(README, CHINESE)}


def test_a_moved_section_and_a_new_one_in_english_are_seen():
    moved = CHINESE.replace("## 引用", "## ?").replace("## 许可证", "## 引用").replace("## ?", "## 许可证")
    assert {*headings_out_of_step(README, moved)} - {*headings_out_of_step(README, CHINESE)}
    assert any(
        "README.md" in line and "## More" in line for line in headings_out_of_step(README + "\n## More", CHINESE)
    )


def test_a_dead_anchor_is_seen():
    assert dead_anchors(CHINESE + "[?](#see-where-it-looks)")
