"""The plugin in every kind of process: ranks, kernels, frozen and zipped programs, flags, reloads, beside others."""

import compileall
import os
import shutil
import sys
import zipapp
import zipfile

import pytest
import torch

from tests.interpreters import forked, python, run, two_ranks
from tests.places import ROOT

# What each case ends with: a model is built, runs forward, and comes back from a file.
WORKS = """
import io, torch
from ultralytics import YOLO
def works(name="yolo11n-diffattn.yaml"):
    model = YOLO(name).model.eval()
    x, file = torch.rand(1, 3, 64, 64), io.BytesIO()
    torch.save(model, file)
    again = torch.load(io.BytesIO(file.getvalue()), weights_only=False)
    assert torch.equal(model(x)[0], again(x)[0])
    assert type(again.model[10]).__name__ == type(model.model[10]).__name__ == "C2PSA_Diff"
    return "works"
"""
RANK = """
import os, sys, torch
from torch import distributed as dist, nn
from ultralytics.models.yolo.detect import DetectionTrainer
from ultralytics.utils import RANK
assert dist.is_available()

class Gloo(nn.parallel.DistributedDataParallel):  # on CPU no device_ids
    def __init__(self, model, device_ids=None, **arguments):
        super().__init__(model, **arguments)

class Trainer(DetectionTrainer):
    images = set()
    def _setup_ddp(self, *_):
        dist.init_process_group("gloo", rank=RANK, world_size=2)
    def preprocess_batch(self, batch):
        self.images |= set(batch["im_file"])
        return super().preprocess_batch(batch)
    def save_model(self):
        pass
    def final_eval(self):  # stock's takes a GPU where RANK is set
        pass

nn.parallel.DistributedDataParallel = Gloo
trainer = Trainer(overrides=dict(model="yolo11n-diffattn.yaml", data=sys.argv[1], epochs=1, imgsz=64, batch=4, nbs=4,
                                 workers=0, plots=False, device="cpu", amp=False, mosaic=0, lr0=0.01, warmup_epochs=0,
                                 optimizer="AdamW", val=False, project=sys.argv[2], name="gloo", exist_ok=True))
trainer.world_size = 2
start = {}
def keep(trainer):
    start.update({n: v.clone() for n, v in trainer.model.module.state_dict().items()})
trainer.add_callback("on_train_start", keep)
trainer._do_train(*([2] if "world_size" in trainer._do_train.__code__.co_varnames[:2] else []))
torch.save((start, trainer.model.module.state_dict(), trainer.images), f"{sys.argv[2]}/rank{RANK}.pt")
dist.destroy_process_group()
"""


def test_two_ranks_end_with_the_same_weights(tiny, tmp_path):
    (tmp_path / "rank.py").write_text(RANK)
    two_ranks("rank.py", tiny, tmp_path, cwd=tmp_path, OMP_NUM_THREADS="1")
    (start, one, seen), (_, other, seen_too) = (torch.load(tmp_path / f"rank{i}.pt", weights_only=False) for i in "01")
    assert len(seen) == len(seen_too) == 4
    assert seen.isdisjoint(seen_too)  # other images, so other gradients, but for the exchange
    assert [n for n in one if not torch.equal(one[n], other[n]) and "running_" not in n] == []
    moved = {n.rpartition(".")[2] for n in one if not torch.equal(one[n], start[n]) and ("lambda" in n or "diff" in n)}
    assert moved >= {"lambda_q1", "lambda_k1", "lambda_q2", "lambda_k2"}


def test_notebook_kernel(tmp_path):
    reason = "needs nbclient and ipykernel, which the test extra installs"
    nbclient = pytest.importorskip("nbclient", reason=reason)
    pytest.importorskip("ipykernel", reason=reason)
    from jupyter_client import AsyncKernelManager
    from jupyter_client.kernelspec import KernelSpecManager
    from nbformat.v4 import new_code_cell, new_notebook

    notebook = new_notebook(cells=[new_code_cell(WORKS), new_code_cell("works()")])
    manager = AsyncKernelManager(kernel_name="python3", kernel_spec_manager=KernelSpecManager(kernel_dirs=[]))
    client = nbclient.NotebookClient(notebook, km=manager, timeout=300, resources={"metadata": {"path": str(tmp_path)}})
    environment = {**os.environ, "IPYTHONDIR": str(tmp_path / "ipython")}
    environment.pop("PYTEST_CURRENT_TEST", None)
    client.execute(env=environment, cleanup_kc=True)
    assert notebook.cells[1].outputs[-1].data["text/plain"] == "'works'"


def copied(folder):
    """Return a folder with the package and its YAMLs, as a wheel has them."""
    rubbish = shutil.ignore_patterns("__pycache__")
    shutil.copytree(ROOT / "ultralytics_diffattn", folder / "ultralytics_diffattn", ignore=rubbish)
    shutil.copytree(ROOT / "cfg", folder / "ultralytics_diffattn" / "cfg")
    return folder


def first(*folders):
    """Return code that puts folders before all others, and takes the checkout away; for an interpreter without site."""
    paths = [*map(str, folders), *(p for p in sys.path if p != str(ROOT))]
    return f"import sys; sys.path[:] = {paths!r}\n"


def test_frozen_program_without_sources(tmp_path):
    """As PyInstaller lays it out: no start-up files, no sources, of ultralytics' parser neither."""
    import ultralytics

    copied(tmp_path)
    rubbish = shutil.ignore_patterns("__pycache__")
    shutil.copytree(os.path.dirname(ultralytics.__file__), tmp_path / "ultralytics", ignore=rubbish)
    for folder in ("ultralytics_diffattn", "ultralytics/nn"):
        compileall.compile_dir(tmp_path / folder, legacy=True, quiet=2)
        for source in (tmp_path / folder).rglob("*.py"):
            source.unlink()
    code = f"""{first(tmp_path)}sys.frozen = True
import inspect, ultralytics_diffattn
from ultralytics.nn import tasks
assert ultralytics_diffattn.__file__.endswith(".pyc") and tasks.__file__.endswith(".pyc")
try:
    inspect.getsource(tasks.parse_model)
except OSError:
    print("no source")
{WORKS}
print(works())
"""
    assert forked(code, cwd=tmp_path, preloaded="bare").stdout.split()[-3:] == ["no", "source", "works"]


def test_zipapp_of_a_users_program(tmp_path):
    (tmp_path / "app").mkdir()
    (tmp_path / "app" / "__main__.py").write_text(f"{WORKS}\nprint(works())")
    zipapp.create_archive(tmp_path / "app", tmp_path / "app.pyz")
    assert run(sys.executable, tmp_path / "app.pyz", cwd=tmp_path).stdout.split()[-1] == "works"


def test_package_inside_a_zip(tmp_path):
    """A YAML by its path works; a bundled one is in no folder, so ultralytics says that there is no such file."""
    with zipfile.ZipFile(tmp_path / "lib.zip", "w") as z:
        for file in copied(tmp_path / "lib").rglob("*.*"):
            z.write(file, file.relative_to(tmp_path / "lib"))
    yaml = str(ROOT / "cfg" / "yolo11-diffattn.yaml")
    code = f"""{first(tmp_path / "lib.zip")}import ultralytics_diffattn
assert "lib.zip" in ultralytics_diffattn.__file__
{WORKS}
try:
    works()
except FileNotFoundError as error:
    print("said", "diffattn.yaml' does not exist" in str(error) or error)
print(works({yaml!r}))
"""
    out = forked(code, cwd=tmp_path, preloaded="bare").stdout
    assert "said True" in out
    assert out.split()[-1] == "works"


FLAGS = [  # flags, environment
    (["-I", "-E", "-s", "-O", "-W", "error::ImportWarning"], {}),
    ([], {"PYTHONOPTIMIZE": "2", "PYTHONSAFEPATH": "1", "PYTHONNOUSERSITE": "1"}),
]


@pytest.mark.parametrize(("flags", "environment"), FLAGS, ids=["flags", "environment"])
def test_flags(flags, environment, tmp_path):
    code = f"{WORKS}\nprint(works())".replace("assert ", "1 and ")  # -O takes assert away anyway
    assert python(code, *flags, cwd=tmp_path, **environment).stdout.split()[-1] == "works"


@pytest.mark.parametrize("flags", [[], ["-I"], ["-OO"], ["-X", "dev"], ["-b", "-b"]], ids="".join)
@pytest.mark.parametrize("code", ["import sys", "import ultralytics_diffattn"])
def test_no_warning_becomes_an_error(code, flags, tmp_path):
    process = python(code, *flags, "-W", "error", cwd=tmp_path)
    assert (process.stdout, process.stderr) == ("", "")


THREAD = """
import builtins, threading
started, go, stock = threading.Event(), threading.Event(), builtins.__import__
def slow(name, *args, **kwargs):  # holds ultralytics half-imported until another thread has imported the plugin
    if name == "head" and not started.is_set():
        started.set()
        assert go.wait(60)
    return stock(name, *args, **kwargs)
builtins.__import__ = slow
thread = threading.Thread(target=slow, args=("ultralytics.nn.tasks",))
thread.start()
assert started.wait(60)
import ultralytics_diffattn
go.set()
thread.join()
"""
WITHIN = """
import sys
class Within:  # imports the plugin while ultralytics executes a module of its own
    @classmethod
    def find_spec(cls, name, path=None, target=None):
        if name == {name!r}:
            sys.meta_path.remove(cls)
            import ultralytics_diffattn
sys.meta_path.insert(0, Within)
import ultralytics.nn.tasks
"""
DURING = [  # how the plugin is imported, where no start-up file does it
    "import ultralytics.nn.tasks, ultralytics_diffattn",
    THREAD,
    WITHIN.format(name="ultralytics.nn.modules"),
    WITHIN.format(name="ultralytics.nn.tasks"),
]
DURING_IDS = ["after", "thread", "within modules", "before tasks"]


@pytest.mark.parametrize("how", DURING, ids=DURING_IDS)
def test_imported_while_ultralytics_is(how, tmp_path):
    code = f"import sys; sys.path[:] = {sys.path!r}\n{how}\n{WORKS}\nprint(works())"
    assert forked(code, cwd=tmp_path, preloaded="bare").stdout.split()[-1] == "works"


def test_sitecustomize(tmp_path):
    (tmp_path / "sitecustomize.py").write_text("import ultralytics_diffattn")
    code = f"{WORKS}\nprint('sitecustomize' in sys.modules, works())"
    env = {"PYTHONPATH": f"{tmp_path}{os.pathsep}{os.environ.get('PYTHONPATH', '')}"}
    assert python("import sys\n" + code, cwd=tmp_path, **env).stdout.split()[-2:] == ["True", "works"]


RELOADS = [  # of one process, one after another; a model works behind each
    "ultralytics.nn.tasks",
    "ultralytics",
    "ultralytics_diffattn",
    "ultralytics.nn.tasks",
    "ultralytics_diffattn.plugin.attach",
    "ultralytics.nn.tasks",
    "ultralytics_diffattn.autoload",
    "ultralytics_diffattn",
    "ultralytics.nn.tasks",
    "ultralytics_diffattn.nn.blocks",
    "ultralytics.nn.tasks",
]


def test_reloads(tmp_path):
    """By tasks' own class: YOLO(...) keeps the one from before the reload, which pickle refuses, of stock's too."""
    code = f"""{WORKS}
import importlib, sys, types
def YOLO(name):
    return types.SimpleNamespace(model=sys.modules["ultralytics.nn.tasks"].DetectionModel(name, verbose=False))
print(works())
for name in {RELOADS!r}:
    importlib.reload(sys.modules[name])
    print(name, works())
"""
    assert forked(code, cwd=tmp_path, preloaded="torch").stdout.count("works") == len(RELOADS) + 1


TOY = '''
"""Another plugin of this design: ToyPSA stands for C2PSA."""
import sys
from importlib.abc import Loader
from importlib.machinery import PathFinder

class Stand(type):
    def __eq__(cls, other):
        return other is cls or other is cls.stock
    def __hash__(cls):
        return hash(cls.stock)
    def __call__(cls, *args):
        from toy_blocks import ToyPSA
        return ToyPSA(*args)

def attach(tasks):
    stand = Stand("ToyPSA", (tasks.C2PSA,), {"__module__": "toy"})
    stand.stock = tasks.C2PSA
    tasks.ToyPSA = stand

class After(Loader):
    def __init__(self, inner):
        self.inner = inner
    def create_module(self, spec):
        return self.inner.create_module(spec)
    def exec_module(self, module):
        self.inner.exec_module(module)
        attach(module)

class Finder:
    @classmethod
    def find_spec(cls, name, path=None, target=None):
        if name == "ultralytics.nn.tasks":
            for finder in sys.meta_path:
                spec = None if finder is cls else finder.find_spec(name, path, target)
                if spec:
                    spec.loader = After(spec.loader)
                    return spec

if "ultralytics.nn.tasks" in sys.modules:
    attach(sys.modules["ultralytics.nn.tasks"])
else:
    sys.meta_path.insert(PLACE, Finder)
'''
TOY_BLOCKS = "from ultralytics.nn.modules import C2PSA\nclass ToyPSA(C2PSA):\n    pass\n"
MIXED = """
def mixed():
    from ultralytics.nn import tasks
    rows = [[-1, 1, "Conv", [128, 3, 2]], *([-1, 2, name, [128]] for name in ("C2PSA", "ToyPSA", "C2PSA_Diff"))]
    d = {"nc": 1, "scales": {"n": [1, 1, 512]}, "scale": "n", "backbone": rows}
    d["head"] = [[-1, 1, "C3k2", [64, False]], [[-1], 1, "Detect", [1]]]
    layers = tasks.parse_model(d, 3, False)[0]
    return [(type(x).__name__, len(x.m), x.cv1.conv.in_channels) for x in layers[1:4]]
"""
ORDERS = {
    "toy first in meta_path": "import sys, builtins\nbuiltins.PLACE = 0\nimport toy, ultralytics.nn.tasks",
    "toy second in meta_path": "import sys, builtins\nbuiltins.PLACE = 1\nimport toy, ultralytics.nn.tasks",
    "toy after ultralytics": "import ultralytics.nn.tasks, toy",
    "toy, ours by hand": "import builtins, sys\n"
    "sys.meta_path[:] = [f for f in sys.meta_path if 'Watcher' not in repr(f)]\n"
    "builtins.PLACE = 0\nimport toy, ultralytics.nn.tasks, ultralytics_diffattn\nultralytics_diffattn.register()",
}


@pytest.mark.parametrize("order", ORDERS.values(), ids=ORDERS)
def test_two_plugins_in_one_model(order, tmp_path):
    (tmp_path / "toy.py").write_text(TOY)
    (tmp_path / "toy_blocks.py").write_text(TOY_BLOCKS)
    rows = [("C2PSA", 2, 128), ("ToyPSA", 2, 128), ("C2PSA_Diff", 2, 128)]
    assert str(rows) in forked(f"{order}\n{MIXED}\nprint(mixed())", cwd=tmp_path, preloaded="torch").stdout


REPLACED = """
import inspect
from ultralytics.nn import tasks
stock = tasks.parse_model
def wrapper(*args, **kwargs):
    return stock(*args, **kwargs)
tasks.parse_model = wrapper
print(works())
exec(inspect.getsource(stock).replace("C2PSA,", "C2PSA, torch.nn.Identity,"), vars(tasks))  # recompiled, in tasks
assert tasks.parse_model not in (stock, wrapper)
print(works())
tasks.parse_model = stock
tasks.C2PSA = type("C2PSA", (tasks.C2PSA,), {})  # after ours attached
try:
    print(works())
except RuntimeError as error:
    print("said" if "please open an issue" in str(error) else error)
import ultralytics_diffattn
ultralytics_diffattn.register()
print(works())
"""


def test_plugins_that_replace_the_parser_or_the_stock_module(tmp_path):
    out = forked(f"{WORKS}{REPLACED}", cwd=tmp_path, preloaded="torch").stdout.split()
    assert [x for x in out if x in {"works", "said"}] == ["works", "works", "said", "works"]


POOL = """
import multiprocessing, sys, torch
from concurrent.futures import ProcessPoolExecutor
def work(model, x):
    with torch.no_grad():
        return model(x)[0].numpy().copy(), sorted(m for m in sys.modules if m == "ultralytics_diffattn.nn.blocks")
if __name__ == "__main__":
    from ultralytics import YOLO
    torch.set_num_threads(1)
    model, x = YOLO("yolo11n-diffattn.yaml").model.eval(), torch.rand(1, 3, 64, 64)
    expected = work(model, x)[0]
    for kind in ("fork", "spawn", "forkserver"):
        context = multiprocessing.get_context(kind)
        with ProcessPoolExecutor(1, mp_context=context) as pool:
            found, modules = pool.submit(work, model, x).result(timeout=120)
        print(kind, abs(found - expected).max() < 1e-4, modules)
"""


@pytest.mark.skipif(sys.platform == "win32", reason="Windows has spawn alone")
def test_workers_of_a_pool_unpickle_a_model_and_run_it(tmp_path):
    (tmp_path / "pool.py").write_text(POOL)
    out = run(sys.executable, "pool.py", cwd=tmp_path, OMP_NUM_THREADS="1").stdout
    for kind in ("fork", "spawn", "forkserver"):
        assert f"{kind} True ['ultralytics_diffattn.nn.blocks']" in out
