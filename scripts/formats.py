# Ultralytics DiffAttn - AGPL-3.0 License
"""Export to every format that can be built here, compare with PyTorch, write the tables of docs/how-to/export.md.

`python scripts/formats.py images=folder` does all of it; `formats=onnx,ncnn` and `models=yolo11n,yolo12n` choose.
`weights=folder` has stock weights by name (`yolo11n.pt`); a model without them is random. `data=data.yaml` is what
formats in int8 calibrate on. `imgsz=160`, but 256 for QNN. `folder=formats` keeps what was built, and a virtual
environment for each format, on top of the one that runs this script. Results are kept in docs/formats.json, and
replaced where they are measured anew. Exits with 1 if ours fails where stock does not.
"""

import json
import os
import re
import shutil
import subprocess
import sys
import sysconfig
import venv
from collections.abc import Iterator
from datetime import date
from importlib.metadata import version
from pathlib import Path
from typing import Any

from ultralytics_diffattn.evaluation.format_packages import FORMATS

SCRIPT = Path(__file__).resolve()
ROOT = SCRIPT.parents[1]
RESULTS = ROOT / "docs" / "formats.json"
PAGE = ROOT / "docs" / "how-to" / "export.md"
# onnx2tf wants these images by name, for int8, and ultralytics would download them: without int8 any will do.
SAMPLES = "calibration_image_sample_data_20x128x128x3_float32.npy"
TURNS = 5  # how often the images are predicted by both in turn, for the time
LIMIT = 900  # seconds for a model
# QNN's emulation is wrong in maps of 9 to 12 rows, of a convolution with SiLU alone: of 256 px there are none. It tells
# nothing of times, and takes one model in a process.
EMULATED = {"qnn": 256}
MARKS = "<!-- scripts/formats.py -->", "<!-- end of scripts/formats.py -->"


ABSENT = {  # the others, and why
    "engine": "TensorRT builds on an NVIDIA GPU alone. The graph has operators that it knows: see below",
    "edgetpu": "Google's compiler is in no package registry. The LiteRT file is one subgraph: see below",
    "imx": "ultralytics takes YOLOv8n and YOLO11n alone, by the number of their modules and the names of their nodes",
    "axelera": "its development kit is in Axelera's own index alone",
    "hailo": "its compiler is for registered users of Hailo",
    "ascend": "Huawei's CANN is no package of a registry",
}
OURS = {  # ours, each with the stock model beside it
    "yolo11n-diffattn": "yolo11n",
    "yolo11n-diffattn-paired": "yolo11n",
    "yolo11n-diffattn-token": "yolo11n",
    "yolo12n-diffattn-paired": "yolo12n",
    "yolo26n-diffattn-paired": "yolo26n",
    "yoloe-11s-diffattn-paired": "yoloe-11s",
    "rtdetr-l-diffattn-paired": "rtdetr-l",
    "yolo11n-diffattn-seg": "yolo11n-seg",
    "yolo11n-diffattn-pose": "yolo11n-pose",
    "yolo11n-diffattn-obb": "yolo11n-obb",
    "yolo11n-diffattn-cls": "yolo11n-cls",
    "yolo26n-diffattn-paired-sem": "yolo26n-sem",
    "yolo26n-diffattn-paired-depth": "yolo26n-depth",
}


def build(name: str, weights: Path | None, images: list[str], file: Path) -> None:
    """Save a model in which every part has an effect: of stock weights where they fit, else random.

    Args:
        name (str): Of a model YAML.
        weights (Path, optional): A folder of stock weights.
        images (list[str]): Of which a random model's BatchNorm gets its statistics.
        file (Path): The checkpoint to write.
    """
    import torch
    from ultralytics import RTDETR, YOLO
    from ultralytics.data.augment import LetterBox
    from ultralytics.utils.patches import imread

    torch.manual_seed(0)
    yolo = (RTDETR if "rtdetr" in name else YOLO)(f"{name}.yaml")
    known = weights / f"{OURS.get(name, name)}.pt" if weights else None
    if known and known.is_file():
        yolo.load(known)
    else:
        norms = [m for m in yolo.model.modules() if isinstance(m, torch.nn.BatchNorm2d)]
        for norm in norms:
            norm.momentum = 1.0
        batch = [
            LetterBox((160, 160))(image=imread(image))[..., ::-1].transpose(2, 0, 1).copy() for image in images[:4]
        ]
        with torch.no_grad():
            yolo.model.train()(torch.stack([torch.from_numpy(x) for x in batch]) / 255)
        for norm in norms:
            norm.momentum = 0.03
    for module in yolo.model.modules():
        if hasattr(module, "compute_lambda") and isinstance(getattr(module, "lam", None), torch.nn.Parameter):
            module.lam.data.fill_(0.3)  # of kind paired, zero: nothing would be seen of the second map
    yolo.model.eval()
    yolo.ckpt = {"train_args": {"task": yolo.task}}
    yolo.save(file)


def attempt(kind: str, name: str, options: dict[str, Any]) -> dict[str, Any]:
    """Return how a model's export agrees with PyTorch, and how fast it is beside stock's, if that was exported before.

    Args:
        kind (str): Ultralytics' name of the format.
        name (str): Of a model YAML.
        options (dict[str, Any]): `images`, `weights`, `imgsz` and `folder`.
    """
    import ultralytics_diffattn
    from ultralytics_diffattn.errors import DisagreementError
    from ultralytics_diffattn.evaluation.export_check import latencies
    from ultralytics_diffattn.evaluation.sample_images import images_in
    from ultralytics_diffattn.verbs.arguments import open_model
    from ultralytics_diffattn.verbs.export import export, open_exported

    if kind in ("saved_model", "pb") and not Path(SAMPLES).exists():
        import numpy as np

        np.save(SAMPLES, np.random.default_rng(0).random((20, 128, 128, 3), np.float32))
    ultralytics_diffattn.register()  # in this environment no start-up file does
    images = images_in(options["images"])
    checkpoint = Path(options["folder"]) / kind / f"{name}.pt"
    checkpoint.parent.mkdir(parents=True, exist_ok=True)
    for old in (*checkpoint.parent.glob(f"{name}.*"), *checkpoint.parent.glob(f"{name}_*")):
        shutil.rmtree(old) if old.is_dir() else old.unlink()
    build(name, options["weights"] and Path(options["weights"]), images, checkpoint)
    row: dict[str, Any] = {"format": kind, "model": name, "date": str(date.today()), "imgsz": options["imgsz"]}
    row["versions"] = {package: version(package) for package in ("ultralytics", "torch", *FORMATS[kind].shown)}
    calibration = {"data": options["data"]} if FORMATS[kind].calibrates else {}
    try:
        report = export(str(checkpoint), format=kind, imgsz=options["imgsz"], source=options["images"], **calibration)
    except DisagreementError as error:
        return {**row, "builds": True, "compared": True, "agrees": False, "reason": _short(error)}
    except Exception as error:  # whatever a converter raises
        return {**row, "builds": False, "reason": _short(error)}
    yolo, file = open_model(str(checkpoint)), Path(report["file"])
    row |= {**report, "builds": True, "file": file.name, "agrees": report["compared"] or None}
    beside = file.with_name(file.name.replace(name, OURS.get(name, ""), 1))
    if name in OURS and report["compared"] and beside.exists() and kind not in EMULATED:
        stock, ours = open_exported(str(beside), yolo), open_exported(str(file), yolo)
        size = {"imgsz": [options["imgsz"]] * 2, "batch": 1}
        latency = latencies(stock, ours, TURNS * images, {**size, "device": "cpu", "rect": False, "verbose": False})
        row["beside_stock"] = {"stock": latency["pytorch"], "ours": latency["exported"]}
    return row


def _short(error: Exception) -> str:
    """Return the first line of a message, without paths; of a disagreement, what differs."""
    if differs := re.search(r"On \d+ images, (.*?)\. It is not to be trusted", str(error)):
        return differs[1]
    lines = [line for line in str(error).splitlines() if line.strip()] or [""]
    return f"{type(error).__name__}: {re.sub(r'(/[^/ ]+)+/', '', lines[0])}"[:300]


def interpreter(kind: str, folder: Path) -> Path:
    """Return the interpreter of a format's virtual environment, which is made, on top of this one, if need be."""
    home = folder / "venvs" / kind
    python = home / ("Scripts" if os.name == "nt" else "bin") / "python"
    if not (home / "ready").exists():
        venv.create(home, with_pip=True, clear=True)
        (site,) = home.glob("[Ll]ib/**/site-packages")
        (site / "zz_below.pth").write_text(sysconfig.get_path("purelib") + "\n")
        wanted = FORMATS[kind]
        for packages, more in ((wanted.packages, []), (wanted.bare, ["--no-deps"])):
            if packages:
                subprocess.run([python, "-m", "pip", "install", "-q", *more, *packages], check=True)
        (home / "ready").touch()
    return python


def run(kind: str, names: list[str], options: dict[str, Any]) -> Iterator[dict[str, Any]]:
    """Yield `attempt` of each model in the format's own environment; where a converter crashes, the next ones go on."""
    folder, names = Path(options["folder"]), [*names]
    options = options | {"imgsz": EMULATED.get(kind, options["imgsz"])}
    out = folder / f"{kind}.jsonl"
    environment = {**os.environ, "PYTHONPATH": str(ROOT), "YOLO_AUTOINSTALL": "false", "YOLO_OFFLINE": "true"}
    while names:
        out.unlink(missing_ok=True)
        batch = names[:1] if FORMATS[kind].calibrates else names  # QNN's runtime takes one model in a process
        command = [interpreter(kind, folder), str(SCRIPT), "attempt", kind, ",".join(batch), out, json.dumps(options)]
        with open(out.with_suffix(".log"), "a") as log:
            process = subprocess.Popen(command, stdout=log, stderr=subprocess.STDOUT, env=environment, cwd=folder)
            reason = ""
            try:
                process.wait(LIMIT * len(batch))
            except subprocess.TimeoutExpired:
                process.kill()
                reason = f"took more than {LIMIT * len(batch) // 60} minutes"
        lines = out.read_text().splitlines() if out.exists() else []
        yield from map(json.loads, lines)
        names = names[len(lines) :]
        if len(lines) < len(batch):
            reason = reason or f"the process ended with {process.returncode}"
            yield {"format": kind, "model": names.pop(0), "date": str(date.today()), "builds": False, "reason": reason}


def tables(rows: list[dict[str, Any]]) -> list[str]:
    """Return the tables of results as lines of Markdown."""
    found = {(row["format"], row["model"]): row for row in rows}
    kinds = [kind for kind in FORMATS if any(row["format"] == kind for row in rows)]
    names = [name for name in OURS if any(row["model"] == name for row in rows)]
    tasks = [name for name in names if re.search(r"-(seg|pose|obb|cls|sem|depth)$", name)]
    lines: list[str] = []
    reasons: list[str] = []
    for columns in ([name for name in names if name not in tasks], tasks):
        lines += ["", f"| format | {' | '.join(columns)} |", "|---" * (len(columns) + 1) + "|"]
        for kind in kinds:
            cells = (_cells(found.get((kind, name)), found.get((kind, OURS[name])), reasons) for name in columns)
            lines.append(f"| {kind} | {' | '.join(cells)} |")
    lines += ["", *(f"{i}. {reason}" for i, reason in enumerate(reasons, 1)), ""]
    lines += ["| format | versions | MB | stock's | ms | stock's | ours over stock's |", "|---" * 7 + "|"]
    for kind in kinds:
        lines += [*_cost(kind, found)]
    lines += ["", "| not built here | why |", "|---|---|", *(f"| {kind} | {why} |" for kind, why in ABSENT.items()), ""]
    return lines


def _cells(ours: dict[str, Any] | None, stock: dict[str, Any] | None, reasons: list[str]) -> str:
    """Return `cell` of ours, and of stock's, too, where ours is not built, or differs from PyTorch."""
    if not ours:
        return ""
    text = cell(ours, reasons)
    bad = not ours["builds"] or ours.get("agrees") is False
    return f"{text}; stock {cell(stock, reasons)}" if bad and stock else text


def cell(row: dict[str, Any], reasons: list[str]) -> str:
    """Return the largest differences of an export in a few characters, or the number of the reason for none."""
    if row.get("agrees"):
        shown = [f"{row['corner']:.1g} px"] if row.get("corner") is not None else []
        shown += [f"{row['keypoint']:.1g} px"] if "keypoint" in row else []
        shown += [f"IoU {row['mask']:.2f}"] if "mask" in row else []
        shown += [f"{row['pixels']:.1%}"] if "pixels" in row else []
        return ", ".join(shown) or f"{row['score']:.1g}"
    if row["reason"] not in reasons:
        reasons.append(row["reason"])
    what = "differs" if row.get("agrees") is False else "builds" if row["builds"] else "no"
    return f"{what} ({reasons.index(row['reason']) + 1})"


def _cost(kind: str, found: dict[tuple[str, str], dict[str, Any]]) -> Iterator[str]:
    """Yield the line of a format in the table of sizes and times: of yolo11n-diffattn-paired beside yolo11n."""
    ours, stock = (found.get((kind, name), {}) for name in ("yolo11n-diffattn-paired", "yolo11n"))
    versions = ", ".join(
        f"{name} {number}" for name, number in ours.get("versions", {}).items() if name != "ultralytics"
    )
    sizes = [f"{row['size_mb']:.1f}" if "size_mb" in row else "-" for row in (ours, stock)]
    times = ours.get("beside_stock")
    cells = (
        [f"{times['ours']:.1f}", f"{times['stock']:.1f}", f"{times['ours'] / times['stock']:.2f}"]
        if times
        else ["-"] * 3
    )
    yield f"| {kind} | {versions} | {' | '.join([*sizes, *cells])} |"


def write(rows: list[dict[str, Any]]) -> None:
    """Write the results, and the tables of them into the page."""
    RESULTS.write_text(json.dumps(rows, indent=1) + "\n")
    before, _, rest = PAGE.read_text().partition(MARKS[0])
    PAGE.write_text(before + "\n".join([MARKS[0], *tables(rows), MARKS[1]]) + rest.partition(MARKS[1])[2])


def main(arguments: list[str]) -> int:
    """Run what was chosen, write the results and the page; return 1 if ours fails where stock does not."""
    defaults = {"images": None, "weights": None, "data": None, "imgsz": 160, "folder": "formats"}
    given = dict(argument.split("=", 1) for argument in arguments)
    options = defaults | given
    if not options["images"]:
        sys.exit("images= is missing: give a folder of photographs to compare on, as in images=photos")
    options["imgsz"] = int(options["imgsz"])
    for key in ("images", "weights", "data", "folder"):
        if options[key] and (key == "folder" or Path(options[key]).exists()):  # else a name that ultralytics knows
            options[key] = str(Path(options[key]).resolve())
    kinds = options.pop("formats", ",".join(FORMATS)).split(",")
    names = options.pop("models", ",".join([*OURS.values(), *OURS])).split(",")
    unknown = [*({*kinds} - {*FORMATS}), *({*names} - {*OURS} - {*OURS.values()})]
    unknown += {*given} - {*defaults, "formats", "models"}
    if unknown:
        sys.exit(
            f"{', '.join(unknown)}: unknown. Arguments are {', '.join(defaults)}, formats and models; formats are "
            f"{', '.join(FORMATS)}; models {', '.join(OURS)}."
        )
    Path(options["folder"]).mkdir(parents=True, exist_ok=True)
    kept = {(r["format"], r["model"]): r for r in (json.loads(RESULTS.read_text()) if RESULTS.exists() else [])}
    for kind in kinds:
        for row in run(kind, [*dict.fromkeys(names)], options):
            kept[kind, row["model"]] = row
            print(kind, row["model"], cell(row, []), row.get("reason", ""), flush=True)
            RESULTS.write_text(json.dumps([*kept.values()], indent=1) + "\n")
    write([*kept.values()])
    bad = [key for key, row in kept.items() if key[1] in OURS and worse(row, kept.get((key[0], OURS[key[1]]), {}))]
    for kind, name in bad:
        print(f"{name} fails in {kind}, where stock does not.")
    return bool(bad)


def worse(ours: dict[str, Any], stock: dict[str, Any]) -> bool:
    """Return whether an export of ours fails in a way in which stock's does not."""
    return (stock.get("builds", False), bool(stock.get("agrees"))) > (ours["builds"], bool(ours.get("agrees")))


if __name__ == "__main__":
    if sys.argv[1:2] == ["attempt"]:
        _, _, kind, names, out, options = sys.argv
        for name in names.split(","):
            row = attempt(kind, name, json.loads(options))
            with open(out, "a") as file:
                file.write(json.dumps(row) + "\n")
    else:
        sys.exit(main(sys.argv[1:]))
