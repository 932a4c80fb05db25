"""scripts/release.sh and the workflows: what can be held without publishing."""

import re

import pytest
import yaml

from tests.interpreters import run
from tests.places import ROOT
from ultralytics_diffattn import __version__


@pytest.mark.parametrize("tag", ["", "0.0.0", "v0.0.0", f"{__version__}"])
def test_a_tag_that_is_not_the_version_builds_nothing(tag, tmp_path):
    done = run("bash", ROOT / "scripts" / "release.sh", *([tag] if tag else []), cwd=tmp_path, check=False)
    assert done.returncode == 1
    assert f"the tag is '{tag}', the version is {__version__}: tag v{__version__}" in done.stderr


@pytest.mark.parametrize("file", sorted((ROOT / ".github" / "workflows").glob("*.yml")), ids=lambda f: f.name)
def test_workflows_run_files_that_exist_and_may_write_nothing(file):
    workflow = yaml.safe_load(file.read_text())
    assert workflow["permissions"] == {"contents": "read"}
    steps = [step for job in workflow["jobs"].values() for step in job["steps"]]
    for path in re.findall(r"(?<!\S)(?:\.ci|scripts|tests)/[\w./]+", "\n".join(s.get("run", "") for s in steps)):
        assert (ROOT / path).exists(), path


def test_only_publishing_may_ask_pypi_for_a_token():
    jobs = yaml.safe_load((ROOT / ".github" / "workflows" / "release.yml").read_text())["jobs"]
    assert {name: job.get("permissions") for name, job in jobs.items()} == {
        "build": None,
        "publish": {"id-token": "write"},
    }
    assert jobs["publish"]["needs"] == "build"


def test_the_hooks_before_a_commit_are_what_ci_runs():
    (hooks,) = (repo["hooks"] for repo in yaml.safe_load((ROOT / ".pre-commit-config.yaml").read_text())["repos"])
    checks = re.findall(r"^\.venv/bin/(\w+(?: \w+)?)", (ROOT / ".ci" / "run").read_text(), re.M)
    assert [
        " ".join(hook["entry"].split()[: len(check.split())]) for hook, check in zip(hooks, checks, strict=True)
    ] == checks
