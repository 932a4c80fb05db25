"""Where things lie, and what the bundled model YAMLs are called."""

import re
from pathlib import Path

ROOT = Path(__file__).resolve().parents[1]
SHARED = ROOT.parent / "shared"
SCALES = "nsmlx"
TASKS = {"": "detect", "-seg": "segment", "-pose": "pose", "-obb": "obb", "-cls": "classify"}  # suffix of the YAML


def scaled(name, scale):
    """Return the name of a model YAML with a scale in it, where its family has scales."""
    return re.sub(r"^(yolo(?:e-)?\d+)", rf"\g<1>{scale}", name)


def model_yamls(pattern="*.yaml"):
    """Return the names of the bundled model YAMLs that the installed ultralytics has stock's rows for."""
    from ultralytics import __version__
    from ultralytics.utils.checks import check_version

    texts = {file.name: file.read_text() for file in sorted((ROOT / "cfg").glob(pattern))}
    needs = {name: re.search(r"min_ultralytics: (\S+)", text) for name, text in texts.items()}
    return [name for name, least in needs.items() if not least or check_version(__version__, f">={least[1]}")]
