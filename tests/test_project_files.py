"""SECURITY.md, CITATION.cff and the forms for issues and pull requests: they parse, and what they name exists."""

import re

import pytest
import yaml

import ultralytics_diffattn
from tests.pages import PAGES
from tests.places import ROOT

FORMS = sorted((ROOT / ".github" / "ISSUE_TEMPLATE").glob("*.yml"))
FILES = [ROOT / "SECURITY.md", ROOT / "CITATION.cff", ROOT / ".github" / "PULL_REQUEST_TEMPLATE.md", *FORMS]
REPOSITORY = re.search(r'^Homepage = "(\S+)"$', (ROOT / "pyproject.toml").read_text(), re.M)[1]
ELSEWHERE = {"https://github.com/ultralytics/ultralytics/issues", "https://github.com/ultralytics/ultralytics/security"}
TABS = "/issues", "/security/advisories/new"


def test_citation_is_that_of_this_version():
    citation = yaml.safe_load((ROOT / "CITATION.cff").read_text())
    assert citation["cff-version"] == "1.2.0"
    assert citation["version"] == ultralytics_diffattn.__version__
    project = (ROOT / "pyproject.toml").read_text()
    assert f'name = "{citation["title"]}"' in project
    assert f'license = "{citation["license"]}"' in project
    assert f'authors = [{{ name = "{citation["authors"][0]["name"]}" }}]' in project
    assert citation["repository-code"] == REPOSITORY


def test_citation_has_the_papers_of_the_readme():
    references = yaml.safe_load((ROOT / "CITATION.cff").read_text())["references"]
    for reference in references:
        ((kind, arxiv),) = (identifier.values() for identifier in reference["identifiers"])
        (entry,) = (e for e in PAGES["README.md"].split("\n@") if arxiv in e and e.startswith(("article", "inproc")))
        assert kind == "other"
        assert f"title = {{{reference['title']}}}" in entry
        assert f"year = {{{reference['year']}}}" in entry
        authors = " and ".join(f"{a['family-names']}, {a['given-names']}" for a in reference["authors"])
        assert f"author = {{{authors}}}" in entry
    assert len(references) == 2


@pytest.mark.parametrize("file", [f for f in FORMS if f.name != "config.yml"], ids=lambda f: f.name)
def test_forms_are_forms(file):
    """As GitHub wants them: a name, a description, and fields with labels and ids that differ."""
    form = yaml.safe_load(file.read_text())
    assert {"name", "description", "body"} <= form.keys() <= {"name", "description", "body", "labels"}
    fields = [field for field in form["body"] if field["type"] != "markdown"]
    assert {field["type"] for field in fields} <= {"textarea", "dropdown"}
    assert len({field["id"] for field in fields}) == len(fields)
    assert all(field["attributes"]["label"] for field in fields)
    assert all(field["attributes"]["options"] for field in fields if field["type"] == "dropdown")
    assert any(field.get("validations", {}).get("required") for field in fields)


def test_a_bug_comes_with_command_output_and_versions():
    form = yaml.safe_load((ROOT / ".github" / "ISSUE_TEMPLATE" / "bug.yml").read_text())
    required = {f["id"]: f["attributes"]["label"] for f in form["body"] if f.get("validations", {}).get("required")}
    assert {"command", "output", "checks"} <= required.keys()
    assert "yolo checks" in required["checks"]


def test_contacts_are_links():
    config = yaml.safe_load((ROOT / ".github" / "ISSUE_TEMPLATE" / "config.yml").read_text())
    assert config["blank_issues_enabled"] is False
    assert all(link.keys() == {"name", "url", "about"} for link in config["contact_links"])


@pytest.mark.parametrize("file", FILES, ids=lambda f: f.name)
def test_links_exist(file):
    text = file.read_text(encoding="utf-8")
    for url in re.findall(r"https?://[^\s)\"']+", text):
        inside = url.removeprefix(REPOSITORY)
        path = re.fullmatch(r"/(?:blob|tree)/main/(\S+)", inside)
        assert (ROOT / path[1]).exists() if path else inside in {"", *TABS} or url in ELSEWHERE, url
    for target in re.findall(r"\]\((?!https?://)([^)#]+)", text):
        assert (file.parent / target).exists(), target


def test_safety_is_described_where_the_policy_says():
    policy = (ROOT / "SECURITY.md").read_text()
    assert "docs/safety.md" in policy
    assert "ULTRALYTICS_SAFE_LOAD=1" in policy
    assert "ULTRALYTICS_SAFE_LOAD=1" in PAGES["docs/safety.md"]
    minor = ".".join(ultralytics_diffattn.__version__.split(".")[:2])
    assert f"| {minor}.x" in policy
