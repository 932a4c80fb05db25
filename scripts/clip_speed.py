"""Time of encoding images beside timm's plain ViT of the same size: `python scripts/clip_speed.py [batch] [repeats]`.

Both take turns; printed are the median of the ratios turn by turn and its quartiles: 0.5 is half the time of the other.
"""

import sys

import torch

from ultralytics_diffattn import CLIP, DiffCLIP
from ultralytics_diffattn.evaluation.timing import interleaved, ratio

SIZES = {
    "ViT-B/16, 224 px": {},
    "clip-tiny, 64 px": {
        "image_size": 64, "patch_size": 16, "vision_width": 128, "vision_layers": 4, "vision_heads": 4,
    },
}  # fmt: skip


@torch.inference_mode()
def main(batch=4, repeats=15):
    """Print the table."""
    device = "cuda" if torch.cuda.is_available() else "cpu"
    print(f"torch {torch.__version__}, {device}, {torch.get_num_threads()} threads, batch {batch}, {repeats} turns\n")
    print("| size | encode_image of | over | median | quartiles |\n|---|---|---|---|---|")
    for label, sizes in SIZES.items():
        text = {"transformer_layers": 1, "transformer_width": 64, "transformer_heads": 4}
        differential, plain = (kind(**sizes, **text).eval().to(device) for kind in (DiffCLIP, CLIP))
        image = torch.rand(batch, 3, *[differential.sizes.image_size] * 2, device=device)
        vit = plain.visual  # timm's VisionTransformer as it is
        runners = {
            "DiffCLIP": lambda m=differential, x=image: m.encode_image(x),
            "CLIP": lambda m=plain, x=image: m.encode_image(x),
            "timm's ViT": lambda m=vit, x=image: m(x),
            "timm's ViT again": lambda m=vit, x=image: m(x),
        }
        times = interleaved(runners, repeats, synchronize=torch.cuda.synchronize if device == "cuda" else None)
        for name in ("DiffCLIP", "CLIP", "timm's ViT again"):
            median, low, high = ratio(times[name], times["timm's ViT"])
            print(f"| {label} | {name} | timm's ViT | {median:.2f} | {low:.2f} to {high:.2f} |")


if __name__ == "__main__":
    main(*map(int, sys.argv[1:]))
