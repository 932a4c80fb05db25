"""Fresh interpreters: with the line of the .pth file the plugin is there, without it it is not."""

import pytest

from ultralytics_diffattn.benchmark import startup


def test_with_and_without(monkeypatch):
    monkeypatch.setenv("DIFFATTN_AUTOLOAD", "0")  # of this process; what is measured is the plugin at work
    code = "import sys; print('ultralytics_diffattn' in sys.modules, any('iffattn' in str(f) for f in sys.meta_path))"
    printed = {name: run().strip() for name, run in startup.start(code).items()}
    assert printed == {"with": "True True", "without": "False False"}


def test_ultralytics_knows_ours_with_it_alone():
    code = "import ultralytics.nn.tasks as tasks; print(hasattr(tasks, 'C2PSA_Diff'))"
    assert {name: run().strip().splitlines()[-1] for name, run in startup.start(code).items()} == {
        "with": "True",
        "without": "False",
    }


def test_at_start():
    ms, modules = startup.at_start()
    assert ms > 0
    assert set(modules) == {"ultralytics_diffattn", "ultralytics_diffattn.autoload"}


def test_a_line_that_loads_nothing(monkeypatch):
    monkeypatch.setattr(startup, "_line", lambda: "pass")
    with pytest.raises(RuntimeError, match="does not load ultralytics_diffattn"):
        startup.at_start()


def test_an_interpreter_that_fails():
    with pytest.raises(RuntimeError, match="ZeroDivisionError"):
        startup.start("1 / 0")["without"]()
