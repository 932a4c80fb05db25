# Ultralytics DiffAttn - AGPL-3.0 License
"""The results of `diffattn bench` as Markdown; every figure comes from performance.json."""

from __future__ import annotations

from pathlib import Path

from ultralytics_diffattn.benchmark import answer, picture, retrieval_report
from ultralytics_diffattn.benchmark.results import Group, Performance, Point, Row
from ultralytics_diffattn.output.files import write_json, write_text
from ultralytics_diffattn.output.formatting import number
from ultralytics_diffattn.output.markdown import folded, table

SECTIONS = {  # by group: title, and text above the table
    "core": (
        "Attention alone",
        "On the CPU in float32, one image, in eager mode or `exported`. `plain` is the formula of ultralytics' "
        "`Attention`, `published` that of DiffCLIP. All read the one tensor that C2PSA's convolution gives, with two "
        "heads, values of width 64, and queries of width 16 for each map (32 for the plain one). `ours` lets "
        "`diff_attention` choose its backend; `flash` and `formula` force one, to check the choice. Beside `timm`, "
        "both modules run without their projections, with lambda, the norm of the heads, and queries of width 32 "
        "for each map. At N = 1,600, plain attention may take twice as long in one process as in another: its maps "
        "cost more in page faults than in arithmetic, unless the system's allocator keeps their memory for the next "
        "call, and glibc's does so or not by chance. `MALLOC_MMAP_THRESHOLD_=4000000000 "
        "MALLOC_TRIM_THRESHOLD_=4000000000` in the environment makes it keep all.",
    ),
    "memory": (
        "Memory",
        "The peak of PyTorch's allocator for attention alone, forward and backward, without its input.",
    ),
    "block": ("The block", "Layer 10 of the fused models, `C2PSA_Diff` beside `C2PSA`, one feature map."),
    "model": ("The whole model", "`yolo11n-diffattn` beside `yolo11n`, both fused, one image, without NMS."),
    "train": ("Training", "Loss and gradients of the whole model, without the optimizer's step."),
    "export": ("Exported", "The whole model on the CPU, one image, without NMS."),
    "start": (
        "Cost of the plugin itself",
        "Fresh interpreters without .pth files; `with` first executes the line that the installed package adds.",
    ),
    "cuda": (
        "On a GPU",
        "`plain` is one `scaled_dot_product_attention` with queries, keys and values of width 64, two heads. The "
        "models are fused and in float16; `compile` is `torch.compile` with its own options, `graph` replays a CUDA "
        "graph.",
    ),
    "retrieval": (
        "Retrieval by the block alone",
        "Each token of a map carries one of 16 codes, a part of a mark (uniform, below 0.8) and noise (its standard "
        "deviation in each channel, where that of a code is 1); one token carries the whole mark, and every token is "
        "to say its code. Blocks of 64 channels and two heads are trained on maps of 100 tokens and read fresh maps of "
        "each size. Each seed gives all variants the same maps. Accuracy is the mean over seeds (lowest to highest), "
        "beside stock the mean of the differences of equal seeds [95 % interval]; chance is 0.063.",
    ),
}
PICTURE = (
    "![Time and peak memory of attention alone against the number of tokens, both axes logarithmic](performance.png)"
)


def as_markdown(results: Performance) -> str:
    """Return the report: how and on what was measured, the targets met and missed, and all rows.

    Args:
        results (Performance): What `performance.json` holds.

    Returns:
        (str): Markdown, which shows performance.png beside it.
    """
    lines = ["# Performance", ""]
    short = answer.as_lines(results)
    lines += [*short, ""] if short else []
    if any(picture.drawn(group.get("curves", {})) for group in results["groups"].values()):
        lines += [
            PICTURE,
            "",
            "*Attention alone: time of a forward pass, and peak memory of forward and backward.*",
            "",
        ]
    lines += ["## How it was measured", "", *_head(results), "", "## Targets", ""]
    met, *targets = _targets(results)
    lines += [met, "", *folded("Each target", targets[1:])] if targets else [met]
    for name, group in results["groups"].items():
        lines += _section(name, group)
    return "\n".join(lines) + "\n"


def _section(name: str, group: Group) -> list[str]:
    """Return the section of a group."""
    title, text = SECTIONS[name]
    lines = ["", f"## {title}", "", text]
    lines += ["", f"{group['note'][0].upper()}{group['note'][1:]}."] if group.get("note") else []
    lines += ["", *folded("Each measurement", _group_table(group["rows"]))] if group["rows"] else []
    lines += _curves(picture.drawn(group.get("curves", {})))
    if group.get("nodes"):
        text = ", ".join(f"{label} {count:,}" for label, count in group["nodes"].items())
        lines += ["", f"Nodes of the ONNX graph: {text}."]
    if group.get("at_start"):
        s = group["at_start"]
        lines += [
            "",
            f"Of this, `-X importtime` counts {s['ms']:.2f} ms [{s['low']:.2f} to {s['high']:.2f}] over "
            f"{s['repeats']} starts for our import, {len(s['modules'])} modules: {', '.join(s['modules'])}.",
        ]
    if group.get("retrieval"):
        lines += retrieval_report.as_lines(group["retrieval"])
    return lines


def summary(results: Performance) -> str:
    """Return the targets met and missed.

    Args:
        results (Performance): What `performance.json` holds.

    Returns:
        (str): Markdown.
    """
    return "\n".join(_targets(results))


def _targets(results: Performance) -> list[str]:
    """Return the table of all rows with a target."""
    rows = [row for group in results["groups"].values() for row in group["rows"] if row["target"] is not None]
    if not rows:
        return ["No ratio with a target was measured."]
    met, missed = (sum(row["met"] is value for row in rows) for value in (True, False))
    rest = f", {len(rows) - met - missed} could not be measured" if met + missed < len(rows) else ""
    cells = [("what", "on", "ratio", "target", "")]
    cells += [(_what(row), _on(row), _ratio(row), f"≤ {row['target']:g}", _verdict(row)) for row in rows]
    return [
        f"Of {len(rows)} ratios with a target {met} meet it, {missed} miss it{rest}.",
        "",
        *table(cells[0], cells[1:]),
    ]


def _head(results: Performance) -> list[str]:
    """Return the paragraphs on what was measured, how, when and on what."""
    minutes = sum(group["seconds"] for group in results["groups"].values()) / 60
    hardware, packages = results["hardware"], ", ".join(f"{n} {v}" for n, v in results["versions"].items())
    return [
        "What differential attention costs beside plain attention and beside other implementations, measured on "
        f"{results['date']} by",
        "",
        f"    {results['command']}",
        "",
        f"in {minutes:.0f} minutes.",
        "",
        "- The implementations of a case take turns on the same input. Each group runs in a process of its own.",
        "- A ratio is ours over the other, the median over the turns; in brackets are the quartiles. Below 1, ours "
        "takes less.",
        "- `again` is a second copy of the stock model: what differs there is noise.",
        "- A target is met if the ratio does not exceed it, whatever the spread.",
        "- On a busy CPU, several threads that wait for each other after each small step lose far more time than one. "
        "Ours may then take many times as long. `torch.set_num_threads(1)`, or `OMP_WAIT_POLICY=PASSIVE` in the "
        "environment, mends it.",
        "",
        f"Machine: {hardware['cpu']}, {hardware['cores']} cores, GPU {hardware['gpu']}, {hardware['system']}. "
        f"Versions: {packages}.",
    ]


def _group_table(rows: list[Row]) -> list[str]:
    """Return the table of all rows of a group, in milliseconds, or megabytes where memory was measured."""
    mb = any("ours_mb" in row for row in rows)
    name, digits = ("MB", 1) if mb else ("ms", 2)
    cells = [("what", "on", f"first, {name}", f"second, {name}", "ratio", f"difference, {name}", "turns")]
    for row in rows:
        one, other = (row.get("ours_mb"), row.get("other_mb")) if mb else (row["ours_ms"], row["other_ms"])
        difference = "-" if one is None or other is None else f"{one - other:+,.{digits}f}"
        values = number(one, digits), number(other, digits), _ratio(row), difference, str(row["repeats"] or "-")
        cells.append((_what(row), _on(row), *values))
    return table(cells[0], cells[1:])


def _curves(curves: dict[str, list[Point]]) -> list[str]:
    """Return the figures of the picture, and the points left out of it."""
    if not curves:
        return []
    names = [name for name in picture.LOOK if name in curves]
    by = {name: {p["tokens"]: p for p in curves[name]} for name in names}
    cells = [("N", *(f"{name}, {unit}" for unit in ("ms", "MB") for name in names))]
    for tokens in sorted({n for points in by.values() for n in points}):
        points = [by[n].get(tokens) for n in names]
        ms = (number(p and p["ms"], 2) for p in points)
        mb = (number(p and p["mb"], 1) for p in points)
        cells.append((f"{tokens:,}", *ms, *mb))
    lines = [
        "",
        "Time is of the forward pass (median; here each runs by itself), memory of forward and backward.",
        "",
        *table(cells[0], cells[1:]),
    ]
    longest = max(p["tokens"] for points in curves.values() for p in points)
    last = {name: curves[name][-1] for name in names}
    wanted = {n: p["mb"] / 1e3 * (longest / p["tokens"]) ** 2 for n, p in last.items() if p["tokens"] < longest}
    if wanted:
        text = ", ".join(f"{name} {gb:,.3g} GB" for name, gb in wanted.items())
        lines += ["", f"Left out at N = {longest:,}, as with N² memory would grow to: {text}."]
    return lines


def _what(row: Row) -> str:
    """Return the operation and the two implementations."""
    return f"{row['what']}: {row['ours']} / {row['other']}"


def _on(row: Row) -> str:
    """Return the device and the number of threads."""
    threads = row["threads"]
    return row["device"] if threads is None else f"{row['device']}, {threads} thread{'s' * (threads > 1)}"


def _ratio(row: Row) -> str:
    """Return the ratio with its quartiles, or the reason for none."""
    if row["ratio"] is None:
        return row.get("why") or "-"
    spread = "" if row["low"] is None else f" [{row['low']:.3f} to {row['high']:.3f}]"
    return f"{row['ratio']:.3f}{spread}"


def _verdict(row: Row) -> str:
    """Return whether the target is met."""
    return {True: "met", False: "**missed**", None: "not measured"}[row["met"]]


def write(folder: Path, results: Performance) -> None:
    """Write the results as JSON, Markdown and pictures of what there is to draw."""
    write_json(folder / "performance.json", results)
    write_text(folder / "performance.md", as_markdown(results))
    png = picture.as_png(results)
    if png:
        (folder / "performance.png").write_bytes(png)
    for group in results["groups"].values():
        if "retrieval" in group:
            (folder / "retrieval.png").write_bytes(retrieval_report.as_png(group["retrieval"]))
