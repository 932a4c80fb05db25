"""autoload.py: the stock package knows the modules in every process, and no program suffers from the hook."""

import os
import pkgutil
import sys
from pathlib import Path

import pytest

from tests.interpreters import forked, python, run
from tests.places import ROOT
from ultralytics_diffattn.autoload import WATCHED
from ultralytics_diffattn.plugin.attach import TO_ATTACH

BUILD = "from ultralytics import YOLO; print('built', type(YOLO('yolo11n-diffattn.yaml').model.model[10]).__name__)"


@pytest.mark.parametrize(
    "imports",
    [
        "",
        "import ultralytics.nn.tasks",
        "import ultralytics_diffattn",
        "import ultralytics_diffattn.nn.blocks",  # a circle: blocks -> ultralytics -> hook -> blocks
        "from ultralytics_diffattn import C2PSA_Diff",
        "import ultralytics_diffattn.plugin.attach",
        "import ultralytics, ultralytics_diffattn",
        "from ultralytics.nn.modules import C2PSA; import ultralytics_diffattn.nn.attention",
        "import importlib, ultralytics.nn.tasks; importlib.reload(ultralytics.nn.tasks)",
        "from ultralytics_diffattn import register; register(); register()",
    ],
)
def test_any_order_of_imports(imports, tmp_path):
    assert "built C2PSA_Diff" in forked(f"{imports}\n{BUILD}", cwd=tmp_path, preloaded="torch").stdout


@pytest.mark.parametrize("environment", [None, {"DIFFATTN_AUTOLOAD": "0"}], ids=["no site", "turned off"])
def test_control_without_the_hook(environment, tmp_path):
    """The flags of the interpreter with it are in test_processes.py."""
    code = f"""
import sys; sys.path[:] = {sys.path!r}
from ultralytics.nn.tasks import parse_model
try:
    parse_model({{'nc': 1, 'backbone': [[-1, 1, 'C2PSA_Diff', [3]]], 'head': []}}, ch=3)
except KeyError as error:
    print("unknown", error)
from ultralytics_diffattn import register; register()
{BUILD}
"""
    process = forked(code, preloaded="bare") if environment is None else python(code, cwd=tmp_path, **environment)
    assert "unknown 'C2PSA_Diff'" in process.stdout
    assert "built C2PSA_Diff" in process.stdout


@pytest.mark.parametrize(("value", "installed"), [("False", "False"), ("no", "False"), ("1", "True"), ("", "True")])
def test_turned_off_in_words(value, installed):
    code = "import sys; print(any('iffattn' in str(finder) for finder in sys.meta_path))"
    assert python(code, DIFFATTN_AUTOLOAD=value).stdout.strip() == installed


def test_cost_of_the_start():
    """At most 3 modules; the time, 1 ms at most, is for `diffattn bench only=start` to measure."""
    modules = "import sys; print(*sys.modules)"
    without_site, started = (set(python(modules, *flags).stdout.split()) for flags in (["-S"], []))
    assert {m for m in started - without_site if "diffattn" in m} == {
        "ultralytics_diffattn",
        "ultralytics_diffattn.autoload",
    }
    code = """
import sys
for name in [m for m in sys.modules if m.startswith("ultralytics_diffattn")]:
    del sys.modules[name]
before = set(sys.modules)
import ultralytics_diffattn
print(len(set(sys.modules) - before))
"""
    assert int(python(code).stdout) <= 3


def test_python_315_start_file_names_a_callable():
    from ultralytics_diffattn import autoload

    (line,) = (ROOT / "ultralytics_diffattn.start").read_text().split()
    assert pkgutil.resolve_name(line) is autoload.install


def site_packages(tmp_path, *, with_package):
    """Return code that makes a folder with our start-up file a site folder, and then the folder."""
    (tmp_path / "ultralytics_diffattn.pth").write_bytes((ROOT / "ultralytics_diffattn.pth").read_bytes())
    if with_package:
        package = tmp_path / "ultralytics_diffattn"
        package.mkdir()
        (package / "__init__.py").write_text(with_package)
    others = f"[p for p in sys.path if 'site-packages' not in p and p != {str(ROOT)!r}]"
    return f"import sys, site; sys.path = {others}; site.addsitedir({str(tmp_path)!r}); print('alive')"


@pytest.mark.parametrize(
    "package",
    ["", "raise RuntimeError('broken')", "import warnings; warnings.warn('loud')", "syntax error ="],
    ids=["gone", "raises", "warns", "does not parse"],
)
def test_start_up_file_is_inert_when_the_package_is_gone_or_broken(package, tmp_path):
    process = python(site_packages(tmp_path, with_package=package), "-I", "-S", "-W", "error", cwd=tmp_path)
    assert (process.stdout.strip(), process.stderr) == ("alive", "")


def test_a_failing_hook_leaves_ultralytics_alone(tmp_path):
    code = """
import sys
sys.modules["ultralytics_diffattn.plugin.attach"] = None
from ultralytics import YOLO
print("stock", YOLO("yolo11n.yaml").task)
"""
    process = forked(code, cwd=tmp_path, preloaded="torch")
    assert "stock detect" in process.stdout
    assert "Traceback" not in process.stderr


def test_the_watched_module_keeps_its_own_loader():
    code = """
import importlib.util
before = importlib.util.find_spec("ultralytics.nn.tasks")
assert "def parse_model" in before.loader.get_source(before.name)
import ultralytics.nn.tasks as tasks, ultralytics.nn.modules as modules
print(type(tasks.__loader__) is type(modules.__loader__) is type(tasks.__spec__.loader))
"""
    assert forked(code, preloaded="torch").stdout.split()[-1] == "True"


RIVAL = """
import sys
class Loader:
    def __init__(self, loader):
        self.loader = loader
    def create_module(self, spec):
        return self.loader.create_module(spec)
    def exec_module(self, module):
        self.loader.exec_module(module)
        module.Rival = True
class Rival:
    @classmethod
    def find_spec(cls, name, path=None, target=None):
        if name == "ultralytics.nn.tasks":
            for finder in sys.meta_path:
                spec = finder.find_spec(name, path, target) if finder is not cls else None
                if spec:
                    spec.loader = Loader(spec.loader)
                    return spec
sys.meta_path.insert({place}, Rival)
from ultralytics.nn import tasks
print(tasks.Rival, hasattr(tasks, "C2PSA_Diff"))
"""


@pytest.mark.parametrize("place", [0, 1], ids=["before ours", "after ours"])
def test_another_plugin_of_this_kind(place):
    assert forked(RIVAL.format(place=place), preloaded="torch").stdout.split()[-2:] == ["True", "True"]


def test_data_loader_workers_know_the_modules(tmp_path):
    script = tmp_path / "spawned.py"
    script.write_text(
        """
import torch

class Data(torch.utils.data.Dataset):
    def __len__(self):
        return 1
    def __getitem__(self, i):
        from ultralytics.nn import tasks
        return hasattr(tasks, "C2PSA_Diff")

if __name__ == "__main__":
    loader = torch.utils.data.DataLoader(Data(), num_workers=1, multiprocessing_context="spawn")
    print([bool(x) for x in loader])
"""
    )
    assert "[True]" in run(sys.executable, script, cwd=tmp_path).stdout


def test_environment_is_the_installed_one():
    """What this file tests is the start-up file of an installation, wheel or editable, not a path on sys.path."""
    homes = [Path(p) for p in sys.path if p and (Path(p) / "ultralytics_diffattn.pth").exists()]
    assert [h for h in homes if h != ROOT], f"install with `pip install -e .[test]` first: {os.getcwd()}"


def test_what_is_watched_for_is_what_can_be_attached_to():
    """Two lists, since autoload.py imports nothing of the package before ultralytics is there."""
    assert set(WATCHED) == set(TO_ATTACH)
