"""examples/space/: the settings of a hosted Space, and a Dockerfile whose command is one of ours."""

import json
import re

import yaml

from tests.places import ROOT
from ultralytics_diffattn.verbs import demo
from ultralytics_diffattn.verbs.arguments import parse

SPACE = ROOT / "examples" / "space"


def test_settings():
    settings = yaml.safe_load((SPACE / "README.md").read_text(encoding="utf-8").split("---")[1])
    assert settings["sdk"] == "docker"
    assert settings["license"] == "agpl-3.0"
    assert len(settings["short_description"]) <= 60
    dockerfile = (SPACE / "Dockerfile").read_text()
    assert f"EXPOSE {settings['app_port']}\n" in dockerfile
    program, verb, *words = json.loads(re.search(r"^CMD (.*)$", dockerfile, re.M)[1])
    assert (program, verb) == ("diffattn", "demo")
    assert parse(words, demo.OWN) == {"host": "0.0.0.0", "port": settings["app_port"]}
    assert "[demo]" in dockerfile
    assert "demo = [" in (ROOT / "pyproject.toml").read_text()
