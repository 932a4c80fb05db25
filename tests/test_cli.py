"""The command line: yolo's grammar, the nearest valid name for a wrong one, and no traceback for a user's mistake."""

import re
from importlib import import_module

import pytest
from ultralytics import YOLO

from tests.interpreters import python, script
from ultralytics_diffattn import cli
from ultralytics_diffattn.errors import UserError
from ultralytics_diffattn.verbs.arguments import parse


@pytest.mark.parametrize(
    ("words", "expected"),
    [
        (["epochs=3"], {"epochs": 3}),
        (["epochs", "=", "3"], {"epochs": 3}),
        (["--epochs=3,"], {"epochs": 3}),
        (["seeds=0,1"], {"seeds": (0, 1)}),
        (["lr0=1e-3", "val=False", "data=a b.yaml"], {"lr0": 0.001, "val": False, "data": "a b.yaml"}),
        (["resume"], {"resume": True}),
        (["segment"], {"task": "segment"}),
        ([], {}),
    ],
)
def test_parse(words, expected):
    assert parse(words, {"seeds": (0,)}) == expected


@pytest.mark.parametrize(
    ("words", "message"),
    [
        (["seed_s=0"], "seeds"),
        (["epoch=3"], "epochs"),
        (["epochs"], "epochs=100"),
        (["epochs="], "has no value"),
        (["seeds"], r"for example, seeds=0\.$"),
        (["data"], r"for example, data=\.\.\.\.$"),
        (["models=a.yaml", "b.yaml"], "commas and no spaces"),
        (["compar"], "not a valid"),
    ],
)
def test_parse_refuses(words, message):
    with pytest.raises(UserError, match=message):
        parse(words, {"seeds": (0,), "models": ""})


@pytest.mark.parametrize(
    ("words", "message"),
    [
        (["compar"], "Did you mean compare?"),
        (["compare", "seed=0"], "seeds=0,1,2"),
        (["compare", "epoch=1"], "epochs"),
        (["compare", "data=nowhere"], "nowhere"),
        (["compare", "data=shape"], "shapes"),
        (["train"], "data= is missing"),
        (["train", "data=shapes", "epochs=three"], "epochs"),
        (["val"], "model= is missing"),
        (["export"], "model"),
        (["val", "model=nothing.pt"], "nothing.pt"),
        (["compare", "imgsz=0"], "at least 32"),
        (["robustness", "data=shapes"], "models= is missing"),
        (["robustness", "data=shapes", "model=best.pt"], "give models="),
        (["robustness", "data=shapes", "corruptions=smow"], "Did you mean snow?"),
        (["robustness", "data=shapes", "severities=6"], "from 1 to 5"),
    ],
)
def test_mistakes_are_named(words, message, capsys):
    assert cli.main(words) == 1
    error = capsys.readouterr().err
    assert message in error
    assert "Traceback" not in error


@pytest.mark.parametrize("verb", cli.VERBS)
def test_a_mistake_is_one_line_in_every_verb(verb, capsys):
    assert cli.main([verb, "no_such_key=1"]) == 1
    error = capsys.readouterr().err
    assert error.startswith(f"diffattn {verb}: ")
    assert "no_such_key" in error
    assert "Traceback" not in error


@pytest.mark.parametrize("verb", cli.VERBS)
def test_a_bug_shows_where_it_is_in_every_verb(verb, capsys, monkeypatch):
    """The same `TypeError` of a line of our own, which no message to the user explains."""

    def broken(**_):
        return 1 + "one"

    name = verb.replace("-", "_")
    monkeypatch.setattr(import_module(f"ultralytics_diffattn.verbs.{name}"), name, broken)
    assert cli.main([verb]) == 1
    error = capsys.readouterr().err
    assert "Traceback" in error
    assert 'return 1 + "one"' in error
    assert "TypeError: unsupported operand" in error


@pytest.mark.parametrize("mode", ["train", "val", "export"])
@pytest.mark.parametrize(
    ("raised", "bug"), [(PermissionError("best.pt"), False), (TypeError("forward"), True)], ids=repr
)
def test_errors_inside_ultralytics(mode, raised, bug, capsys, monkeypatch):
    """What it says of files is for the user; what our own modules raise in it is for us."""

    def fail(self, **_):
        raise raised

    monkeypatch.setattr(YOLO, mode, fail)
    words = ["data=shapes"] if mode == "train" else []
    assert cli.main([mode, "model=yolo11n-diffattn.yaml", *words]) == 1
    error = capsys.readouterr().err
    assert str(raised) in error
    assert ("Traceback" in error) is bug


@pytest.mark.parametrize(("verb", "words"), [("bench", ["only=cuda"]), ("train", ["data=shapes", "device=cpu"])])
def test_a_folder_that_cannot_be_made(verb, words, tmp_path, capsys):
    (tmp_path / "file").touch()
    assert cli.main([verb, *words, f"project={tmp_path / 'file'}"]) == 1
    error = capsys.readouterr().err
    assert str(tmp_path / "file") in error
    assert "Traceback" not in error


@pytest.mark.parametrize("verb", ["train", "val", "export", "compare", "robustness", "attend"])
def test_a_value_that_ultralytics_refuses(verb, capsys):
    assert cli.main([verb, "imgsz=640", "epochs=three"]) == 1
    error = capsys.readouterr().err
    assert error.startswith(f"diffattn {verb}: 'epochs=three' is of invalid type str.")
    assert "Traceback" not in error


def test_help(capsys):
    assert cli.main([]) == 0
    out = capsys.readouterr().out
    assert all(f"\n  {verb}" in out for verb in cli.VERBS)


def test_help_of_a_verb(capsys):
    assert cli.main(["compare", "--help"]) == 0
    out = capsys.readouterr().out
    assert "models=yolo11n.yaml,yolo11n-diffattn.yaml" in out
    assert "seeds=0,1,2" in out
    assert "`margin` (difference that does not matter)" in out


@pytest.mark.parametrize("verb", cli.VERBS)
def test_help_says_what_each_argument_is(verb, capsys):
    assert cli.main([verb, "help"]) == 0
    out = capsys.readouterr().out
    for key in import_module(f"ultralytics_diffattn.verbs.{verb.replace('-', '_')}").OWN:
        assert f"`{key}`" in out or f"\n{key}: " in out, key
    assert "**" not in out


def test_a_mistake_is_not_buried_under_the_help_of_yolo(capfd):
    assert cli.main(["compare", "sedes=0"]) == 1
    out, error = capfd.readouterr()
    assert "seeds=(0, 1, 2)" in error
    assert "yolo TASK MODE ARGS" not in out + error


def test_help_imports_nothing_heavy():
    code = "import sys; from ultralytics_diffattn.cli import main; main(['help']); print('torch' in sys.modules)"
    assert python(code).stdout.endswith("False\n")


@pytest.mark.parametrize("verb", ["train", "val", "export", "compare"])
def test_scripts(verb):
    """A script is the verb of the same name, and its folder shadows no module."""
    done = script(f"{verb}.py", "epoch=3", check=False)
    assert done.returncode == 1
    assert re.search(r"diffattn \w+: 'epoch' is not a valid YOLO argument.*epochs", done.stderr, re.S)
