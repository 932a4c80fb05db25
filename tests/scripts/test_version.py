"""scripts/version.py: it writes a version in its places, or nothing; and the conda recipe, which holds it, too."""

import re
import runpy
import shutil

import pytest
import yaml
from packaging.requirements import Requirement

from tests.places import ROOT
from ultralytics_diffattn import __version__

tomllib = pytest.importorskip("tomllib")  # of Python 3.11
MODULE = runpy.run_path(str(ROOT / "scripts" / "version.py"))
stamp, PLACES = MODULE["stamp"], MODULE["PLACES"]
CHANGELOG = """# Changelog

Words.

## Unreleased

### Added

- A thing.

## 0.1.0 - 2026-12-01

- Everything.
"""


@pytest.fixture
def checkout(tmp_path):
    """Return what is written to, with a changelog of one version."""
    for name in PLACES:
        (tmp_path / name).parent.mkdir(parents=True, exist_ok=True)
        shutil.copy(ROOT / name, tmp_path / name)
    (tmp_path / "CHANGELOG.md").write_text(CHANGELOG)
    return tmp_path


def texts(folder):
    return {f.relative_to(folder).as_posix(): f.read_text() for f in folder.rglob("*") if f.is_file()}


def test_a_version_is_written_in_its_places(checkout):
    before = texts(checkout)
    assert stamp(checkout, "0.2.0", "2027-01-31") == "### Added\n\n- A thing."
    after = texts(checkout)
    assert after.pop("CHANGELOG.md") == CHANGELOG.replace("## Unreleased\n", "## Unreleased\n\n## 0.2.0 - 2027-01-31\n")
    for name, text in after.items():
        changed = [(a, b) for a, b in zip(before[name].splitlines(), text.splitlines(), strict=True) if a != b]
        assert [(a.replace(__version__, "0.2.0"), b) for a, b in changed] == [(b, b) for _, b in changed]
        assert len(changed) == 1
    namespace = {}
    exec(after["ultralytics_diffattn/version.py"], namespace)
    assert namespace["__version__"] == yaml.safe_load(after["CITATION.cff"])["version"] == "0.2.0"
    assert yaml.safe_load(after["conda/recipe.yaml"])["context"]["version"] == "0.2.0"


def test_the_next_one_after_it(checkout):
    stamp(checkout, "0.2.0", "2027-01-31")
    with pytest.raises(SystemExit, match="nothing to release"):
        stamp(checkout, "0.3.0", "2027-02-28")
    changelog = checkout / "CHANGELOG.md"
    changelog.write_text(changelog.read_text().replace("## Unreleased\n", "## Unreleased\n\n- Another.\n"))
    assert stamp(checkout, "0.10.0", "2027-02-28") == "- Another."


@pytest.mark.parametrize(
    ("version", "message"),
    [
        ("v0.2.0", "'v0.2.0' is no version: give three numbers, such as 0.2.0."),
        ("0.2", "no version"),
        ("0.2.00", "no version"),
        ("0.2.0; rm -r .", "no version"),
        ("0.2.0\n", "no version"),
        ("0.1.0", "0.1.0 is not above 0.1.0, which CHANGELOG.md has already."),
        ("0.0.9", "0.0.9 is not above 0.1.0"),
    ],
)
def test_another_version_writes_nothing(checkout, version, message):
    before = texts(checkout)
    with pytest.raises(SystemExit, match=re.escape(message)):
        stamp(checkout, version, "2027-01-31")
    assert texts(checkout) == before


@pytest.mark.parametrize(
    ("name", "old", "new", "message"),
    [
        ("CHANGELOG.md", "- A thing.\n", "", "nothing under '## Unreleased'"),
        ("CHANGELOG.md", "## Unreleased\n", "", "one section '## Unreleased'"),
        ("CITATION.cff", "\nversion: ", "\nversions: ", "CITATION.cff has 0 lines with the version"),
        ("conda/recipe.yaml", '  version: "', "  version: ${", "conda/recipe.yaml has 0 lines"),
    ],
)
def test_a_place_that_is_not_as_expected_writes_nothing(checkout, name, old, new, message):
    (checkout / name).write_text((checkout / name).read_text().replace(old, new, 1))
    before = texts(checkout)
    with pytest.raises(SystemExit, match=re.escape(message)):
        stamp(checkout, "0.2.0", "2027-01-31")
    assert texts(checkout) == before


def test_this_checkout_can_be_made_a_version(checkout):
    """What every pull request has to keep: a section for what is unreleased."""
    text = (ROOT / "CHANGELOG.md").read_text(encoding="utf-8")
    (checkout / "CHANGELOG.md").write_text(text, encoding="utf-8")
    assert text.count("## Unreleased\n") == 1
    if re.search(r"(?m)^- ", text.partition("## Unreleased\n")[2].partition("\n## ")[0]):
        assert stamp(checkout, "999.0.0", "2027-01-31")


RECIPE = yaml.safe_load((ROOT / "conda" / "recipe.yaml").read_text())
PROJECT = tomllib.loads((ROOT / "pyproject.toml").read_text())["project"]
CONDA = {"torch": "pytorch", "opencv-python": "py-opencv", "matplotlib": "matplotlib-base"}  # names there


def test_the_recipe_is_of_this_project():
    assert RECIPE["package"]["name"] == PROJECT["name"]
    assert RECIPE["context"]["version"] == __version__
    assert RECIPE["source"]["url"].endswith("/ultralytics_diffattn-${{ version }}.tar.gz")
    assert RECIPE["about"]["license"] == PROJECT["license"]
    scripts = [f"{name} = {function}" for name, function in PROJECT["scripts"].items()]
    assert RECIPE["build"]["python"]["entry_points"] == scripts


def test_the_recipe_has_the_dependencies_of_the_wheel():
    """And of `compare`, since conda has no extras; torchvision, which conda's ultralytics does not bring."""
    wanted = map(Requirement, [*PROJECT["dependencies"], *PROJECT["optional-dependencies"]["compare"]])
    run = {f"{CONDA.get(r.name, r.name)} {r.specifier}".strip() for r in wanted}
    assert set(RECIPE["requirements"]["run"]) == {*run, "python >=${{ python_min }}", "torchvision"}
