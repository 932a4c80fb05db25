# Ultralytics DiffAttn - AGPL-3.0 License
"""What narrow types cost attention, and whether its gradients spike: the tables of docs/numerics.md.

`python scripts/numerics.py drift models=a.pt,b.yaml source=images`: how far fp16, bf16 and TF32 are from float64, for
count=2 images of imgsz=640; whole= is the size of the one image for whole models, backend= forces a backend.

`python scripts/numerics.py norms models=a.yaml,b.yaml seeds=0,1 data=data.yaml project=folder`, and any argument of
`yolo train`: trains each model unless that is done, records each step's gradient before it is clipped, and counts the
spikes; plot= is a picture of them.
"""

from __future__ import annotations

import sys
from pathlib import Path
from typing import Any

from ultralytics.utils import LOGGER

from ultralytics_diffattn.numerics import gradient_norms, precision
from ultralytics_diffattn.numerics.gradient_norms import PARTS, Step, TrainingSummary
from ultralytics_diffattn.verbs.arguments import listed, parse

OWN = {"models": "", "seeds": 0, "whole": 0, "count": 2, "backend": "", "plot": ""}
REQUIRED = {"drift": {"models", "source"}, "norms": {"models", "data", "project"}}
NORMS_HEADER = (
    f"| model | seed | steps | clipped | total | attention | λ vectors | gain | λ | least RMS |\n|{'---|' * 10}"
)


def drift(
    models: list[str],
    source: str,
    imgsz: int = 640,
    whole: int = 0,
    count: int = 2,
    backend: str = "",
    device: str | int = "cpu",
) -> None:
    """Print the table, each error also as a multiple of the first model's."""
    images = precision.load_images(source, imgsz, count, device)
    small = precision.load_images(source, whole or imgsz, 1, device)
    print(f"| model | error of | {' | '.join(precision.MODES)} |\n|---|---|{'---|' * len(precision.MODES)}")
    first: dict[str, dict[str, float]] = {}
    for name in models:
        with precision.forced_backend(backend):
            errors = precision.drift(precision.prepare_model(name, images), images, small)
        first = first or errors
        for key, row in errors.items():
            cells = [f"{e:.1e}" + (f" (×{e / first[key][m]:.2f})" if key in first else "") for m, e in row.items()]
            print(f"| {Path(name).stem} | {key} | {' | '.join(cells)} |", flush=True)


def norms(
    models: list[str], seeds: list[str], project: str, plot: str = "", warmup_epochs: float = 3.0, **args: Any
) -> None:
    """Train what has not been trained yet, and print a row for each training."""
    print(NORMS_HEADER)
    trainings = {}
    for seed in seeds:
        for model in models:
            steps = gradient_norms.record_training(model, int(seed), project, warmup_epochs=warmup_epochs, **args)
            trainings[f"{Path(model).stem}-{seed}"] = steps
            cells = row(gradient_norms.summarize(steps, warmup_epochs))
            print(f"| {Path(model).stem} | {seed} | {' | '.join(cells)} |", flush=True)
    if plot:
        draw(trainings, plot)


def row(summary: TrainingSummary | None) -> list[str]:
    """Return the cells of a training: for each part median, largest ratio and spikes."""
    if summary is None:
        return ["0"]
    parts = [
        f"{part.median:.3g}; ×{part.largest_ratio:.1f}; {'/'.join(map(str, part.spikes))}" if part else "-"
        for part in summary.parts.values()
    ]
    lam = f"{summary.lam[0]:.3f} → {summary.lam[1]:.3f}" if summary.lam else "-"
    rms = f"{summary.rms[0]:.3f} of {summary.rms[1]:.3f}" if summary.rms else "-"
    return [str(summary.steps), f"{summary.clipped:.0%}", *parts, lam, rms]


def draw(trainings: dict[str, list[Step]], file: str) -> None:
    """Draw the norms of all trainings over the steps, of everything and of the attention."""
    from matplotlib.figure import Figure

    figure = Figure((10, 4), layout="constrained")
    for axes, part in zip(figure.subplots(1, 2), PARTS, strict=False):
        for name, steps in trainings.items():
            colour = "#d55e00" if "diffattn" in name else "#0072b2"
            axes.semilogy([getattr(step, part) for step in steps], lw=0.8, label=name, color=colour)
        axes.set(title=f"gradient norm, {part}", xlabel="step")
    axes.legend(fontsize=7)
    figure.savefig(file, dpi=110)


def main(words: list[str]) -> None:
    """Run one of the two measurements."""
    measurement = words[0] if words else ""
    args = parse(words[1:], OWN)
    if measurement not in REQUIRED or not args.keys() >= REQUIRED[measurement]:
        raise SystemExit(__doc__)
    models = listed(args.pop("models"))
    if measurement == "drift":
        drift(models, **args)
    else:
        norms(models, listed(args.pop("seeds", 0)), **args)


if __name__ == "__main__":
    LOGGER.setLevel("ERROR")
    main(sys.argv[1:])
