# Ultralytics DiffAttn - AGPL-3.0 License
"""Test this checkout over the supported range of versions, print a table: `python scripts/matrix.py [key=value]`.

`ultralytics=8.4.0,8.4.190`, `torch=2.4.0` and `python=3.11` choose cells of the table, `cells` lists them as JSON. Each
is installed by uv (`pip install uv`) in a temporary environment. Exits with 1 if a cell fails.
"""

import json
import os
import re
import shutil
import subprocess
import sys
import tempfile
from pathlib import Path
from typing import NamedTuple

ROOT = Path(__file__).resolve().parents[1]
NEWEST = "newest"  # in the package index on that day
FLOOR = "8.3.108"


class Cell(NamedTuple):
    """A combination of versions."""

    ultralytics: str
    torch: str = NEWEST
    python: str = "3.11"


# The floor, and releases round changes in what the plugin touches: parse_model, look-up of YAMLs, loading, processes.
RELEASES = (
    FLOOR, "8.3.160", "8.3.237", "8.3.253", "8.4.0", "8.4.40", "8.4.52", "8.4.67", "8.4.104", "8.4.140", "8.4.144",
    NEWEST,
)  # fmt: skip
CELLS = (
    *(Cell(release) for release in RELEASES),
    *(Cell(release, "2.4.0", "3.10") for release in (FLOOR, NEWEST)),
    *(Cell(release, NEWEST, "3.13") for release in (FLOOR, NEWEST)),
    Cell(NEWEST, NEWEST, "3.12"),
)
# Requirements of the export to ONNX, which old releases of ultralytics do not declare, of torch.compile, which torch
# 2.4 does not declare, and of the fast tests, whose forks have imported SciPy.
PACKAGES = (
    "setuptools", "onnx", "onnxruntime", "onnxslim", "onnxscript",
    "pytest", "pytest-xdist", "hypothesis", "scipy", "timm>=1.0.20", "cloudpickle>=3.1.1",
)  # fmt: skip
FAST = (
    "nn/test_attention", "nn/test_area", "nn/test_aifi", "nn/test_blocks", "plugin/test_folding", "plugin/test_twins",
    "plugin/test_parsers", "plugin/test_yaml_lookup", "plugin/test_registry", "plugin/test_user_modules",
    "test_example_modules", "weights/test_transfer", "weights/test_checkpoints",
    "weights/test_fixtures",
)  # fmt: skip
OLD_TORCH = (*FAST, "nn/test_backends")  # depends on torch alone; .ci/run runs it with the newest
HEADER = """| ultralytics | torch | Python | fast tests | YAMLs | one epoch | in a fresh process | ONNX |
|---|---|---|---|---|---|---|---|"""

YAMLS = """
import pathlib, re
from ultralytics import RTDETR, YOLO, __version__
from ultralytics.utils.checks import check_version
from ultralytics_diffattn.bundled import path as bundled_path
from ultralytics_diffattn.plugin.yaml_lookup import NEEDS
built, files = 0, sorted(bundled_path("cfg").glob("*.yaml"))
for file in files:
    needs = re.search(NEEDS, file.read_text(), re.MULTILINE)
    try:
        (RTDETR if "rtdetr" in file.name else YOLO)(file.name)
        built += 1
    except RuntimeError as error:  # names the ultralytics that it needs
        assert needs and not check_version(__version__, f">={needs[1]}") and needs[1] in str(error), error
print(f"{built} of {len(files)}")
"""
VERSIONS = """
import platform
from importlib.metadata import version
print(version("ultralytics"), version("torch"), platform.python_version())
"""
RELOAD = """
import sys, torch
from ultralytics import YOLO
model = YOLO(sys.argv[1]).model
assert "C2PSA_Diff" in str(model) and all(p.isfinite().all() for p in model.parameters())
"""
ONNX = """
import onnxruntime, torch
from ultralytics import YOLO
torch.manual_seed(0)
yolo, x = YOLO("yolo11n-diffattn.yaml"), torch.rand(1, 3, 64, 64)
for m in yolo.model.modules():  # BatchNorm from these images: else nothing of an image reaches the attention
    m.momentum = 1.0 if isinstance(m, torch.nn.BatchNorm2d) else None
with torch.no_grad():
    yolo.model.train()(torch.rand(4, 3, 64, 64))
yolo.save("awake.pt")
session = onnxruntime.InferenceSession(YOLO("awake.pt").export(format="onnx", imgsz=64, device="cpu"))
theirs = torch.from_numpy(session.run(None, {session.get_inputs()[0].name: x.numpy()})[0])
model = YOLO("awake.pt").model.eval()
(proj,) = [m for name, m in model.named_modules() if name.endswith("attn.proj")]
with torch.no_grad():
    ours = model(x)[0]
    proj.register_forward_hook(lambda module, inputs, y: 0 * y)
    without = model(x)[0]
off, effect = ((ours - other).abs().max().item() for other in (theirs, without))
assert off < 0.01 * effect, f"{off} px off, where leaving out the attention makes {effect}"
"""


def steps(cell: Cell, python: Path, folder: Path) -> dict[str, tuple]:
    """Return the command of each column, and a pattern for the part of its output that the table shows."""
    run, data = folder / "runs" / "matrix", "data=shapes.yaml"
    budget = "imgsz=64", "batch=16", "workers=0", "device=cpu"
    yolo = str(python.with_name("yolo"))
    tests = (str(ROOT / "tests" / f"{name}.py") for name in (FAST if cell.torch == NEWEST else OLD_TORCH))
    best = run / "weights" / "best.pt"
    train = "model=yolo11n-diffattn.yaml", data, "epochs=1", *budget, f"project={run.parent}", "name=matrix"
    return {
        "tests": (
            (python, "-m", "pytest", "-q", "-p", "no:cacheprovider", *tests),
            r"(\d+ passed(?:, \d+ skipped)?).* in ",
        ),
        "yamls": ((python, "-c", YAMLS), r"(\d+ of \d+)"),
        "train": ((yolo, "train", *train), ""),
        "reload": ((python, "-c", RELOAD, best), ""),
        "onnx": ((python, "-c", ONNX), ""),
    }


def run_logged(command: tuple, folder: Path) -> tuple[str, str]:
    """Run a command in a folder, append its output to log.txt; return the output, and the error or ""."""
    env = {**os.environ, "YOLO_CONFIG_DIR": str(folder), "YOLO_OFFLINE": "true", "OMP_NUM_THREADS": "1"}
    try:
        done = subprocess.run(
            [str(c) for c in command], cwd=folder, env=env, text=True, stdout=-1, stderr=-2, timeout=1800
        )
        output, failed = done.stdout, done.returncode != 0
    except subprocess.TimeoutExpired as error:
        output, failed = str(error), True
    with open(folder / "log.txt", "a") as log:
        print("$", *command, f"\n{output}", file=log)
    lines = [line for line in output.splitlines() if line.strip()] or ["failed"]
    errors = [line for line in lines if re.match(r"(\w|\.)*Error\b|error:|(FAILED|ERROR)\b", line)]
    return output, (errors or lines)[-1].replace("|", "\\|") if failed else ""


def attempt(cell: Cell, folder: Path) -> tuple[str, bool]:
    """Install a cell and run all steps in it.

    Args:
        cell (Cell): The versions.
        folder (Path): An empty folder.

    Returns:
        row (str): The row of the table.
        passed (bool): Whether all steps passed.
    """
    python = folder / "venv" / "bin" / "python"
    versions = {"ultralytics": cell.ultralytics, "torch": cell.torch}
    pins = [name if version == NEWEST else f"{name}=={version}" for name, version in versions.items()]
    create = ("uv", "venv", "--quiet", "--python", cell.python, folder / "venv")
    install = ("uv", "pip", "install", "--quiet", "--python", python, "--editable", ROOT, *pins, *PACKAGES)
    for command in (create, install):
        if error := run_logged(command, folder)[1]:
            return f"| {' | '.join(cell)} | cannot be installed: {error} |" + " |" * 4, False
    columns, passed = run_logged((python, "-c", VERSIONS), folder)[0].split(), True
    for command, pattern in steps(cell, python, folder).values():
        output, error = run_logged(command, folder)
        match = re.search(pattern, output)
        columns.append(f"✗ {error}" if error else match[1] if pattern and match else "✓")
        passed = passed and not error
    return f"| {' | '.join(columns)} |", passed


def main(arguments: list[str]) -> int:
    """Test the cells that the arguments choose; return the exit status."""
    if {"--help", "-h", "help"} & set(arguments):
        print(__doc__)
        return 0
    chosen = dict(a.partition("=")[::2] for a in arguments if a != "cells")
    if unknown := {a for a in arguments if (a != "cells" and a.split("=")[0] not in Cell._fields) or a in Cell._fields}:
        raise SystemExit(f"{' '.join(sorted(unknown))}: known are cells, {', '.join(f'{f}=' for f in Cell._fields)}")
    if len(chosen) + ("cells" in arguments) < len(arguments):
        raise SystemExit(f"{' '.join(arguments)}: each key once; several values with commas.")
    cells = [c for c in CELLS if all(getattr(c, k) in v.split(",") for k, v in chosen.items())]
    if not cells:
        raise SystemExit(f"{' '.join(arguments)}: no such cell; `cells` lists them.")
    if "cells" in arguments:
        print(json.dumps([c._asdict() for c in cells]))
        return 0
    if not shutil.which("uv"):
        raise SystemExit("uv is missing: `pip install uv`, and have it on the PATH.")
    print(HEADER, flush=True)
    failed = 0
    for cell in cells:
        folder = Path(tempfile.mkdtemp(prefix=f"matrix-{'-'.join(cell)}-"))
        row, passed = attempt(cell, folder)
        print(row, flush=True)
        shutil.rmtree(folder / "venv", ignore_errors=True)
        if passed:
            shutil.rmtree(folder, ignore_errors=True)
        else:
            failed += 1
            print(f"output: {folder / 'log.txt'}", file=sys.stderr, flush=True)
    return int(failed > 0)


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
