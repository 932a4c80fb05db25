# Ultralytics DiffAttn - AGPL-3.0 License
"""What narrow types cost attention, and whether its gradients spike: the tables of docs/numerics.md.

`python scripts/numerics.py drift models=a.pt,b.yaml source=images`: how far fp16, bf16 and TF32 are from float64, for
count=2 images of imgsz=640; whole= is the size of the one image for whole models, backend= forces a backend.

`python scripts/numerics.py norms models=a.yaml,b.yaml seeds=0,1 data=data.yaml project=folder`, and any argument of
`yolo train`: trains each model unless that is done, notes each step's gradient before it is clipped, and counts the
spikes; plot= is a picture of them.
"""

import copy
import csv
import sys
from collections.abc import Iterator
from contextlib import contextmanager, nullcontext
from pathlib import Path
from statistics import median

import torch
from torch import Tensor, nn
from torch.utils._python_dispatch import TorchDispatchMode
from ultralytics import RTDETR, YOLO
from ultralytics.data.augment import LetterBox
from ultralytics.models.yolo.detect import DetectionTrainer
from ultralytics.nn.modules.head import RTDETRDecoder
from ultralytics.utils import LOGGER
from ultralytics.utils.patches import imread

from ultralytics_diffattn.cli import listed, parse
from ultralytics_diffattn.maps.hooks import attentions
from ultralytics_diffattn.nn import attention
from ultralytics_diffattn.nn.attention import LAMBDA, DiffRMSNorm
from ultralytics_diffattn.plugin.lambda_log import read

MODES = {  # how, and the type
    "TF32": ("tf32", torch.float32),
    "fp16": ("cast", torch.float16),
    "fp16 autocast": ("autocast", torch.float16),
    "bf16": ("cast", torch.bfloat16),
    "bf16 autocast": ("autocast", torch.bfloat16),
}
PRODUCTS = {  # ATen's operators that TF32 cores work for: the places of their factors
    **{"mm": (0, 1), "bmm": (0, 1), "addmm": (1, 2), "baddbmm": (1, 2)},
    **{"convolution": (0, 1), "convolution_backward": (0, 1, 2)},
    "_scaled_dot_product_flash_attention_for_cpu": (0, 1, 2),
    "_scaled_dot_product_flash_attention_for_cpu_backward": (0, 1, 2, 3),
}
WINDOW, SPIKE, CLIP = 50, 5, 10.0  # steps of the running median, times it, and ultralytics' max_norm
PARTS = "total", "attention", "lambda", "gain"


def round_tf32(x: Tensor) -> Tensor:
    """Return a float32 tensor with 10 bits behind the point, rounded to nearest, ties to even."""
    bits = x.contiguous().view(torch.int32)
    rounded = (bits + 0xFFF + (bits >> 13 & 1)) & ~0x1FFF
    return torch.where(x.isfinite(), rounded.view(torch.float32), x)


class EmulatedTF32(TorchDispatchMode):
    """Round the float32 factors of each product, forward and backward, and add up in float32."""

    def __torch_dispatch__(self, func, types, args=(), kwargs=None):
        """Run an operator."""
        args = list(args)
        for i in PRODUCTS.get(func._schema.name.removeprefix("aten::").rstrip("_"), ()):
            args[i] = round_tf32(args[i]) if args[i].dtype == torch.float32 else args[i]
        return func(*args, **kwargs or {})


@contextmanager
def tf32(device: torch.device) -> Iterator[None]:
    """Multiply in TF32: the GPU's own where there is one, else emulated."""
    if device.type != "cuda":
        with EmulatedTF32():
            yield
        return
    flags = torch.backends.cuda.matmul, torch.backends.cudnn
    before = [f.allow_tf32 for f in flags]
    try:
        for f in flags:
            f.allow_tf32 = True
        yield
    finally:
        for f, value in zip(flags, before, strict=True):
            f.allow_tf32 = value


def cast(x: object, dtype: torch.dtype) -> object:
    """Return a copy of a module, or of the floating tensors of arguments, in a type."""
    if isinstance(x, nn.Module):
        return copy.deepcopy(x).to(dtype)
    if isinstance(x, dict):
        return {k: cast(v, dtype) for k, v in x.items()}
    return x.detach().to(dtype) if isinstance(x, Tensor) and x.is_floating_point() else x


def tensors(x: object) -> list[Tensor]:
    """Return the floating tensors in an output; of a detection head's, those before they are decoded."""
    if isinstance(x, Tensor):
        return [x] * x.is_floating_point()
    if isinstance(x, dict):
        return [t for k, v in x.items() if k != "feats" for t in tensors(v)]
    return [t for v in x or () for t in tensors(v)]


def error(found: Tensor, true: Tensor) -> float:
    """Return the norm of the difference over the norm of what is true; inf if anything is not finite."""
    found, true = found.double(), true.double()
    return ((found - true).norm() / true.norm()).item() if found.isfinite().all() else float("inf")


def in_type(how: str, dtype: torch.dtype, device: torch.device):
    """Return the context in which a mode computes."""
    return {"tf32": lambda: tf32(device), "autocast": lambda: torch.autocast(device.type, dtype)}.get(
        how, nullcontext
    )()


def inside(module: nn.Module, args: tuple, kwargs: dict, how: str, dtype: torch.dtype) -> dict[str, Tensor]:
    """Return what an attention module computes: on its way, its output, and the gradients of a fixed sum."""
    wide = dtype if how == "cast" else torch.float32
    module, kwargs, args = cast(module, wide), cast(kwargs, wide), [cast(a, wide) for a in args]
    args[0].requires_grad_(True)
    found, norm = {}, getattr(module, "diff_norm", nn.Identity())
    norm.register_forward_hook(lambda m, x, y: found.update({"before the head norm": x[0], "behind the head norm": y}))
    first = getattr(module, "qkv", getattr(module, "q_proj", nn.Identity()))
    first.register_forward_hook(lambda m, x, y: found.update({"projection": y}))
    with in_type(how, dtype, args[0].device):
        y = module(*args, **kwargs)
        y = found["output"] = y[0] if isinstance(y, tuple) else y
        weights = torch.randn(y.shape, generator=torch.Generator().manual_seed(0), dtype=torch.float64)
        (y * weights.to(y)).sum().backward()
    found["gradient of the input"] = args[0].grad
    lam = [p.grad.flatten() for n, p in module.named_parameters() if n in (*LAMBDA, "lam")]
    return {k: v.detach() for k, v in found.items()} | ({"gradient of λ": torch.cat(lam)} if lam else {})


def prepared(name: str, images: Tensor) -> nn.Module:
    """Return a trained model, or of a YAML one with random weights, which BatchNorm's statistics of the images fit.

    Weights are rounded to float16, as checkpoints hold them. A λ that starts at 0 is 0.8: else there is no second map.
    """
    torch.manual_seed(0)
    model = (RTDETR if "rtdetr" in name else YOLO)(name).model.float().to(images.device)
    if name.endswith(".yaml"):
        norms = [m for m in model.modules() if isinstance(m, nn.BatchNorm2d)]
        momenta = [m.momentum for m in norms]
        for n, p in model.named_parameters():
            p.data = torch.full_like(p, 0.8) if n.endswith(".lam") else p.data
        for m in norms:
            m.momentum = 1.0
        with torch.no_grad():
            model.train()(images)
        for m, momentum in zip(norms, momenta, strict=True):
            m.momentum = momentum
    return model.half().float().eval().requires_grad_(True)


def load(source: str, imgsz: int, count: int, device: str | int) -> Tensor:
    """Return the first images of a folder, (count, 3, imgsz, imgsz)."""
    files = sorted(f for f in Path(source).iterdir() if f.suffix.lower() in {".jpg", ".png"})[:count]
    arrays = [LetterBox((imgsz, imgsz), auto=False)(image=imread(str(f)))[..., ::-1].copy() for f in files]
    device = f"cuda:{device}" if isinstance(device, int) else device or "cpu"
    return torch.stack([torch.from_numpy(a).permute(2, 0, 1) for a in arrays]).float().div(255).to(device)


def head(model: nn.Module, images: Tensor) -> Tensor:
    """Return the output of the detection head before it is decoded; of RT-DETR what its decoder is handed."""
    kept = []
    last = model.model[-1]

    def keep(module: nn.Module, args: tuple, output: object) -> None:
        raw = output[1] if isinstance(output, tuple) else output
        kept.extend(tensors(args[0] if isinstance(module, RTDETRDecoder) else raw))

    hook = last.register_forward_hook(keep)
    with torch.no_grad():
        model(images)
    hook.remove()
    return torch.cat([t.flatten().double() for t in kept])


def errors(model: nn.Module, images: Tensor, small: Tensor) -> dict[str, dict[str, float]]:
    """Return the errors against float64 by quantity and mode; of several attention modules the largest."""
    calls, found = {}, {}
    hooks = [
        m.register_forward_pre_hook(lambda m, args, kwargs, n=n: calls.update({n: (args, kwargs)}), with_kwargs=True)
        for n, m in attentions(model).items()
    ]
    with torch.no_grad():
        model(images)
    for hook in hooks:
        hook.remove()
    for name, (args, kwargs) in calls.items():
        module = model.get_submodule(name)
        true = inside(module, args, kwargs, "cast", torch.float64)
        for mode, how in MODES.items():
            for key, value in inside(module, args, kwargs, *how).items():
                of = found.setdefault(key, dict.fromkeys(MODES, 0.0))
                of[mode] = max(of[mode], error(value, true[key]))
    true = head(cast(model, torch.float64), small.double())
    found["head of the model"] = {}
    for mode, (how, dtype) in MODES.items():
        wide = torch.float32 if how != "cast" else dtype
        with in_type(how, dtype, small.device):
            found["head of the model"][mode] = error(head(cast(model, wide), small.to(wide)), true)
    return found


def drift(models: list[str], source: str, imgsz: int = 640, whole: int = 0, count: int = 2, backend: str = "", **args):
    """Print the table, each error also as a multiple of the first model's."""
    if backend:
        attention.choose = lambda *_: backend
    images = load(source, imgsz, count, args.get("device", "cpu"))
    small = load(source, whole or imgsz, 1, args.get("device", "cpu"))
    print(f"| model | error of | {' | '.join(MODES)} |\n|---|---|{'---|' * len(MODES)}")
    first: dict = {}
    for name in models:
        found = errors(prepared(name, images), images, small)
        first = first or found
        for key, row in found.items():
            cells = [f"{e:.1e}" + (f" (×{e / first[key][m]:.2f})" if key in first else "") for m, e in row.items()]
            print(f"| {Path(name).stem} | {key} | {' | '.join(cells)} |", flush=True)


class Noted(DetectionTrainer):
    """Ultralytics' trainer, which writes down each step's gradient norms before it clips them."""

    def __init__(self, *args, **kwargs):
        """Begin with no rows; the hooks come when EMA has made its copy of the model."""
        super().__init__(*args, **kwargs)
        self.rows, self.rms = [], []
        self.add_callback("on_train_start", Noted.watch)

    def watch(self) -> None:
        """Keep the denominators of each head norm."""

        def keep(norm: DiffRMSNorm, args: tuple[Tensor]) -> None:
            x = args[0].detach().float()
            self.rms.append((x.square().mean(-1) + norm.eps).sqrt().flatten())

        for module in self.model.modules():
            if isinstance(module, DiffRMSNorm):
                module.register_forward_pre_hook(keep)

    def optimizer_step(self) -> None:
        """Note the norms, of everything and of parts, then do what ultralytics does."""
        scale = self.scaler.get_scale()
        grads = {n: p.grad.float() / scale for n, p in self.model.named_parameters() if p.grad is not None}
        lam = {n for n in grads if n.endswith((*LAMBDA, ".lam"))}
        gain = {n for n in grads if n.endswith("diff_norm.weight")}
        attn = {n for n in grads if n.startswith(tuple(f"{a}." for a in attentions(self.model)))}
        of = dict(zip(PARTS, (set(grads), attn - lam - gain, lam, gain), strict=True))
        row = {"epoch": self.epoch} | {k: norm_of([grads[n] for n in names]) for k, names in of.items()}
        lams, rms = [v.flatten() for v in read(self.model).values()], self.rms
        row["lam"] = torch.cat(lams).mean().item() if lams else ""
        row |= {"rms_min": torch.cat(rms).min().item(), "rms_median": torch.cat(rms).median().item()} if rms else {}
        self.rows.append(row)
        rms.clear()
        super().optimizer_step()


def norm_of(parts: list[Tensor]) -> float | str:
    """Return the Euclidean norm of all elements together, or nothing of nothing."""
    return torch.stack([t.norm() for t in parts]).norm().item() if parts else ""


def ratios(norms: list[float], first: int = 0) -> list[float]:
    """Return each norm over the median of the 50 before it, from step `first + 50` on."""
    return [norms[t] / median(norms[t - WINDOW : t]) for t in range(first + WINDOW, len(norms))]


def spikes(norms: list[float], first: int = 0, times: float = SPIKE) -> int:
    """Return how many norms are over `times` the running median; what is not a number is one, too."""
    return sum(not r <= times for r in ratios(norms, first))


def summary(rows: list[dict[str, str]], warmup: float) -> list[str]:
    """Return the cells of a training: what is counted, for each part median, largest ratio and spikes, and the rest."""
    first = next((i for i, row in enumerate(rows) if int(row["epoch"]) >= warmup), len(rows))
    counted = rows[first + WINDOW :]
    if not counted:
        return ["0"]
    cells = [str(len(counted)), f"{sum(float(r['total']) > CLIP for r in counted) / len(counted):.0%}"]
    for part in PARTS:
        norms = [float(r[part]) for r in rows if r[part]]
        if not norms:
            cells += ["-"]
            continue
        found = [spikes(norms, first, times) for times in (2, 3, SPIKE)]
        cells += [
            f"{median(norms[first + WINDOW :]):.3g}; ×{max(ratios(norms, first)):.1f}; {'/'.join(map(str, found))}"
        ]
    lam, low = [r["lam"] for r in rows if r["lam"]], [float(r["rms_min"]) for r in rows if r.get("rms_min")]
    middle = [float(r["rms_median"]) for r in rows if r.get("rms_median")]
    cells += [f"{float(lam[0]):.3f} → {float(lam[-1]):.3f}" if lam else "-"]
    return [*cells, f"{min(low):.3f} of {median(middle):.3f}" if low else "-"]


def norms(
    models: list[str], seeds: list[str], project: str, plot: str = "", warmup_epochs: float = 3.0, **args
) -> None:
    """Train what has not been trained yet, and print a row for each training."""
    print("| model | seed | steps | clipped | total | attention | λ vectors | gain | λ | least RMS |\n|" + "---|" * 10)
    series = {}
    for seed in seeds:
        for model in models:
            file = Path(project) / f"{Path(model).stem}-{seed}" / "norms.csv"
            if not file.exists():
                own = {"model": model, "seed": int(seed), "project": project, "name": file.parent.name}
                trainer = Noted(overrides={**args, **own, "warmup_epochs": warmup_epochs, "exist_ok": True})
                trainer.train()
                with file.open("w", newline="") as f:
                    writer = csv.DictWriter(f, {k: 0 for row in trainer.rows for k in row}, lineterminator="\n")
                    writer.writeheader()
                    writer.writerows(trainer.rows)
            rows = series[file.parent.name] = list(csv.DictReader(file.read_text().splitlines()))
            print(f"| {Path(model).stem} | {seed} | {' | '.join(summary(rows, warmup_epochs))} |", flush=True)
    if plot:
        draw(series, plot)


def draw(series: dict[str, list[dict[str, str]]], file: str) -> None:
    """Draw the norms of all trainings over the steps, of everything and of the attention."""
    from matplotlib.figure import Figure

    figure = Figure((10, 4), layout="constrained")
    for axes, part in zip(figure.subplots(1, 2), PARTS, strict=False):
        for name, rows in series.items():
            colour = "#d55e00" if "diffattn" in name else "#0072b2"
            axes.semilogy([float(r[part]) for r in rows], lw=0.8, label=name, color=colour)
        axes.set(title=f"gradient norm, {part}", xlabel="step")
    axes.legend(fontsize=7)
    figure.savefig(file, dpi=110)


if __name__ == "__main__":
    LOGGER.setLevel("ERROR")
    own = {"models": "", "seeds": 0, "whole": 0, "count": 2, "backend": "", "plot": ""}
    verbs = {"drift": (drift, {"models", "source"}), "norms": (norms, {"models", "data", "project"})}
    verb = sys.argv[1] if len(sys.argv) > 1 else ""
    given = parse(sys.argv[2:], own)
    if verb not in verbs or not given.keys() >= verbs[verb][1]:
        raise SystemExit(__doc__)
    if verb == "norms":
        given["seeds"] = listed(given.get("seeds", 0))
    verbs[verb][0](listed(given.pop("models")), **given)
