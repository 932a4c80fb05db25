"""What pip installs: a wheel, built here, in a virtual environment that has nothing else of this project."""

import ast
import subprocess
import sys
import sysconfig
import tarfile
import venv
import zipfile
from importlib.metadata import distributions, requires
from pathlib import Path

import pytest
from packaging.requirements import Requirement
from packaging.utils import canonicalize_name

from tests.interpreters import python as fresh_python
from tests.interpreters import run
from tests.places import ROOT
from ultralytics_diffattn import __version__


@pytest.fixture(scope="module")
def wheel(tmp_path_factory):
    """Build the wheel with the hatchling of this environment."""
    folder = tmp_path_factory.mktemp("wheel")
    pip = sys.executable, "-m", "pip", "wheel", "--no-deps", "--no-build-isolation", "-q", "-w", folder
    run(*pip, ROOT)
    return next(folder.glob("*.whl"))


@pytest.fixture
def environment(tmp_path, wheel):
    """Return a virtual environment with the wheel in it, and torch and ultralytics borrowed from this one."""
    folder = tmp_path / "venv"
    venv.create(folder, with_pip=False, symlinks=True)
    python = folder / "bin" / "python"
    site = Path(run(python, "-c", "import sysconfig; print(sysconfig.get_path('purelib'))").stdout.strip())
    (site / "borrowed.pth").write_text(sysconfig.get_path("purelib"))  # a path only: the .pth files there are not read
    before = contents(site)
    run(sys.executable, "-m", "pip", "--python", python, "install", "-q", "--no-deps", "--no-index", wheel)
    return python, site, before


def contents(site):
    return {str(f.relative_to(site)) for f in site.rglob("*") if "__pycache__" not in f.parts}


def test_wheel_holds_what_a_checkout_has(wheel):
    names = set(zipfile.ZipFile(wheel).namelist())
    package = {str(f.relative_to(ROOT)) for f in (ROOT / "ultralytics_diffattn").rglob("*.py")}
    cfg = {f"ultralytics_diffattn/{f.relative_to(ROOT)}" for f in (ROOT / "cfg").rglob("*.yaml")}
    extra = {"ultralytics_diffattn.pth", "ultralytics_diffattn.start"}
    extra |= {str(f.relative_to(ROOT)) for f in (ROOT / "ultralytics_diffattn" / "demo" / "page").iterdir()}
    extra |= {
        f"ultralytics_diffattn/{name}"
        for name in (
            "py.typed",
            "datasets.yaml",
            "comparison/across.html.j2",
            "comparison/page.html.j2",
            "comparison/page_confusions.html.j2",
            "demo/shapes-split.pt",
            "demo/shapes-stock.pt",
            "maps/gallery.html.j2",
            "output/page.css",
        )
    }
    assert {n for n in names if ".dist-info/" not in n} == package | cfg | extra
    assert wheel.name == f"ultralytics_diffattn-{__version__}-py3-none-any.whl"


def test_sdist_holds_what_the_repository_has(tmp_path):
    """Built as `python -m build` does, with the hatchling of this environment."""
    if not (ROOT / ".git").exists():
        pytest.skip("not a git checkout")
    listed = run("git", "ls-files", "--cached", "--others", "--exclude-standard", cwd=ROOT).stdout.splitlines()
    run(sys.executable, "-m", "hatchling", "build", "-t", "sdist", "-d", tmp_path, cwd=ROOT)
    with tarfile.open(tmp_path / f"ultralytics_diffattn-{__version__}.tar.gz") as archive:
        names = {name.partition("/")[2] for name in archive.getnames()}
    assert names - {"PKG-INFO"} == {name for name in listed if (ROOT / name).exists()}


def test_names_of_distribution_and_package_agree(wheel):
    """Ultralytics pip-installs the module that a checkpoint names, so both have to be one after normalisation."""
    metadata = zipfile.ZipFile(wheel).read(f"ultralytics_diffattn-{__version__}.dist-info/METADATA").decode()
    assert "Name: ultralytics-diffattn\n" in metadata
    assert "License-Expression: AGPL-3.0-or-later\n" in metadata
    assert "Requires-Dist: ultralytics>=8.3.108\n" in metadata


def needed(requirements, extra=""):
    """Return the names of what is required in this environment."""
    found = map(Requirement, requirements or [])
    return {canonicalize_name(r.name) for r in found if r.marker is None or r.marker.evaluate({"extra": extra})}


def test_beside_ultralytics_it_installs_one_package(wheel):
    """What ultralytics and torch do not bring is small; what is large is an extra."""
    (ours,) = (d.requires for d in distributions(path=[str(wheel)]))
    theirs, new = set(), {"ultralytics"}
    while new:
        theirs |= new
        new = set().union(*(needed(requires(name)) for name in new)) - theirs
    assert needed(ours) - theirs == {"faster-coco-eval"}
    assert needed(ours, "compare") - needed(ours) == {"scipy"}


WITHOUT_SCIPY = """
import importlib, pathlib, sys
sys.modules.update(scipy=None, statsmodels=None, pandas=None)  # as if they were not installed
import ultralytics_diffattn
from ultralytics_diffattn import cli
root = pathlib.Path(ultralytics_diffattn.__file__).parent
for file in sorted(root.rglob("*.py")):
    if "clip" not in str(file.relative_to(root)):  # lightning, of the extra clip, needs SciPy itself
        importlib.import_module(".".join(file.relative_to(root.parent).with_suffix("").parts).removesuffix(".__init__"))
assert cli.main(["compare", "data=shapes", "project=p"]) == 1
assert cli.main(["bench", "only=core,retrieval", "project=p"]) == 1
"""


def test_without_scipy_all_imports_and_what_needs_it_says_so_first(tmp_path):
    done = fresh_python(WITHOUT_SCIPY, cwd=tmp_path)
    assert done.stderr.splitlines()[-2:] == [
        "diffattn compare: compare needs SciPy, which is not installed: pip install scipy",
        "diffattn bench: only=retrieval needs SciPy, which is not installed: pip install scipy",
    ]
    assert not (tmp_path / "p").exists()


def test_installed_wheel_from_an_empty_directory(environment, tmp_path):
    python, site, before = environment
    empty = tmp_path / "empty"
    empty.mkdir()
    code = (
        "from ultralytics import YOLO; from ultralytics.data.utils import check_det_dataset as c; import os\n"
        "m = YOLO('yolo11n-diffattn.yaml'); print(type(m.model.model[10]).__module__, m.model.model[10].m[0].attn)\n"
        "print(len(os.listdir(c('shapes.yaml')['train'])), __import__('ultralytics_diffattn').__file__)"
    )
    output = run(python, "-c", code, cwd=empty, YOLO_CONFIG_DIR=str(tmp_path / "config")).stdout
    assert "ultralytics_diffattn.nn.blocks Attention_Diff(" in output
    assert output.splitlines()[-1] == f"256 {site / 'ultralytics_diffattn' / '__init__.py'}"
    ours = python.with_name("diffattn")
    assert "compare" in run(ours, "help", cwd=empty).stdout
    refused = run(ours, "compare", "data=cocoo", cwd=empty, check=False, YOLO_CONFIG_DIR=str(tmp_path / "config"))
    assert "Did you mean coco" in refused.stderr  # the catalogue is there

    run(sys.executable, "-m", "pip", "--python", python, "uninstall", "-q", "-y", "ultralytics-diffattn")
    assert contents(site) == before
    stock = run(python, "-W", "error", "-c", "print('alive')", cwd=empty)
    assert (stock.stdout, stock.stderr) == ("alive\n", "")


def test_removed_by_hand_the_start_up_line_is_inert(environment):
    python, site, _ = environment
    for file in (site / "ultralytics_diffattn").rglob("*.py"):
        file.unlink()
    process = subprocess.run([python, "-W", "error", "-c", "print('alive')"], capture_output=True, text=True)
    assert (process.stdout, process.stderr) == ("alive\n", "")


def test_type_checkers_see_the_lazy_names():
    import ultralytics_diffattn

    tree = ast.parse((ROOT / "ultralytics_diffattn" / "__init__.py").read_text())
    (block,) = (node for node in tree.body if isinstance(node, ast.If))
    package = "ultralytics_diffattn."
    seen = {alias.name: node.module.removeprefix(package) for node in block.body for alias in node.names}
    assert seen == ultralytics_diffattn._EXPORTS


def test_fast_and_lazy():
    code = "import sys, ultralytics_diffattn; print('torch' in sys.modules, *sorted(dir(ultralytics_diffattn)))"
    loaded, *names = run(sys.executable, "-c", code).stdout.split()
    assert loaded == "False"
    import ultralytics_diffattn

    assert set(names) == set(ultralytics_diffattn.__all__)
    for name in names:
        assert getattr(ultralytics_diffattn, name) is not None
    with pytest.raises(AttributeError, match=r"no attribute 'DiffAttentoin'; it has .*DiffAttention"):
        ultralytics_diffattn.DiffAttentoin  # noqa: B018
