"""examples/: the notebook runs from its first cell to its last, and shows what it was committed with."""

import base64
import io
import json
import os
import re
from pathlib import Path

import pytest
from PIL import Image

from tests.pages import COMMANDS
from tests.places import ROOT

NOTEBOOK = ROOT / "examples" / "quickstart.ipynb"
PATH = r"(?<![\w.)\]])/\w[\w.-]*/|\b[A-Za-z]:\\\w"  # how an absolute one begins


def text(cell):
    """Return what a cell has printed."""
    return "".join("".join(o["text"]) for o in cell["outputs"] if o["output_type"] == "stream")


def pictures(cell):
    """Return the pictures that a cell shows."""
    shown = [o.get("data", {}) for o in cell["outputs"]]
    found = ["".join(data.get("image/png") or data.get("image/jpeg") or "") for data in shown]
    return [Image.open(io.BytesIO(base64.b64decode(data))) for data in found if data]


def numbers(line):
    """Return the numbers in a line, but for those in names."""
    return [float(n) for n in re.findall(r"(?<![\w.-])-?\d+(?:\.\d+)?(?:e[+-]\d+)?(?!\w)", line)]


@pytest.fixture(scope="module")
def committed():
    return json.loads(NOTEBOOK.read_text(encoding="utf-8"))


@pytest.fixture(scope="module")
def executed(tmp_path_factory, tiny):
    """Run the notebook as a stranger's Jupyter does, with a smaller data set and budget."""
    reason = "needs nbclient and ipykernel, which the test extra installs"
    nbclient = pytest.importorskip("nbclient", reason=reason)
    pytest.importorskip("ipykernel", reason=reason)
    import nbformat
    from jupyter_client import AsyncKernelManager
    from jupyter_client.kernelspec import KernelSpecManager

    notebook = nbformat.read(NOTEBOOK, as_version=4)
    smaller = {  # what stands in the notebook: instead, how often
        'data="shapes.yaml"': (f"data={str(tiny)!r}", 1),
        "epochs=8": ("epochs=1", 1),
        'stock.train(**budget, name="stock")': ('stock.train(**budget, plots=False, name="stock")', 1),
        "conf=0.25": ("conf=1e-5", 2),  # one step teaches nothing, and what is compared should not be empty
    }
    for old, (new, times) in smaller.items():
        assert sum(cell.source.count(old) for cell in notebook.cells if cell.cell_type == "code") == times, old
        for cell in notebook.cells:
            if cell.cell_type == "code":
                cell.source = cell.source.replace(old, new)
    cwd = tmp_path_factory.mktemp("notebook")
    environment = {**os.environ, "IPYTHONDIR": str(cwd / "ipython")}  # not the user's own start-up files
    environment.pop("PYTEST_CURRENT_TEST", None)  # as in conftest.run
    # No kernelspec of the user's: "python3" is then the interpreter that runs the tests.
    manager = AsyncKernelManager(kernel_name="python3", kernel_spec_manager=KernelSpecManager(kernel_dirs=[]))
    client = nbclient.NotebookClient(
        notebook, km=manager, timeout=600, record_timing=False, resources={"metadata": {"path": str(cwd)}}
    )
    client.execute(env=environment, cleanup_kc=True)  # raises if a cell does
    assert {"diffattn", "stock", "attend", "paired.pt"} <= {file.name for file in (cwd / "quickstart").iterdir()}
    return notebook


@pytest.fixture(params=["committed", "executed"])
def cells(request):
    """Return the code cells by id, of the notebook as it is committed and as it was just executed."""
    return {cell["id"]: cell for cell in request.getfixturevalue(request.param)["cells"] if "outputs" in cell}


def test_runs_from_first_to_last(cells):
    assert [cell["execution_count"] for cell in cells.values()] == list(range(1, len(cells) + 1))
    assert [cell["id"] for cell in cells.values() if not cell["outputs"]] == ["setup"]
    assert not [o for cell in cells.values() for o in cell["outputs"] if o["output_type"] == "error"]


def test_trains_both_models(cells):
    for name, model in {"train": "yolo11n-diffattn", "baseline": "yolo11n"}.items():
        map50, map50_95 = numbers(text(cells[name]).splitlines()[-1].partition("mAP50 ")[2])
        assert text(cells[name]).splitlines()[-1].startswith(f"{model}: mAP50 ")
        assert 0 <= map50_95 <= map50 <= 1


def test_shows_lambda(cells):
    (epochs,) = re.findall(r"epochs=(\d+)", "".join(cells["train"]["source"]))
    head, *rows = text(cells["lambda"]).split()
    assert head == "epoch,model.10.m.0.attn"
    assert [row.split(",")[0] for row in rows] == [str(i + 1) for i in range(int(epochs))]
    (picture,) = pictures(cells["lambda"])
    assert picture.width > 800


def test_shows_where_objects_attend(cells):
    (picture,) = pictures(cells["attend"])
    assert picture.width > 1400, "the baseline's maps are missing"
    assert picture.height > 900, "a row for each of two objects is missing"


def test_maps_sum_to_one(cells):
    lines = dict(re.split(r"  +", line.strip(), maxsplit=1) for line in text(cells["maps"]).splitlines()[2:])
    objects, heads, height, width = (int(n) for n in re.findall(r"\d+", lines["a1, a2"])[:4])
    assert (objects, heads, height, width) == (2, 2, 5, 5)
    lam = numbers(lines["lambda"])
    assert len(lam) == heads
    for name in ("sums of a1", "sums of a2"):
        assert numbers(lines[name]) == pytest.approx([1] * objects * heads, abs=1e-3)
    assert numbers(lines["sums of both"]) == pytest.approx([1 - value for value in lam] * objects, abs=2e-3)


def test_paired_predicts_as_the_stock_model(cells):
    first, second = text(cells["paired"]).splitlines()
    images, before, after = numbers(first)
    assert before == after > images
    pixels, score, classes = numbers(second)
    assert pixels < 0.01
    assert score < 1e-4
    assert classes == 0


def test_export_agrees(cells):
    lines = text(cells["export"]).splitlines()
    assert lines[0].startswith("best.onnx, ")
    images, boxes, pairs = numbers(lines[1])
    assert images > 0
    assert 0 < pairs <= boxes
    pixels, score = numbers(lines[2])
    assert pixels < 1
    assert score < 0.01


def test_committed_without_traces(committed):
    """Neither paths and times of the machine that executed it, nor more than a clone should carry."""
    assert NOTEBOOK.stat().st_size < 1_000_000
    assert committed["metadata"]["kernelspec"]["name"] == "python3"
    assert committed["metadata"].keys() <= {"kernelspec", "language_info"}
    for cell in committed["cells"]:
        assert not cell["metadata"], cell["id"]
        said = [o.get("text", "") or o.get("data", {}).get("text/plain", "") for o in cell.get("outputs", [])]
        for content in ("".join(part) for part in [cell["source"], *said]):
            assert not re.search(PATH, re.sub(r"https?://\S+", "", content)), content
        assert all(o.get("name") != "stderr" for o in cell.get("outputs", [])), cell["id"]


def test_path_is_seen():
    for there in ("in /work/tmp/x", "'/home/me'", r"C:\Users", "(/tmp/a)"):
        assert re.search(PATH, there), there
    for absent in ("[Tutorial](../docs/tutorial.md)", "images/val", "q kᵀ / √d", "a/b/c"):
        assert not re.search(PATH, absent), absent


def test_links_and_commands(committed):
    prose = "\n".join("".join(c["source"]) for c in committed["cells"] if c["cell_type"] == "markdown")
    links = re.findall(r"\]\((?!http)([^)\s#]+)\)", prose)
    assert len(links) > 5
    assert not [link for link in links if not (NOTEBOOK.parent / Path(link)).exists()]
    commands = re.findall(r"^```bash\n(.+)\n```$", prose, re.M)
    assert commands
    assert set(commands) <= set(COMMANDS), "the others are run by nobody"
