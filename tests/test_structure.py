"""The rooms of the package: who imports whom, without circles, and the map of them in CONTRIBUTING.md."""

import ast
import re
from functools import cache
from graphlib import CycleError, TopologicalSorter

import pytest

from tests.places import ROOT

PACKAGE = ROOT / "ultralytics_diffattn"
FILES = {  # module: file, without the package's name; "" is its __init__
    ".".join(f.relative_to(PACKAGE).with_suffix("").parts).removesuffix("__init__").rstrip("."): f
    for f in PACKAGE.rglob("*.py")
}


def named(text, package=""):
    """Return the modules of ours that a source imports, in functions and by name in strings, too."""
    found = set()
    for node in ast.walk(ast.parse(text)):
        if isinstance(node, ast.ImportFrom):
            assert not node.level, "imports are absolute"
            found |= {f"{node.module}.{alias.name}" for alias in node.names}
        elif isinstance(node, ast.Import):
            found |= {alias.name for alias in node.names}
        elif isinstance(node, ast.Constant) and isinstance(node.value, str):  # import_module, resolve_name, python -m
            found |= (
                {node.value.replace(":", ".")} if re.fullmatch(r"ultralytics_diffattn[\w.:]+", node.value) else set()
            )
        elif isinstance(node, ast.JoinedStr):  # f"ultralytics_diffattn.verbs.{name}"
            start = node.values[0].value if isinstance(node.values[0], ast.Constant) else ""
            if start.startswith("ultralytics_diffattn.") and start.endswith("."):
                found |= {f"ultralytics_diffattn.{m}" for m in FILES if f"ultralytics_diffattn.{m}".startswith(start)}
    for name in found:
        if name.split(".")[0] == "ultralytics_diffattn":
            name = name.partition(".")[2]
            while name and name not in FILES:
                name = name.rpartition(".")[0]
            yield name


@cache
def imports():
    """Return the modules that each file imports; the package's own names what it loads when it is asked for."""
    return {name: set(named(file.read_text())) - {name} for name, file in FILES.items() if name}


def room(name):
    return name.partition(".")[0]


def circle(graph):
    try:
        TopologicalSorter(graph).prepare()
    except CycleError as error:
        return error.args[1]


def test_no_circle_of_files():
    assert circle(imports()) is None


def test_no_circle_of_rooms():
    rooms = {room(name): set() for name in imports()}
    for name, imported in imports().items():
        rooms[room(name)] |= {room(other) for other in imported} - {room(name), ""}
    assert circle(rooms) is None


def test_a_circle_is_found():
    assert circle({"a": {"b"}, "b": {"c"}, "c": {"a"}, "d": {"a"}})
    text = "def f():\n    from ultralytics_diffattn.nn import blocks\n    import_module('ultralytics_diffattn.cli')"
    assert set(named(text)) == {"nn.blocks", "cli"}
    assert {room(name) for name in named("import_module(f'ultralytics_diffattn.verbs.{verb}')")} == {"verbs"}


ALLOWED = [  # files, and what they may import of ours
    (r"nn\b.*", r"nn\b.*"),
    (r"autoload", r"plugin\.attach|plugin\.user_files"),  # when ultralytics is there, or a user's file is asked for
    (r"verbs\..*", r".*"),
    (r"cli", r"verbs|verbs\..*|errors|suggestions"),
    (r"(?!verbs|cli$|autoload$).*", r"(?!verbs|cli$|autoload$).*"),  # no room knows of the command line
]


@pytest.mark.parametrize(("files", "allowed"), ALLOWED, ids=[files for files, _ in ALLOWED])
def test_direction(files, allowed):
    importing = {name: imports()[name] for name in imports() if re.fullmatch(files, name)}
    assert importing
    wrong = {(a, b) for a, imported in importing.items() for b in imported if not re.fullmatch(allowed, b)}
    assert not wrong


def test_a_verb_imports_no_other_verb_but_strip_which_exports():
    verbs = {
        (a, b) for a, imported in imports().items() for b in imported if a.startswith("verbs.") and room(b) == "verbs"
    }
    assert {pair for pair in verbs if pair[1] not in {"verbs", "verbs.arguments"}} == {
        ("verbs.strip", "verbs.export"),
        ("verbs.compare", "verbs.compare_arguments"),
    }


def test_the_tests_have_the_rooms_of_the_package():
    rooms = {f.parent.name for f in PACKAGE.glob("*/__init__.py")}
    assert rooms == {f.parent.name for f in (ROOT / "tests").glob("*/__init__.py")} - {"scripts"}


def test_the_map_of_the_house_is_the_house():
    """CONTRIBUTING.md names each file of the package, and none that is not there."""
    (tree,) = re.findall(r"```\nultralytics_diffattn/\n(.*?)```", (ROOT / "CONTRIBUTING.md").read_text(), re.DOTALL)
    seen, folder = set(), ""
    for line in tree.splitlines():
        if heading := re.match(r"  (\w+)/ ", line):
            folder = heading[1] + "/"
        elif re.match(r"  \w+\.py ", line):
            folder = ""
        seen |= {f"{folder}{name}" for name in re.findall(r"\b(\w+\.py)\b", line)}
    files = {str(f.relative_to(PACKAGE)) for f in PACKAGE.rglob("*.py")}
    assert seen == {f for f in files if f == "__init__.py" or not f.endswith("__init__.py")}
