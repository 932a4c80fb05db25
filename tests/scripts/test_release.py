"""scripts/release.sh and the workflows: what can be held without publishing."""

import re
import shutil

import pytest
import yaml

from tests.interpreters import run
from tests.places import ROOT
from ultralytics_diffattn import __version__

RELEASE = (ROOT / ".github" / "workflows" / "release.yml").read_text()


@pytest.mark.parametrize("version", ["", "0.0.0", f"v{__version__}"])
def test_another_version_than_that_of_the_checkout_builds_nothing(version, tmp_path):
    done = run("bash", ROOT / "scripts" / "release.sh", *([version] if version else []), cwd=tmp_path, check=False)
    assert done.returncode == 1
    assert f"'{version}' is not the version of this checkout, {__version__}: python scripts/version.py" in done.stderr


def test_a_version_that_the_changelog_lacks_builds_nothing(tmp_path):
    for name in ("scripts/release.sh", "ultralytics_diffattn/version.py"):
        (tmp_path / name).parent.mkdir()
        shutil.copy(ROOT / name, tmp_path / name)
    (tmp_path / "CHANGELOG.md").write_text("# Changelog\n\n## Unreleased\n\n- A thing.\n")
    done = run("bash", tmp_path / "scripts" / "release.sh", __version__, check=False)
    assert done.returncode == 1
    assert (
        f"CHANGELOG.md has no section '## {__version__} - DATE': python scripts/version.py {__version__}" in done.stderr
    )


def test_a_wheel_is_tried_by_known_tools_alone(tmp_path):
    (tmp_path / "a.whl").touch()
    done = run("bash", ROOT / "scripts" / "try_wheel.sh", "conda", tmp_path / "a.whl", cwd=tmp_path, check=False)
    assert (done.returncode, done.stderr.strip()) == (1, "'conda' is none of pip, uv and pipx")


@pytest.mark.parametrize("file", sorted((ROOT / ".github" / "workflows").glob("*.yml")), ids=lambda f: f.name)
def test_workflows_run_files_that_exist_and_may_write_nothing(file):
    workflow = yaml.safe_load(file.read_text())
    assert workflow["permissions"] == {"contents": "read"}
    steps = [step for job in workflow["jobs"].values() for step in job["steps"]]
    for path in re.findall(r"(?<!\S)(?:\.ci|scripts|tests)/[\w./]+", "\n".join(s.get("run", "") for s in steps)):
        assert (ROOT / path).exists(), path


def test_the_press_publishes_what_was_tried_and_only_then_tags_it():
    """And only publishing may ask PyPI for a token, only tagging may write."""
    workflow = yaml.safe_load(RELEASE)
    jobs = workflow["jobs"]
    assert set(workflow[True]["workflow_dispatch"]["inputs"]) == {"version"}  # YAML 1.1 reads `on` as true
    assert {name: (job.get("needs"), job.get("permissions")) for name, job in jobs.items()} == {
        "build": (None, None),
        "install": ("build", None),
        "publish": ("install", {"id-token": "write"}),
        "tag": ("publish", {"contents": "write", "pull-requests": "write"}),
    }
    assert jobs["publish"]["environment"] == "pypi"
    commands = [step["run"] for job in jobs.values() for step in job["steps"] if "run" in step]
    assert not any("inputs." in command for command in commands)  # what somebody types is no shell code


def test_pythons_are_the_same_everywhere():
    """In the classifiers and in the jobs that install the wheel."""
    project = (ROOT / "pyproject.toml").read_text()
    classified = re.findall(r'"Programming Language :: Python :: (3\.\d+)"', project)
    matrix = yaml.safe_load(RELEASE)["jobs"]["install"]["strategy"]["matrix"]
    assert matrix["python"] == classified
    assert classified[0] == re.search(r'requires-python = ">=([\d.]+)"', project)[1]
    assert {other["python"] for other in matrix["include"]} <= set(classified)


def test_the_hooks_before_a_commit_are_what_ci_runs():
    (hooks,) = (repo["hooks"] for repo in yaml.safe_load((ROOT / ".pre-commit-config.yaml").read_text())["repos"])
    checks = re.findall(r"^\.venv/bin/(\w+(?: \w+)?)", (ROOT / ".ci" / "run").read_text(), re.M)
    assert [
        " ".join(hook["entry"].split()[: len(check.split())]) for hook, check in zip(hooks, checks, strict=True)
    ] == checks
