"""scripts/matrix.py: cells, rows and failures; docs/compatibility.md and the workflow hold what it prints and lists."""

import json
import re
import runpy
import sys
from pathlib import Path

import pytest
import yaml

from tests.interpreters import forked, run
from tests.places import ROOT
from ultralytics_diffattn.plugin.versions import MINIMUM_ULTRALYTICS

MATRIX = runpy.run_path(str(ROOT / "scripts" / "matrix.py"))
Cell, CELLS = MATRIX["Cell"], MATRIX["CELLS"]
PAGE = (ROOT / "docs" / "compatibility.md").read_text(encoding="utf-8")


def matrix(*arguments, **env):
    return run(sys.executable, ROOT / "scripts" / "matrix.py", *arguments, check=False, **env)


def test_cells_span_the_promised_range():
    lowest_torch = re.search(r'"torch>=([\d.]+)"', (ROOT / "pyproject.toml").read_text())[1]
    lowest_python = re.search(r'requires-python = ">=([\d.]+)"', (ROOT / "pyproject.toml").read_text())[1]
    assert len(set(CELLS)) == len(CELLS)
    assert len({c.ultralytics for c in CELLS}) >= 12
    for release in (MINIMUM_ULTRALYTICS, "newest"):
        torches = {c.torch for c in CELLS if c.ultralytics == release}
        assert {t if t == "newest" else t.rpartition(".")[0] for t in torches} == {lowest_torch, "newest"}
        assert lowest_python in {c.python for c in CELLS if c.ultralytics == release}


def test_fast_tests_exist():
    assert all((ROOT / "tests" / f"{name}.py").is_file() for name in MATRIX["OLD_TORCH"])


@pytest.mark.parametrize(
    ("arguments", "count"),
    [
        ([], len(CELLS)),
        (["python=3.13"], sum(c.python == "3.13" for c in CELLS)),
        (["ultralytics=8.4.0,8.4.40"], 2),
        (["ultralytics=newest", "torch=2.4.0"], 1),
    ],
    ids=str,
)
def test_cells_are_listed_for_the_workflow(arguments, count):
    listed = json.loads(matrix("cells", *arguments).stdout)
    assert len(listed) == count
    assert {Cell(**c) for c in listed} <= set(CELLS)


@pytest.mark.parametrize(
    ("argument", "message"),
    [
        ("ultralitics=8.4.0", "ultralitics=8.4.0: known are cells, ultralytics=, torch=, python="),
        ("torch", "torch: known are cells, ultralytics=, torch=, python="),
        ("ultralytics=1.0", "ultralytics=1.0: no such cell; `cells` lists them."),
    ],
)
def test_bad_arguments(argument, message):
    process = matrix(argument)
    assert process.returncode == 1
    assert process.stderr.strip() == message


def test_a_key_twice_and_help():
    assert "each key once" in matrix("torch=2.4.0", "torch=newest").stderr
    assert matrix("--help").stdout.strip() == MATRIX["__doc__"].strip()


def test_onnx_step_sees_what_the_attention_does(tmp_path):
    """The step itself, here; and it fails where the exported graph lacks the attention."""
    forked(MATRIX["ONNX"], cwd=tmp_path)
    broken = """
def broken(yolo):
    for p in yolo.model.model[10].m[0].attn.proj.parameters():
        p.data.zero_()
    return yolo
"""
    step = broken + MATRIX["ONNX"].replace('YOLO("awake.pt").export', 'broken(YOLO("awake.pt")).export')
    process = forked(step, cwd=tmp_path, check=False)
    assert "px off, where leaving out the attention makes" in process.stderr


def test_without_uv(tmp_path):
    process = matrix("python=3.13", PATH=str(tmp_path))
    assert (process.returncode, process.stdout) == (1, "")
    assert "pip install uv" in process.stderr


@pytest.fixture
def uv(tmp_path, monkeypatch):
    """Put a uv into the PATH that installs nothing: an environment of its making is this one."""
    script = tmp_path / "bin" / "uv"
    script.parent.mkdir()
    script.write_text(
        "#!/bin/sh\n"
        'if [ "$1" = pip ]; then [ -z "$NO_SUCH" ] || { echo "error: No solution found"; exit 2; }; exit 0; fi\n'
        'for last; do :; done; mkdir -p "$last/bin"\n'
        f'printf \'#!/bin/sh\\nexec {sys.executable} "$@"\\n\' > "$last/bin/python"; chmod +x "$last/bin/python"\n'
    )
    script.chmod(0o755)
    monkeypatch.setenv("PATH", f"{script.parent}:/usr/bin:/bin")


def replace_steps(steps, monkeypatch):
    """Replace the long steps of a cell."""
    monkeypatch.setitem(MATRIX["attempt"].__globals__, "steps", lambda cell, python, folder: steps(python))


def test_a_row_for_a_cell_that_works(uv, tmp_path, monkeypatch):
    replace_steps(
        lambda python: dict.fromkeys("abcde", ((python, "-c", "print('7 passed in 1s')"), r"(\d+ passed)")), monkeypatch
    )
    row, passed = MATRIX["attempt"](CELLS[0], tmp_path)
    assert passed
    assert re.fullmatch(r"\| [\d.]+ \| [\d.+a-z]+ \| [\d.]+ \|( 7 passed \|){5}", row)
    assert row.count("|") == MATRIX["HEADER"].partition("\n")[0].count("|")


def test_a_failing_step_is_named_and_the_others_run(uv, tmp_path, monkeypatch):
    code = "import sys; print('noise'); sys.exit('ValueError: lambda is gone') if 'd' in sys.argv else print('done')"
    replace_steps(lambda python: {n: ((python, "-c", code, n), "") for n in "abcde"}, monkeypatch)
    row, passed = MATRIX["attempt"](CELLS[0], tmp_path)
    assert not passed
    assert row.endswith("| ✓ | ✓ | ✓ | ✗ ValueError: lambda is gone | ✓ |")
    assert "noise\nValueError: lambda is gone" in (tmp_path / "log.txt").read_text()


def test_a_cell_that_cannot_be_installed(uv, tmp_path, monkeypatch):
    monkeypatch.setenv("NO_SUCH", "1")
    row, passed = MATRIX["attempt"](Cell("9.9.9"), tmp_path)
    assert not passed
    assert "9.9.9 | newest | 3.11 | cannot be installed: error: No solution found" in row
    assert row.count("|") == MATRIX["HEADER"].partition("\n")[0].count("|")


def test_yamls_of_this_release_are_counted():
    """The step itself, here: every YAML is built, or says which ultralytics it needs."""
    built, files = re.search(r"(\d+) of (\d+)", forked(MATRIX["YAMLS"]).stdout).groups()
    assert int(files) == len(list((ROOT / "cfg").glob("*.yaml")))
    assert 0 < int(built) <= int(files)


def test_page_holds_a_row_for_each_cell():
    table = PAGE.partition(MATRIX["HEADER"])[2].partition("\n\n")[0].strip().splitlines()
    rows = [[c.strip() for c in line.strip("|").split("|")] for line in table]
    newest = {i: max((r[i] for r in rows), key=lambda v: [int(x) for x in v.split("+")[0].split(".")]) for i in (0, 1)}
    assert len(rows) == len(CELLS)
    for cell in CELLS:
        ultralytics, torch = (newest[i] if version == "newest" else version for i, version in enumerate(cell[:2]))
        (row,) = (r for r in rows if (r[0], r[1]) == (ultralytics, torch) and r[2].startswith(f"{cell.python}."))
        assert not any(column.startswith("✗") for column in row), row


def test_workflow_tries_every_cell_by_schedule_and_by_hand():
    text = Path(ROOT, ".github", "workflows", "matrix.yml").read_text()
    workflow = yaml.safe_load(text)
    assert set(workflow[True]) == {"schedule", "workflow_dispatch"}  # YAML 1.1 reads `on` as true
    commands = re.findall(r"python3 (scripts/\S+)", text)
    assert set(commands) == {"scripts/matrix.py"}
    assert set(re.findall(r"matrix\.cell\.(\w+)", text)) == set(Cell._fields)
