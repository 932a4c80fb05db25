# Ultralytics DiffAttn - AGPL-3.0 License
"""Common corruptions of images at five severities: noise, blur, weather and digital faults.

These are the corruptions and constants of ImageNet-C (Hendrycks & Dietterich 2019, arXiv 1903.12261) in the form that
takes images of any size (Michaelis et al. 2019, arXiv 1907.07484, the package `imagecorruptions`), written anew on
OpenCV, NumPy and Pillow, since that package is unmaintained. 14 of the 15 are here: `frost` pastes photographs of frost
into the image, which would have to be shipped. As in that benchmark, boxes stay as they are under `elastic_transform`,
which moves pixels by a few pixels, and results are truncated to whole grey levels, not rounded.
"""

from __future__ import annotations

import io
import zlib
from collections.abc import Callable
from numbers import Integral
from typing import Any

import cv2
import numpy as np
from numpy.typing import NDArray
from PIL import Image

from ultralytics_diffattn.errors import UserError
from ultralytics_diffattn.suggestions import did_you_mean

Pixels = NDArray[np.uint8]  # (H, W, 3), BGR
Floats = NDArray[np.floating]


def corrupt(image: Pixels, name: str, severity: int, seed: int = 0) -> Pixels:
    """Return a corrupted copy of an image, the same one for the same arguments.

    What is random is drawn from the pixels, the name, the severity and the seed together: two images of a data set get
    different noise under one seed, whatever the order or the process in which they are corrupted.

    Args:
        image (np.ndarray): (H, W, 3), uint8, BGR; a grey image has three equal channels. It is not changed.
        name (str): A key of `CORRUPTIONS`.
        severity (int): 1 to 5.
        seed (int): 0 or more; another seed gives another draw.

    Returns:
        (np.ndarray): (H, W, 3), uint8, BGR.

    Raises:
        UserError: If the image is no uint8 array of (H, W, 3), or the name, the severity or the seed is not allowed.

    Examples:
        >>> image = np.full((48, 64, 3), 100, np.uint8)
        >>> corrupt(image, "brightness", 5)[0, 0].tolist()
        [227, 227, 227]
        >>> bool((corrupt(image, "fog", 1, seed=1) == corrupt(image, "fog", 1, seed=1)).all())
        True

    References:
        Hendrycks & Dietterich 2019, arXiv 1903.12261; Michaelis et al. 2019, arXiv 1907.07484.
    """
    if not isinstance(image, np.ndarray) or image.dtype != np.uint8:
        kind = f"an array of {image.dtype}" if isinstance(image, np.ndarray) else type(image).__name__
        raise UserError(f"image is {kind}, but must be a uint8 array, as cv2.imread returns it.")
    if image.ndim != 3 or image.shape[2] != 3 or image.size == 0:
        raise UserError(
            f"image has shape {image.shape}, but must be (height, width, 3) and not empty; "
            "cv2.cvtColor(image, cv2.COLOR_GRAY2BGR) gives a grey image three channels."
        )
    if name not in CORRUPTIONS:
        frost = " It is left out, as it needs photographs of frost."
        hint = frost if name == "frost" else did_you_mean(name, CORRUPTIONS)
        raise UserError(f"there is no corruption {name!r}.{hint} Allowed: {', '.join(CORRUPTIONS)}.")
    if not isinstance(severity, Integral) or not 1 <= severity <= 5:
        raise UserError(f"severity is {severity!r}, but must be 1, 2, 3, 4 or 5.")
    if not isinstance(seed, Integral) or seed < 0:
        raise UserError(f"seed is {seed!r}, but must be a whole number, 0 or more.")
    image = np.ascontiguousarray(image)
    rng = np.random.default_rng([seed, severity, zlib.crc32(name.encode()), zlib.crc32(image)])
    return CORRUPTIONS[name](image, severity, rng)


def _pixels(x: NDArray[Any]) -> Pixels:
    """Return grey levels of 0 to 255 as uint8, truncated as the benchmark's are."""
    pixels: Pixels = np.clip(x, 0, 255).astype(np.uint8)
    return pixels


def gaussian_noise(image: Pixels, severity: int, rng: np.random.Generator) -> Pixels:
    """Add normal noise, as in low light."""
    scale = (0.08, 0.12, 0.18, 0.26, 0.38)[severity - 1]
    return _pixels(image + 255 * scale * rng.standard_normal(image.shape, np.float32))


def shot_noise(image: Pixels, severity: int, rng: np.random.Generator) -> Pixels:
    """Count photons: Poisson noise, of which white receives `photons` on average."""
    photons = (60, 25, 12, 5, 3)[severity - 1]
    return _pixels(rng.poisson(image * (photons / 255)) / photons * 255)  # in this order 1 becomes 255, not 254.99


def impulse_noise(image: Pixels, severity: int, rng: np.random.Generator) -> Pixels:
    """Set a share of the values, each channel for itself, to 0 or 255: salt and pepper."""
    share = (0.03, 0.06, 0.09, 0.17, 0.27)[severity - 1]
    draw = rng.random(image.shape, np.float32)
    return np.where(draw < share, np.where(draw < share / 2, 0, 255), image).astype(np.uint8)


def defocus_blur(image: Pixels, severity: int, rng: np.random.Generator) -> Pixels:
    """Blur with a disc, as a lens out of focus."""
    radius, edge = ((3, 0.1), (4, 0.5), (6, 0.5), (8, 0.5), (10, 0.5))[severity - 1]
    reach = max(radius, 8)
    y, x = np.ogrid[-reach : reach + 1, -reach : reach + 1]
    disc = (x**2 + y**2 <= radius**2).astype(np.float32)
    disc = cv2.GaussianBlur(disc / disc.sum(), (3, 3), edge)  # a soft edge
    return _pixels(cv2.filter2D(image, cv2.CV_32F, disc))


def glass_blur(image: Pixels, severity: int, rng: np.random.Generator) -> Pixels:
    """Blur, move pixels about locally, and blur again, as through frosted glass."""
    sigma, reach, rounds = ((0.7, 1, 2), (0.9, 2, 1), (1, 2, 3), (1.1, 3, 2), (1.5, 4, 2))[severity - 1]
    image = _pixels(_gaussian(image.astype(np.float32), (sigma, sigma), 4, cv2.BORDER_REPLICATE))
    for _ in range(rounds):
        image = _scatter(image, rng.integers(-reach, reach, (2, *image.shape[:2]), dtype=np.int32), reach)
    return _pixels(_gaussian(image.astype(np.float32), (sigma, sigma), 4, cv2.BORDER_REPLICATE))


def _scatter(image: Pixels, offsets: NDArray[np.int32], reach: int) -> Pixels:
    """Overwrite each pixel but the margin's with the one at its offset, one after another from the lower right.

    The benchmark means to swap the two, but assigns through views of the array, which copies. A pixel whose source was
    overwritten before it gets the new value: such chains are followed for all pixels at once, by pointer doubling.
    `offsets` is (2, H, W), rows and columns, from -`reach` to `reach` - 1; the margin is `reach` wide, at the top and
    left 1 more, at the bottom and right 1 less.
    """
    H, W = image.shape[:2]
    index = np.arange(H * W, dtype=np.int32).reshape(H, W)
    inside = np.zeros((H, W), bool)
    inside[reach + 1 : H - reach + 1, reach + 1 : W - reach + 1] = True
    source = np.where(inside, index + offsets[0] * W + offsets[1], index).ravel()
    chain = np.where((source > index.ravel()) & inside.ravel()[source], source, index.ravel())
    while True:
        longer = chain[chain]
        if np.array_equal(longer, chain):
            return image.reshape(-1, 3)[source[chain]].reshape(image.shape)  # (H * W, 3) to (H, W, 3)
        chain = longer


def motion_blur(image: Pixels, severity: int, rng: np.random.Generator) -> Pixels:
    """Smear along a random direction, at most 45 degrees from the horizontal."""
    radius, sigma = ((10, 3), (15, 5), (15, 8), (15, 12), (20, 15))[severity - 1]
    return _pixels(_smear(image, radius, sigma, rng.uniform(-45, 45)))


def zoom_blur(image: Pixels, severity: int, rng: np.random.Generator) -> Pixels:
    """Average enlargements of the middle, as a camera that moves forward."""
    # arange's rounding errors decide whether the first list ends at 1.1 or 1.11, and are the benchmark's, too
    factors = np.arange(1, *((1.11, 0.01), (1.16, 0.01), (1.21, 0.02), (1.26, 0.02), (1.31, 0.03))[severity - 1])
    H, W = image.shape[:2]
    x = image.astype(np.float32)
    total = 2 * x  # itself, and the first enlargement, of factor 1
    for factor in factors[1:]:
        h, w = int(np.ceil(H / factor)), int(np.ceil(W / factor))
        top, left = (H - h) // 2, (W - w) // 2
        total += _enlarge(x[top : top + h, left : left + w], factor, (H, W))
    return _pixels(total / (len(factors) + 1))


def snow(image: Pixels, severity: int, rng: np.random.Generator) -> Pixels:
    """Whiten the image and let flakes fall, the same ones a second time turned by 180 degrees."""
    mean, scale, size, least, radius, sigma, keep = (
        (0.1, 0.3, 3, 0.5, 10, 4, 0.8),
        (0.2, 0.3, 2, 0.5, 12, 4, 0.7),
        (0.55, 0.3, 4, 0.9, 12, 8, 0.7),
        (0.55, 0.3, 4.5, 0.85, 12, 8, 0.65),
        (0.55, 0.3, 2.5, 0.85, 12, 12, 0.55),
    )[severity - 1]
    H, W = image.shape[:2]
    small = int(np.ceil(H / size)), int(np.ceil(W / size))
    flakes = _enlarge(rng.normal(mean, scale, small).astype(np.float32), size, (H, W))
    flakes = np.where(flakes < least, 0, np.minimum(flakes, 1)) * 255
    flakes = _smear(flakes, radius, sigma, rng.uniform(-135, -45))
    x = image.astype(np.float32)
    white = cv2.cvtColor(x, cv2.COLOR_BGR2GRAY)[..., None] * 1.5 + 127.5
    return _pixels(keep * x + (1 - keep) * np.maximum(x, white) + (flakes + flakes[::-1, ::-1])[..., None])


def fog(image: Pixels, severity: int, rng: np.random.Generator) -> Pixels:
    """Add a cloud and scale the sum back to the brightest value of the image."""
    density, decay = ((1.5, 2), (2, 2), (2.5, 1.7), (2.5, 1.5), (3, 1.4))[severity - 1]
    H, W = image.shape[:2]
    brightest = image.max() / 255
    cloud = 255 * density * _cloud(max(H, W, 2), decay, rng)[:H, :W, None]
    return _pixels((image + cloud) * np.float32(brightest / (brightest + density)))


def _cloud(side: int, decay: float, rng: np.random.Generator) -> NDArray[np.float32]:
    """Return a plasma fractal by the diamond-square algorithm on a torus, (S, S), 0 to 1.

    S is the least power of two from `side` on. The noise is divided by `decay` twice from one scale to the next.
    """
    step = 1 << (side - 1).bit_length()
    cloud = np.zeros((step, step), np.float32)
    noise = 100.0

    def mean(total: Floats) -> Floats:
        return total / 4 + noise**2 * (2 * rng.random(total.shape, np.float32) - 1)

    while step > 1:
        half = step // 2
        corners = cloud[::step, ::step]
        across = corners + np.roll(corners, -1, 1)  # each corner and its right neighbour
        down = corners + np.roll(corners, -1, 0)
        centres = mean(across + np.roll(across, -1, 0))
        cloud[half::step, half::step] = centres
        cloud[::step, half::step] = mean(across + centres + np.roll(centres, 1, 0))
        cloud[half::step, ::step] = mean(down + centres + np.roll(centres, 1, 1))
        step, noise = half, noise / decay
    cloud -= cloud.min()
    cloud /= cloud.max()
    return cloud


def brightness(image: Pixels, severity: int, rng: np.random.Generator) -> Pixels:
    """Raise the value of HSV; hue and saturation stay."""
    more = 255 * (0.1, 0.2, 0.3, 0.4, 0.5)[severity - 1]
    value = image.max(2, keepdims=True).astype(np.float32)
    raised = np.minimum(value + more, 255)
    # with hue and saturation kept, all channels scale as the value does; black has neither and turns grey
    return _pixels(np.where(value > 0, image * (raised / np.maximum(value, 1)), raised))


def contrast(image: Pixels, severity: int, rng: np.random.Generator) -> Pixels:
    """Draw each channel towards its mean."""
    keep = (0.4, 0.3, 0.2, 0.1, 0.05)[severity - 1]
    mean = image.mean((0, 1))
    return np.asarray(cv2.LUT(image, _pixels((np.arange(256)[:, None] - mean) * keep + mean)[:, None]), np.uint8)


def elastic_transform(image: Pixels, severity: int, rng: np.random.Generator) -> Pixels:
    """Move each pixel by a smooth random field of a few pixels; boxes are meant to stay."""
    strength = (12.5, 16.25, 21.25, 25, 30)[severity - 1]
    H, W = image.shape[:2]
    # the benchmark takes the height for both directions
    noise = rng.uniform(-0.005 * H, 0.005 * H, (H, W, 2)).astype(np.float32)
    field = strength * _gaussian(noise, (0.01 * W, 0.01 * H), 3, cv2.BORDER_REFLECT)
    field += np.stack(np.meshgrid(np.arange(W), np.arange(H)), -1)
    x, y = np.ascontiguousarray(field[..., 0]), np.ascontiguousarray(field[..., 1])
    return _pixels(cv2.remap(image.astype(np.float32), x, y, cv2.INTER_LINEAR, borderMode=cv2.BORDER_REFLECT))


def pixelate(image: Pixels, severity: int, rng: np.random.Generator) -> Pixels:
    """Reduce the image and enlarge it again, without smoothing."""
    scale = (0.6, 0.5, 0.4, 0.3, 0.25)[severity - 1]
    H, W = image.shape[:2]
    small = Image.fromarray(image).resize((max(int(W * scale), 1), max(int(H * scale), 1)), Image.Resampling.BOX)
    return np.array(small.resize((W, H), Image.Resampling.NEAREST))


def jpeg_compression(image: Pixels, severity: int, rng: np.random.Generator) -> Pixels:
    """Pass the image through a JPEG file of low quality."""
    quality = (25, 18, 15, 10, 7)[severity - 1]
    file = io.BytesIO()
    Image.fromarray(image[..., ::-1]).save(file, "JPEG", quality=quality)
    pixels: Pixels = np.asarray(Image.open(file))[..., ::-1].copy()
    return pixels


def _gaussian(x: NDArray[Any], sigma: tuple[float, float], reach: float, border: int) -> NDArray[Any]:
    """Blur float32 (H, W, C) with a Gaussian of sigma (x, y) that is cut after `reach` sigmas, as SciPy's is."""
    sides = tuple(2 * int(reach * s + 0.5) + 1 for s in sigma)
    return cv2.GaussianBlur(x, sides, sigmaX=sigma[0], sigmaY=sigma[1], borderType=border)


def _smear(x: NDArray[Any], radius: int, sigma: float, angle: float) -> NDArray[Any]:
    """Smear (H, W) or (H, W, 3) over 2 `radius` pixels along an angle in degrees, with half a Gaussian; float32."""
    steps = np.arange(2 * radius + 1)
    weights = np.exp(-(steps**2) / (2 * sigma**2))
    rows = np.ceil(steps * np.sin(np.deg2rad(angle)) - 0.5).astype(int)
    columns = np.ceil(steps * np.cos(np.deg2rad(angle)) - 0.5).astype(int)
    kernel = np.zeros((np.ptp(rows) + 1, np.ptp(columns) + 1), np.float32)
    np.add.at(kernel, (rows - rows.min(), columns - columns.min()), weights / weights.sum())
    anchor = int(-columns.min()), int(-rows.min())  # where step 0 lies
    return cv2.filter2D(x, cv2.CV_32F, kernel, anchor=anchor, borderType=cv2.BORDER_REPLICATE)


def _enlarge(x: NDArray[Any], factor: float, size: tuple[int, int]) -> NDArray[Any]:
    """Enlarge float32 (h, w) or (h, w, 3) linearly, corner pixels on corner pixels, and cut to `size`, (H, W)."""
    h, w = ((n - 1) / max(round(n * factor) - 1, 1) for n in x.shape[:2])
    matrix = np.array([[w, 0, 0], [0, h, 0]])
    flags = cv2.INTER_LINEAR | cv2.WARP_INVERSE_MAP
    return cv2.warpAffine(x, matrix, size[::-1], flags=flags, borderMode=cv2.BORDER_REPLICATE)


CORRUPTIONS: dict[str, Callable[[Pixels, int, np.random.Generator], Pixels]] = {
    function.__name__: function
    for function in (
        *(gaussian_noise, shot_noise, impulse_noise),
        *(defocus_blur, glass_blur, motion_blur, zoom_blur),
        *(snow, fog, brightness),
        *(contrast, elastic_transform, pixelate, jpeg_compression),
    )
}
"""What `corrupt` calls once it has checked the arguments: image (H, W, 3), uint8, BGR; severity; source of chance."""
