"""docs/reference/clip.md: every field of the results of zeroshot and retrieve stands on the page."""

import re

import pytest

pytest.importorskip("open_clip")
from tests.places import ROOT
from ultralytics_diffattn.clip import retrieval, zeroshot

TYPES = (
    zeroshot.NamingResults,
    zeroshot.NamedImage,
    zeroshot.CorruptionResults,
    zeroshot.ConditionAccuracy,
    zeroshot.Accuracy,
    retrieval.RetrievalResults,
)


def test_fields():
    page = (ROOT / "docs" / "reference" / "clip.md").read_text(encoding="utf-8").partition("## Files of results")[2]
    named = set(re.findall(r"`(\w+)`", page))
    fields = {field for kind in TYPES for field in kind.__annotations__}
    assert fields <= named
    verbs = {"zeroshot", "retrieve", "clip_train", "clean", "arguments", "metrics"}  # values, and clip-train.json
    assert named <= fields | verbs
