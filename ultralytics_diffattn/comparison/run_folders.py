# Ultralytics DiffAttn - AGPL-3.0 License
"""The folders of a comparison's runs: made once, and refused where they belong to another comparison."""

from __future__ import annotations

import json
from dataclasses import asdict, replace
from pathlib import Path

from ultralytics_diffattn.comparison import typed_json
from ultralytics_diffattn.comparison.run_files import SPEC, read_spec
from ultralytics_diffattn.comparison.schema import RunSpec
from ultralytics_diffattn.comparison.specification import Specification
from ultralytics_diffattn.errors import UserError
from ultralytics_diffattn.output.files import write_text


def prepare_run_folders(specification: Specification) -> None:
    """Write `spec.json` of each run that has none yet, after all existing ones were checked.

    Args:
        specification (Specification): Of the comparison.

    Raises:
        UserError: If a run's folder belongs to another comparison; nothing is written then.
    """
    check_run_folders(specification)
    folders = specification.run_folders()
    for file, text in specification.files.items():
        file.parent.mkdir(parents=True, exist_ok=True)
        write_text(file, text)
    for key, run in folders.items():
        if not (run / SPEC).exists():
            run.mkdir(parents=True, exist_ok=True)
            typed_json.write(run / SPEC, specification.runs[key])


def check_run_folders(specification: Specification) -> None:
    """Raise if a run's folder belongs to another comparison.

    Args:
        specification (Specification): Of the comparison.

    Raises:
        UserError: If it does.
    """
    folders = specification.run_folders()
    for key, run in folders.items():
        check_specification(run, specification.runs[key])
    for file, text in specification.files.items():
        if file.exists() and file.read_text(encoding="utf-8") != text and any(run.exists() for run in folders.values()):
            raise UserError(
                f"{file.parent} lists other held-out images than this command would choose, and runs here were trained "
                "with that list. Choose another name=, or move the folder away; nothing was changed."
            )


def check_specification(run: Path, spec: RunSpec) -> None:
    """Raise if the folder of a run belongs to another comparison.

    Args:
        run (Path): The folder; it need not exist.
        spec (RunSpec): What is to be trained in it.

    Raises:
        UserError: If it holds other files, the `spec.json` of another version, or another specification.
    """
    if not run.exists() or not any(run.iterdir()):
        return
    if not (run / SPEC).exists():
        raise UserError(
            f"{run} holds files that are not a run of a comparison; move them away, or choose another name=."
        )
    try:
        existing = read_spec(run)
    except UserError as error:
        raise UserError(f"{error} Choose another name=, or move {run} away; nothing was changed.") from error
    old, new = _settings(existing), _settings(spec)
    changes = [f"{k}: {old.get(k)} before, {new.get(k)} now" for k in old | new if old.get(k) != new.get(k)]
    if changes:
        raise UserError(
            f"{run} belongs to a comparison with other settings ({'; '.join(changes)}). Choose another name=, or move "
            "that folder away; nothing was changed."
        )


def _settings(spec: RunSpec) -> dict[str, object]:
    """Return all that a run depends on in one dictionary, as JSON reads it back."""
    fields = asdict(replace(spec, args={}, files={}))
    files = {f"the content of {key}={spec.args.get(key)}": digest[:12] for key, digest in spec.files.items()}
    settings: dict[str, object] = json.loads(json.dumps({**spec.args, **fields, **files}))
    return settings
