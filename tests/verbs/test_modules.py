"""`diffattn modules`: what is recorded, for this environment alone, and what is said of it."""

import json
import sys

import pytest

from tests.interpreters import forked
from tests.plugin.conftest import BLOCKS, own_registry  # noqa: F401
from ultralytics_diffattn import cli
from ultralytics_diffattn.errors import ExistingFileError, MissingFileError, UserError
from ultralytics_diffattn.plugin import user_files
from ultralytics_diffattn.verbs.modules import modules


@pytest.fixture(autouse=True)
def environment(tmp_path, monkeypatch):
    """Let `sys.prefix` be a folder of the test's, and work in another."""
    monkeypatch.setattr(sys, "prefix", str(tmp_path / "env"))
    (tmp_path / "work").mkdir()
    monkeypatch.chdir(tmp_path / "work")
    (tmp_path / "work" / "my_blocks.py").write_text(BLOCKS)
    return tmp_path


def test_add_list_and_remove(environment, monkeypatch):
    (said,) = modules("add", "my_blocks.py")
    assert "Mixer, whose rows are read as those of Conv" in said
    assert "Join, whose rows are read as (channels, *args)" in said
    file = environment / "work" / "my_blocks.py"
    place = environment / "env" / "share" / "ultralytics-diffattn" / "modules.json"
    assert json.loads(place.read_text()) == [{"path": str(file), "sha256": user_files.digest(str(file))}]
    assert modules() == modules("list") == [f"{file}: by diffattn modules add, as recorded"]
    file.write_text(BLOCKS + "\n")
    assert modules() == [f"{file}: by diffattn modules add, changed since"]
    modules("add", "my_blocks.py")
    assert modules() == [f"{file}: by diffattn modules add, as recorded"]
    file.unlink()
    assert modules() == [f"{file}: by diffattn modules add, missing"]
    modules("remove", "my_blocks")  # by its name, though the file is gone
    assert not place.exists()
    monkeypatch.setenv(user_files.INHERITED, "[]")  # what this process has registered, its children know
    assert modules() == ["No modules of yours are known here: diffattn modules add my_blocks.py"]


def test_what_is_added_is_known_to_the_next_process(environment):
    modules("add", "my_blocks.py")
    code = f"""
import sys
sys.prefix = {sys.prefix!r}
from tests.samples import build_rows
print(build_rows([-1, 1, "Attend", []])[1].type)
"""
    env = {user_files.INHERITED: "[]", "PYTHONPATH": ""}
    root = f"sys.path.insert(0, {str(__import__('tests').__path__[0])[: -len('/tests')]!r})\nfrom tests.samples"
    out = forked(code.replace("from tests.samples", root), cwd=environment / "env", **env).stdout
    assert "my_blocks.Attend" in out


def test_a_file_that_is_known_twice_is_compared_with_its_record(environment, monkeypatch):
    file = environment / "work" / "my_blocks.py"
    user_files.add(str(file))
    monkeypatch.setenv(user_files.PATHS, str(file))
    file.write_text(BLOCKS + "\n")
    assert modules() == [f"{file}: by diffattn modules add, changed since"]


def test_a_name_of_two_files_is_not_enough_to_remove_one(environment):
    files = [environment / "work" / "my_blocks.py", environment / "my_blocks.py"]
    files[1].write_text(BLOCKS)
    for file in files:
        user_files.add(str(file))
    with pytest.raises(UserError, match=f"my_blocks is the name of {files[0]} and {files[1]}: give the path"):
        modules("remove", "my_blocks")
    assert len(user_files.recorded()) == 2
    assert modules("remove", str(files[1])) == [f"{files[1]} is no longer known."]
    assert modules("remove", "my_blocks") == [f"{files[0]} is no longer known."]


BAD = [  # the file's content, None for no file; its name; error, message
    (None, "no.py", MissingFileError, "no.py does not exist"),
    ("", "blocks.txt", UserError, "blocks.txt must end with .py"),
    ("", "my-blocks.py", UserError, "cannot be imported by its name: give it letters"),
    ("", "lambda.py", UserError, "no word of Python's"),
    ("", "empty.py", UserError, "empty.py registers nothing: put @register"),
    ("1 / 0", "raises.py", UserError, "raises.py cannot be imported: ZeroDivisionError"),
    ("def f(:", "typo.py", UserError, "typo.py cannot be imported: SyntaxError"),
    ("import no_such_package", "needs.py", UserError, "No module named 'no_such_package'"),
    ("x = 1", "json.py", UserError, "Python has imported"),
    (BLOCKS.replace('"Conv"', '"Convv"'), "unlike.py", UserError, "Did you mean Conv?"),
    (BLOCKS.replace("class Mixer", "class C2PSA"), "taken.py", UserError, "C2PSA is taken"),
]


@pytest.mark.parametrize(("content", "name", "error", "message"), BAD, ids=[name for _, name, *_ in BAD])
def test_a_bad_file_is_not_recorded(content, name, error, message, environment):
    if content is not None:
        (environment / "work" / name).write_text(content)
    with pytest.raises(error) as caught:
        modules("add", name)
    assert message in str(caught.value)
    assert user_files.recorded() == []


@pytest.mark.parametrize(
    ("words", "message"),
    [
        (["ad", "my_blocks.py"], "there is no modules ad: it is one of add, list, remove"),
        (["add"], "modules add needs a file"),
        (["list", "my_blocks.py"], "modules list takes no file"),
        (["remove", "other.py"], "other.py is not recorded in this environment; recorded is nothing"),
        (["add", "my_blocks.py", "epochs=3"], "epochs= means nothing to modules"),
    ],
)
def test_bad_words(words, message, capsys):
    assert cli.main(["modules", *words]) == 1
    assert message in capsys.readouterr().err


def test_a_broken_record_is_said_and_kept(environment, monkeypatch):
    place = environment / "env" / "share" / "ultralytics-diffattn" / "modules.json"
    place.parent.mkdir(parents=True)
    place.write_text("[{")
    with pytest.raises(UserError, match=r"modules\.json is broken; delete it, and add its files again"):
        modules("add", "my_blocks.py")
    assert place.read_text() == "[{"
    said = []
    monkeypatch.setattr("logging.Logger.warning", lambda self, message, *args: said.append(message))
    monkeypatch.setattr(user_files, "_warned", set())
    assert [user_files.known() for _ in range(2)][1][0].origin == user_files.INHERITED
    assert [m for m in said if "modules.json is broken" in m] == said


def test_an_environment_that_cannot_be_written(environment):
    (environment / "env").write_text("no folder")
    with pytest.raises((UserError, ExistingFileError), match="env"):
        modules("add", "my_blocks.py")
