"""Where users' modules come from: each source, in each kind of process, and what is said when one is missing."""

import hashlib
import json
import os
import re
import subprocess
import sys

import pytest
import torch
from ultralytics import YOLO
from ultralytics.nn import tasks

from tests.interpreters import forked, python, run
from tests.plugin.conftest import BLOCKS
from tests.samples import build_rows
from ultralytics_diffattn import register
from ultralytics_diffattn.comparison import specification
from ultralytics_diffattn.errors import MissingPackageError, UserError
from ultralytics_diffattn.plugin import needs, user_files, user_modules
from ultralytics_diffattn.plugin.registry import MODULES
from ultralytics_diffattn.plugin.user_modules import UnknownModuleError

YAML = """
nc: 3
scales: {n: [1, 1, 1024]}
backbone: [[-1, 1, Conv, [16, 3, 2]], [-1, 1, Mixer, [16]], [-1, 1, Conv, [32, 3, 2]], [[-1, -1], 1, Join, []]]
head: [[-1, 1, Attend, []], [[4], 1, Detect, [nc]]]
"""
BUILD = "from ultralytics import YOLO; print('built', type(YOLO('own.yaml').model.model[3]).__name__)"


@pytest.fixture
def yaml(tmp_path):
    """Return a model YAML with three of the modules."""
    file = tmp_path / "own.yaml"
    file.write_text(YAML)
    return file


def package(tmp_path, name="their-blocks", entry="their = their_blocks.parts", parts=BLOCKS):
    """Return a folder for PYTHONPATH with an installed package that declares an entry point."""
    site = tmp_path / "site"
    (site / "their_blocks").mkdir(parents=True)
    (site / "their_blocks" / "__init__.py").write_text("")
    (site / "their_blocks" / "parts.py").write_text(parts)
    info = site / f"{name.replace('-', '_')}-1.2.dist-info"
    info.mkdir()
    (info / "METADATA").write_text(f"Metadata-Version: 2.1\nName: {name}\nVersion: 1.2\n")
    (info / "entry_points.txt").write_text(f"[ultralytics_diffattn.modules]\n{entry}\n")
    return site


def installed(site):
    """Return code that makes a folder one of installed packages."""
    return f"import sys; sys.path.append({str(site)!r})\n"


def record(tmp_path, *files, sha256=None):
    """Write what `diffattn modules add` writes, for an environment at tmp_path; return code that makes it the own."""
    place = tmp_path / "share" / "ultralytics-diffattn" / "modules.json"
    place.parent.mkdir(parents=True, exist_ok=True)
    entries = [f'{{"path": "{f}", "sha256": "{sha256 or user_files.digest(str(f))}"}}' for f in files]
    place.write_text(f"[{', '.join(entries)}]")
    return f"import sys; sys.prefix = {str(tmp_path)!r}\n"


@pytest.mark.parametrize("source", ["environment", "recorded", "entry point"])
def test_another_process_knows_the_modules(source, blocks, yaml, tmp_path):
    """From another folder than the file's, and with nothing of it on the path; one of the three in a fresh Python."""
    code, elsewhere = BUILD, tmp_path / "elsewhere"
    elsewhere.mkdir()
    (elsewhere / "own.yaml").write_text(YAML)
    if source == "environment":
        env = {user_files.PATHS: f"{tmp_path / 'nothing.py'}{os.pathsep}{blocks}"}
        process = python(code, cwd=elsewhere, **env)
    else:
        code = (record(tmp_path, blocks) if source == "recorded" else installed(package(tmp_path))) + BUILD
        process = forked(code, cwd=elsewhere, preloaded="torch")
    assert "built GatedConcat" in process.stdout
    said = process.stdout + process.stderr
    assert said.count("nothing.py cannot be imported") == (source == "environment")  # one warning, and no more


def test_nothing_is_run_because_it_lies_in_the_current_folder(yaml, tmp_path):
    """The control: modules of every name that Python or this package might look for, in the folder of the run."""
    for name in ("my_blocks", "sitecustomize_", "ultralytics_diffattn_modules", "diffattn", "modules", "Mixer"):
        (tmp_path / f"{name}.py").write_text("open('canary', 'w')\n" + BLOCKS)
    (tmp_path / "modules.json").write_text(f'[{{"path": "{tmp_path}/my_blocks.py", "sha256": ""}}]')
    code = "from ultralytics.cfg import entrypoint; entrypoint()"
    process = forked(code, "train", "model=own.yaml", "epochs=1", cwd=tmp_path, name="yolo", check=False)
    assert process.returncode
    assert "'Mixer' is neither a module of ultralytics nor registered" in process.stdout + process.stderr
    assert not (tmp_path / "canary").exists()


@pytest.mark.parametrize("how", ["environment", "inherited", "add", "checkpoint"])
def test_a_file_of_a_known_name_in_the_current_folder_is_not_run(how, blocks, yaml, monkeypatch, tmp_path):
    """Before the known one, which `python -c` would find behind it."""
    saved(yaml, blocks, monkeypatch)
    here = tmp_path / "here"
    here.mkdir()
    for name, text in ("my_blocks.py", "open('canary', 'w')\n" + BLOCKS), ("own.yaml", YAML):
        (here / name).write_text(text)
    env = {user_files.PATHS: str(blocks) if how in {"environment", "checkpoint"} else "", user_files.INHERITED: "[]"}
    if how == "inherited":
        env[user_files.INHERITED] = os.environ[user_files.INHERITED]
    code = {
        "add": f"from ultralytics_diffattn.verbs.modules import modules; modules('add', {str(blocks)!r})",
        "checkpoint": f"from ultralytics import YOLO; YOLO({str(tmp_path / 'own.pt')!r})",
    }.get(how, BUILD)
    process = forked(f"import sys; sys.path.insert(0, '')\n{code}", cwd=here, preloaded="torch", check=False, **env)
    assert process.returncode
    assert f"Python would import {here}/my_blocks.py as my_blocks" in process.stdout + process.stderr
    assert not (here / "canary").exists()


def test_a_broken_source_costs_one_warning_and_only_where_it_is_needed(blocks, yaml, tmp_path):
    """Of four broken ones and one that works: a stock model says nothing, ours names each once, and is built."""
    broken = {"raises": "raise RuntimeError('out of order')", "exits": "import sys; sys.exit(3)", "typo": "def f(:"}
    for name, text in broken.items():
        (tmp_path / f"{name}.py").write_text(text)
    paths = [tmp_path / f"{name}.py" for name in broken]
    env = {user_files.PATHS: os.pathsep.join(map(str, [*paths, blocks]))}
    stock = "from ultralytics import YOLO; YOLO('yolo11n.yaml'); YOLO('yolo11n-diffattn.yaml'); print('fine')\n"
    code = f"{installed(package(tmp_path, parts='1 / 0'))}{stock}{BUILD}\n{BUILD}"
    process = forked(code, cwd=tmp_path, preloaded="torch", **env)
    first, _, second = process.stdout.partition("fine")
    assert "cannot be imported" not in first + process.stderr.partition("fine")[0]
    said = second + process.stderr
    assert said.count("built GatedConcat") == 2
    for name in ("raises.py cannot be imported, and its modules are missing: RuntimeError: out of order", "exits.py",
                 "typo.py cannot", "their of their-blocks 1.2 cannot be imported"):  # fmt: skip
        assert said.count(name) == 1, said


def test_a_file_is_tried_again_when_it_is_mended(blocks, monkeypatch):
    monkeypatch.setenv(user_files.PATHS, str(blocks))
    blocks.write_text("1 / 0")
    for _ in range(2):
        with pytest.raises(UnknownModuleError, match="ZeroDivisionError"):
            build_rows([-1, 1, "Attend", []])
    blocks.write_text(BLOCKS)
    assert build_rows([-1, 1, "Attend", []])


def test_two_files_of_one_name(blocks, monkeypatch, tmp_path):
    other = tmp_path / "other" / "my_blocks.py"
    other.parent.mkdir()
    other.write_text(BLOCKS + "\n# a second version\n")
    monkeypatch.setenv(user_files.PATHS, f"{blocks}{os.pathsep}{other}")
    with pytest.raises(UnknownModuleError, match=r"my_blocks.py has the same name and another content; keep one"):
        build_rows([-1, 1, "Attend", []])
    assert "Attend" not in MODULES
    other.write_text(BLOCKS)  # a copy is no second version
    monkeypatch.setattr(user_modules, "_failures", {})
    assert build_rows([-1, 1, "Attend", []])


def test_a_checkpoint_that_needs_a_file_of_which_there_are_two_versions(yaml, blocks, monkeypatch, tmp_path):
    file = saved(yaml, blocks, monkeypatch)
    other = tmp_path / "other" / "my_blocks.py"
    other.parent.mkdir()
    other.write_text(BLOCKS + "\n# a second version\n")
    monkeypatch.setenv(user_files.PATHS, f"{blocks}{os.pathsep}{other}")
    del sys.modules["my_blocks"]
    message = f"of my_blocks, and {blocks} and {other} both have that name: keep one"
    with pytest.raises(MissingPackageError, match=re.escape(message)):
        needs.check(file)
    with pytest.raises(UserError, match=rf"other/my_blocks.py cannot be imported: .*{blocks} has the same name and"):
        user_modules.import_file(str(other))
    blocks.unlink()  # and one that is gone is no version
    assert needs.check(file)


def test_the_script_has_imported_another_file_of_that_name(blocks, monkeypatch, tmp_path):
    (tmp_path / "script").mkdir()
    (tmp_path / "script" / "my_blocks.py").write_text("")
    monkeypatch.syspath_prepend(tmp_path / "script")
    __import__("my_blocks")
    monkeypatch.setenv(user_files.PATHS, str(blocks))
    with pytest.raises(KeyError, match=r"Python has imported .*script/my_blocks.py as my_blocks, .*; rename one"):
        build_rows([-1, 1, "Attend", []])


def test_an_unknown_name_says_what_is_known(known):
    build_rows([-1, 1, "Attend", []])
    with pytest.raises(UnknownModuleError, match=r"'C2PSAA' is neither .*Did you mean C2PSA\?.* registered: Mixer, "):
        build_rows([-1, 1, "C2PSAA", [64]])


def test_a_recorded_file_that_has_changed_says_so_once(blocks, yaml, tmp_path):
    code = record(tmp_path, blocks, sha256="0" * 64) + f"{BUILD}\n{BUILD}"
    said = "".join(vars(forked(code, cwd=tmp_path))[name] for name in ("stdout", "stderr"))
    assert said.count("my_blocks.py has changed since `diffattn modules add") == 1
    assert said.count("built GatedConcat") == 2


def test_a_child_knows_what_its_parent_has_registered(blocks, yaml, tmp_path):
    """By a script that registers by hand: its child, fresh, neither imports the script nor finds the file."""
    blocks.write_text(BLOCKS.replace("@register", "# @register"))
    script = tmp_path / "script.py"
    script.write_text(f"""
import os, subprocess, sys
from ultralytics_diffattn import register
for name, like in dict(Mixer="Conv", Attend="c1, *args").items():
    register(f"my_blocks:{{name}}", like=like)
register("my_blocks:GatedConcat", like="channels, *args", name="Join")
code = {BUILD.replace("own.yaml", str(yaml))!r}
print(subprocess.run([sys.executable, "-c", code], cwd=os.sep, capture_output=True, text=True))
""")
    assert "built GatedConcat" in run(sys.executable, script, cwd=tmp_path).stdout


def test_a_child_in_another_folder_knows_a_relative_path(blocks, monkeypatch, tmp_path):
    monkeypatch.chdir(tmp_path)
    monkeypatch.setenv(user_files.PATHS, "my_blocks.py")
    build_rows([-1, 1, "Attend", []])
    assert os.environ[user_files.PATHS] == user_files.environment()[user_files.PATHS] == str(blocks)


def saved(yaml, blocks, monkeypatch, name="own.pt"):
    """Save an untrained model with the file known, then forget the file; return the checkpoint."""
    monkeypatch.setenv(user_files.PATHS, str(blocks))
    file = yaml.with_name(name)
    YOLO(yaml).save(file)
    return file


def test_a_checkpoint_names_what_it_needs(yaml, blocks, monkeypatch):
    found = needs.read(saved(yaml, blocks, monkeypatch))
    assert [(n.name, n.build, n.like) for n in found] == [
        ("Mixer", "my_blocks:Mixer", "Conv"),
        ("Join", "my_blocks:GatedConcat", "(channels, *args)"),
        ("Attend", "my_blocks:Attend", "(c1, *args)"),
    ]
    assert {(n.source, n.sha256) for n in found} == {(os.path.realpath(blocks), user_files.digest(str(blocks)))}


LOADS = """
import sys
from ultralytics import YOLO
from ultralytics_diffattn.weights import checkpoints
from ultralytics_diffattn.verbs import strip
for load in (YOLO, checkpoints.load, strip.strip):
    try:
        load("own.pt")
        print("LOADED")
    except ImportError as error:
        print("SAID", type(error).__name__, error)
"""


@pytest.mark.parametrize("safe", ["", "1"])
def test_a_checkpoint_whose_file_is_not_known_says_which(safe, yaml, blocks, monkeypatch, tmp_path):
    """And nothing is installed: ultralytics would pip-install `my_blocks` from PyPI."""
    saved(yaml, blocks, monkeypatch)
    blocks.rename(tmp_path / "elsewhere.py")
    sha256 = user_files.digest(str(tmp_path / "elsewhere.py"))
    env = {user_files.PATHS: "", user_files.INHERITED: "[]", "ULTRALYTICS_SAFE_LOAD": safe}
    out = forked(LOADS, cwd=tmp_path, preloaded="torch", **env).stdout
    message = (
        f"SAID MissingPackageError own.pt needs Mixer, GatedConcat, Attend of the file my_blocks.py (it was "
        f"{os.path.realpath(blocks)}, sha256 {sha256[:12]}), which no Python here knows: get the file and run "
        "`diffattn modules add my_blocks.py`, or set DIFFATTN_MODULES to its path."
    )
    assert out.count(message) == 3, out
    assert "AutoInstall" not in out


def test_a_checkpoint_in_the_folder_of_weights_says_what_it_needs(yaml, blocks, monkeypatch, tmp_path):
    """Where ultralytics looks, too; it would install `my_blocks` from PyPI."""
    (tmp_path / "weights").mkdir()
    saved(yaml, blocks, monkeypatch).rename(tmp_path / "weights" / "stored.pt")
    blocks.rename(tmp_path / "elsewhere.py")
    env = {user_files.PATHS: "", user_files.INHERITED: "[]"}
    code = f"""
from ultralytics.utils import SETTINGS, checks
dict.__setitem__(SETTINGS, "weights_dir", {str(tmp_path / "weights")!r})
checks.check_requirements = lambda *args, **kwargs: print("INSTALLED", *args)
from ultralytics.nn import tasks
tasks.check_requirements = checks.check_requirements
tasks.torch_safe_load("stored.pt")
"""
    process = forked(code, cwd=tmp_path, preloaded="torch", check=False, **env)
    assert "MissingPackageError" in process.stderr, process.stderr
    assert "stored.pt needs Mixer, GatedConcat, Attend of the file my_blocks.py" in process.stderr
    assert "INSTALLED" not in process.stdout


def test_a_checkpoint_whose_package_is_missing_says_which(yaml, tmp_path):
    code = f"{installed(package(tmp_path))}from ultralytics import YOLO; YOLO('own.yaml').save('own.pt')"
    forked(code, cwd=tmp_path, preloaded="torch")
    with pytest.raises(
        MissingPackageError,
        match=r"Attend of the package their-blocks 1\.2, which is not installed here: install it, if you trust",
    ):
        YOLO(tmp_path / "own.pt")


def test_another_version_of_a_package_than_the_checkpoint_was_made_with_says_so(yaml, tmp_path):
    site = package(tmp_path)
    code = f"{installed(site)}from ultralytics import YOLO; YOLO('own.yaml').save('own.pt')"
    forked(code, cwd=tmp_path, preloaded="torch")
    (metadata,) = site.glob("*.dist-info/METADATA")
    metadata.write_text(metadata.read_text().replace("1.2", "1.3"))
    output = forked(f"{installed(site)}from ultralytics import YOLO; YOLO('own.pt')", cwd=tmp_path, preloaded="torch")
    message = "own.pt was made with their-blocks 1.2, and their-blocks 1.3 is installed: it is used as it is now."
    assert (output.stdout + output.stderr).count(message) == 1


def test_a_file_that_has_changed_since_the_checkpoint_says_so(yaml, blocks, monkeypatch, caplog):
    file = saved(yaml, blocks, monkeypatch)
    blocks.write_text(BLOCKS + "\n# another line\n")
    monkeypatch.setattr(user_files, "_warned", set())
    said = []
    monkeypatch.setattr("logging.Logger.warning", lambda self, message, *args: said.append(message))
    YOLO(file)
    assert [m for m in said if "has changed since" in m and "own.pt was made: it is used as it is now" in m]


def test_a_comparison_tells_two_versions_of_a_file_apart(yaml, blocks, monkeypatch):
    """Else a killed one would go on with another module, under the same name in the report."""
    monkeypatch.setenv(user_files.PATHS, str(blocks))
    stock = YOLO("yolo11n.yaml")
    digests = [specification.model_digest(str(yaml), YOLO(yaml), None)]
    blocks.write_text(BLOCKS + "\n# another version\n")
    digests.append(specification.model_digest(str(yaml), YOLO(yaml), None))
    assert digests[0] != digests[1]
    plain = hashlib.sha256(json.dumps(stock.model.yaml, sort_keys=True, default=str).encode()).hexdigest()
    assert specification.model_digest("yolo11n.yaml", stock, None) == plain  # as it ever was


SAFE = """
import torch
from ultralytics import YOLO
from ultralytics.nn.tasks import torch_safe_load
before = set(torch.serialization.get_safe_globals())
model = torch_safe_load("own.pt")[0]["model"]
print("HELD", *sorted({type(m).__name__ for m in model.modules() if type(m).__module__ == "my_blocks"}))
after = {c for c in torch.serialization.get_safe_globals() if isinstance(c, type) and c not in before}
print("ADDED", *sorted(c.__name__ for c in after if not c.__module__.startswith(("torch.", "ultralytics"))))
"""


@pytest.mark.skipif(not hasattr(tasks, "_SafeLoad"), reason="this ultralytics has no ULTRALYTICS_SAFE_LOAD")
def test_safe_loading_allows_the_registered_classes_and_their_parts(yaml, blocks, monkeypatch, tmp_path):
    blocks.write_text(BLOCKS + "\n\nclass Config:\n    pass\n\n\ndef helper():\n    pass\n")
    saved(yaml, blocks, monkeypatch)
    env = {user_files.INHERITED: "[]", "ULTRALYTICS_SAFE_LOAD": "1"}
    out = forked(SAFE, cwd=tmp_path, preloaded="torch", **env).stdout
    assert "HELD Attend Gate GatedConcat Mixer" in out
    assert "ADDED Attend Deep Gate GatedConcat Mixer Scale\n" in out  # no function, no class that is no module


@pytest.mark.skipif(not hasattr(tasks, "_SafeLoad"), reason="this ultralytics has no ULTRALYTICS_SAFE_LOAD")
def test_safe_loading_refuses_a_class_that_can_be_imported_but_is_not_registered(yaml, blocks, monkeypatch, tmp_path):
    """The file is beside the script, so that Python finds it; nobody has registered it there."""
    saved(yaml, blocks, monkeypatch)
    env = {user_files.PATHS: "", user_files.INHERITED: "[]", "ULTRALYTICS_SAFE_LOAD": "1"}
    process = forked("import sys; sys.path.insert(0, '')\n" + SAFE, cwd=tmp_path, preloaded="torch", check=False, **env)
    assert "outside the supported Ultralytics checkpoint format" in process.stderr
    assert "HELD" not in process.stdout


@pytest.mark.skipif(not hasattr(tasks, "_SafeLoad"), reason="this ultralytics has no ULTRALYTICS_SAFE_LOAD")
def test_safe_loading_in_a_process_that_knows_by_its_parent_alone(yaml, blocks, monkeypatch, tmp_path):
    saved(yaml, blocks, monkeypatch)
    env = {user_files.PATHS: "", "ULTRALYTICS_SAFE_LOAD": "1"}
    (tmp_path / "elsewhere").mkdir()
    (tmp_path / "own.pt").rename(tmp_path / "elsewhere" / "own.pt")
    assert (
        "HELD Attend Gate GatedConcat Mixer"
        in forked(SAFE, cwd=tmp_path / "elsewhere", preloaded="torch", **env).stdout
    )


def test_a_note_that_is_none_is_passed_over(tmp_path):
    torch.save({"x": '{"diffattn_needs": nonsense', "y": '{"diffattn_needs": "a:B"}'}, tmp_path / "a.pt")
    assert needs.read(tmp_path / "a.pt") == []


def test_what_is_installed_twice_or_reloaded_is_one_entry(known):
    build_rows([-1, 1, "Attend", []])
    before = dict(MODULES)
    __import__("importlib").reload(sys.modules["my_blocks"])
    assert before == MODULES
    assert len(user_files.inherited()) == 5
    register("my_blocks:Attend", like="(c1, *args)", name="Attend2")
    assert type(build_rows([-1, 1, "Attend2", []])[1]).__name__ == "Attend"


COUNTED = """
import sys
assert not any(m.split(".")[0] in {"my_blocks", "torch", "json"} for m in sys.modules), sorted(sys.modules)
print(len([m for m in sys.modules if m.startswith("ultralytics_diffattn")]))
"""


@pytest.mark.parametrize("count", [0, 1, 20])
def test_registered_modules_cost_nothing_at_the_start(count, blocks, tmp_path):
    """The number of modules of ours at `python -c pass`; their time is for `diffattn bench only=start`."""
    files = [tmp_path / f"blocks{i}.py" for i in range(count)]
    for file in files:
        file.write_text(BLOCKS)
    env = {user_files.PATHS: os.pathsep.join(map(str, files))}
    assert int(python(COUNTED, cwd=tmp_path, **env).stdout) <= 3
    code = (
        record(tmp_path, *files) + "import importlib\ntry:\n    import no_such_module\nexcept ImportError:\n    pass\n"
    )
    assert int(python(code + COUNTED, cwd=tmp_path).stdout) <= 3
    assert subprocess.run([sys.executable, "-c", "pass"], env={**os.environ, **env}).returncode == 0
