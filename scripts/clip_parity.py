"""Differences from the reference implementation: `python scripts/clip_parity.py ../shared/vectors/diffclip`.

The folder holds what DiffCLIP's own code computed: outputs and gradients of its attention, embeddings of a small model,
the names and shapes of the published weights, and tokens. Printed is a row for each file; tests hold them all.
"""

import json
import sys
from pathlib import Path

import torch
from safetensors import safe_open

from ultralytics_diffattn import DiffAttention, DiffCLIP
from ultralytics_diffattn.clip.tokens import tokenize


def read(file):
    """Return the tensors, those of the parameters by themselves, and the constructor's arguments."""
    with safe_open(file, "pt") as f:
        tensors = {name: f.get_tensor(name) for name in f.keys()}  # noqa: SIM118 - not a dict
        params = {name.removeprefix("param."): t for name, t in tensors.items() if name.startswith("param.")}
        return tensors, params, {name: json.loads(v.lower()) for name, v in f.metadata().items() if name != "layout"}


def furthest(ours, theirs):
    """Return the largest difference of two tensors, and the largest value of the second."""
    return f"{(ours - theirs).abs().max():.1e} of {theirs.abs().max():.2g}"


def attention(file):
    """Return the differences of the output, and of the gradients where they stand in the file."""
    t, params, arguments = read(file)
    module = DiffAttention(**arguments)
    module.load_state_dict(params)
    if "mask" in t:
        y = module(t["x"].transpose(0, 1), t["mask"]).transpose(0, 1)  # the file has the sequence first
        return {"output": furthest(y, t["y"])}
    y = module(t["x"].requires_grad_())
    (y * t["w"]).sum().backward()
    gradients = {"x": t["x"].grad, **{name: p.grad for name, p in module.named_parameters()}}
    pairs = [(gradient.flatten(), t[f"grad.{name}"].flatten()) for name, gradient in gradients.items()]
    return {"output": furthest(y, t["y"]), "gradients": furthest(*map(torch.cat, zip(*pairs, strict=True)))}


def model(file):
    """Return the differences of the embeddings."""
    t, params, sizes = read(file)
    ours = DiffCLIP(**sizes).eval()
    ours.load_state_dict(params)
    outputs = ours(t["image"], t["tokens"])
    return {name: furthest(outputs[name], t[name]) for name in ("image_embed", "text_embed", "logit_scale")}


def schema(file):
    """Return how many tensors of the published model have another name or shape here."""
    with torch.device("meta"):
        ours = DiffCLIP()
    theirs = json.loads(file.read_text()).items()
    other = {(name, tuple(shape)) for name, shape in theirs} ^ {
        (n, tuple(t.shape)) for n, t in ours.state_dict().items()
    }
    return {
        f"{len(theirs)} tensors": f"{len(other)} differ",
        "parameters": f"{sum(p.numel() for p in ours.parameters()):,}",
    }


def tokens(file):
    """Return how many texts have other tokens here."""
    rows = json.loads(file.read_text())
    tokens = tokenize([row["text"] for row in rows]).tolist()
    return {
        f"{len(rows)} texts": f"{sum(ours != row['tokens'] for ours, row in zip(tokens, rows, strict=True))} differ"
    }


KINDS = {"*attention_*.safetensors": attention, "diffclip_tiny.safetensors": model, "*schema.json": schema,
         "tokenizer.json": tokens}  # fmt: skip


def main(folder):
    """Print the table."""
    print("| file | largest difference, of the largest value |\n|---|---|")
    for pattern, kind in KINDS.items():
        for file in sorted(Path(folder).glob(pattern)):
            with torch.set_grad_enabled(kind is attention):
                print(f"| {file.name} | {', '.join(f'{what}: {value}' for what, value in kind(file).items())} |")


if __name__ == "__main__":
    if len(sys.argv) < 2 or "help" in sys.argv[1]:
        sys.exit(__doc__)
    main(*sys.argv[1:])
