"""`diffattn new`: what it writes passes its own test, and trains at once."""

import re
import sys

import pytest

from tests.interpreters import command, forked
from tests.plugin.conftest import blocks, known, own_registry  # noqa: F401
from ultralytics_diffattn.errors import ExistingFileError, UserError
from ultralytics_diffattn.plugin import new_module, user_files
from ultralytics_diffattn.plugin.signatures import PLAIN


def test_what_it_writes_passes_its_own_test_and_trains(tiny, tmp_path):
    said = command("diffattn", "new", "MyBlock", "like=C2f", cwd=tmp_path).stdout
    assert re.findall(r"^  (.+)$", said, re.M) == [
        "python -m pytest test_my_block.py",
        "diffattn modules add my_block.py",
        "diffattn compare data=shapes models=yolo11n.yaml,yolo11n-my_block.yaml",
    ]
    assert sorted(f.name for f in tmp_path.iterdir()) == ["my_block.py", "test_my_block.py", "yolo11-my_block.yaml"]
    own_test = "import pytest, sys; sys.exit(pytest.main(['-q', '-p', 'no:cacheprovider']))"
    assert "4 passed" in forked(own_test, cwd=tmp_path, PYTEST_ADDOPTS="").stdout
    budget = "epochs=1", "imgsz=64", "batch=4", "device=cpu", "workers=0", "plots=False", "val=False"
    words = "train", "model=yolo11n-my_block.yaml", f"data={tiny}", f"project={tmp_path}", *budget
    env = {user_files.PATHS: str(tmp_path / "my_block.py")}
    assert "epochs completed" in command("yolo", *words, cwd=tmp_path, **env).stdout


@pytest.mark.parametrize("like", [*PLAIN, "C2f"])
def test_each_template(like, tmp_path, monkeypatch):
    """Its own test, in this process: that of the command's is above."""
    import importlib

    new_module.write("Toy", like, tmp_path)
    monkeypatch.syspath_prepend(tmp_path)
    monkeypatch.setenv(user_files.INHERITED, "[]")
    from ultralytics.nn import tasks

    from ultralytics_diffattn.plugin.registry import MODULES

    try:
        tests = importlib.import_module("test_toy")
        for name in [n for n in vars(tests) if n.startswith("test_")]:
            vars(tests)[name](tests.YOLO(tests.YAML).model)
    finally:
        MODULES.pop("Toy", None)
        vars(tasks).pop("Toy", None)
        for name in ("toy", "test_toy"):
            sys.modules.pop(name, None)


BAD = [  # name, like, error, message
    ("cbam", "Conv", UserError, "'cbam' is not a name for a class: begin with a capital letter"),
    ("my block", "Conv", UserError, "not a name for a class"),
    ("C2PSA", "Conv", UserError, "C2PSA is taken"),
    ("C2PSA_Diff", "Conv", UserError, "C2PSA_Diff is taken"),
    ("Torch", "Conv", UserError, "torch.py would hide the module torch"),
    ("New", "Convv", UserError, "Did you mean Conv?"),
    ("New", "Detect", UserError, "there is no template for like=Detect"),
    ("New", "HGStem", UserError, "there is no template for like=HGStem"),
    ("New", "RepNCSPELAN4", UserError, "there is no template for like=RepNCSPELAN4"),
    ("Lambda", "Conv", UserError, "lambda is a word of Python's"),
    ("None", "Conv", UserError, "None is a word of Python's"),
    ("There", "Conv", ExistingFileError, "test_there.py exists already"),
]


@pytest.mark.parametrize(("name", "like", "error", "message"), BAD, ids=[message for *_, message in BAD])
def test_bad_input_writes_nothing(name, like, error, message, tmp_path):
    (tmp_path / "test_there.py").write_text("mine")
    with pytest.raises(error, match=re.escape(message)):
        new_module.write(name, like, tmp_path)
    assert [(f.name, f.read_text()) for f in tmp_path.iterdir()] == [("test_there.py", "mine")]


def test_a_name_of_a_module_that_is_known_but_not_imported_yet(tmp_path, monkeypatch, known):  # noqa: F811
    with pytest.raises(UserError, match="Mixer is taken"):
        new_module.write("Mixer", "Conv", tmp_path / "new")


def test_without_a_name(tmp_path):
    process = command("diffattn", "new", cwd=tmp_path, check=False)
    assert process.returncode == 1
    assert process.stderr.strip() == "diffattn new: new needs the name of a class, as in diffattn new CBAM like=Conv."
