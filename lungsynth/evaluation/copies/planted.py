"""Planted copies: films changed as a copy might be, to find out whether a search would catch one.

Every change keeps the film's anatomy: somebody who knows the film would still recognise it.
"""

from __future__ import annotations

import io
from collections.abc import Callable

import numpy as np
from PIL import Image
from scipy import ndimage

from lungsynth.arrays import UInt8Array

Change = Callable[[UInt8Array, np.random.Generator], UInt8Array]

CROP = (0.75, 0.95)  # side of the square kept, share of the film's
NOISE = (4.0, 14.0)  # standard deviation, grey levels of 255
LOG_GAMMA, LOG_CONTRAST, BRIGHTNESS = 0.5, 0.3, 25.0  # half-widths of uniform draws
DEGREES = (2.0, 8.0)  # either way
JPEG_QUALITY = (10, 50)
BLUR = (1.0, 2.0)  # standard deviation, pixels of 256


def flipped(film: UInt8Array, rng: np.random.Generator) -> UInt8Array:
    """Left and right exchanged."""
    return np.ascontiguousarray(film[:, ::-1])


def cropped(film: UInt8Array, rng: np.random.Generator) -> UInt8Array:
    """A square of 75 to 95 % of the side, anywhere, blown up to the old size."""
    pixels = len(film)
    side = rng.uniform(*CROP) * pixels
    x, y = rng.uniform(0, pixels - side, 2)
    picture = Image.fromarray(film)
    box = (x, y, x + side, y + side)
    return np.asarray(picture.resize((pixels, pixels), Image.Resampling.BICUBIC, box=box)).copy()


def noised(film: UInt8Array, rng: np.random.Generator) -> UInt8Array:
    """Gaussian noise of 4 to 14 grey levels."""
    return _to_uint8(film + rng.normal(0, rng.uniform(*NOISE), film.shape))


def re_exposed(film: UInt8Array, rng: np.random.Generator) -> UInt8Array:
    """Another gamma, contrast and brightness."""
    y = (film / 255.0) ** np.exp(rng.uniform(-LOG_GAMMA, LOG_GAMMA))
    y = (y - 0.5) * np.exp(rng.uniform(-LOG_CONTRAST, LOG_CONTRAST)) + 0.5
    return _to_uint8(y * 255 + rng.uniform(-BRIGHTNESS, BRIGHTNESS))


def rotated(film: UInt8Array, rng: np.random.Generator) -> UInt8Array:
    """Turned by 2 to 8 degrees either way; black comes in at the corners."""
    degrees = rng.uniform(*DEGREES) * rng.choice([-1.0, 1.0])
    turned = Image.fromarray(film).rotate(degrees, Image.Resampling.BICUBIC)
    return np.asarray(turned).copy()


def compressed(film: UInt8Array, rng: np.random.Generator) -> UInt8Array:
    """Through JPEG of quality 10 to 50."""
    buffer = io.BytesIO()
    quality = int(rng.integers(JPEG_QUALITY[0], JPEG_QUALITY[1] + 1))
    Image.fromarray(film).save(buffer, "JPEG", quality=quality)
    return np.asarray(Image.open(buffer)).copy()


def blurred(film: UInt8Array, rng: np.random.Generator) -> UInt8Array:
    """Through a Gaussian of 1 to 2 pixels, about what an autoencoder takes away."""
    return _to_uint8(ndimage.gaussian_filter(film.astype(np.float64), rng.uniform(*BLUR)))


def combined(film: UInt8Array, rng: np.random.Generator) -> UInt8Array:
    """Turned, cropped, re-exposed, noised and compressed, and in half of the cases flipped."""
    if rng.random() < 0.5:
        film = flipped(film, rng)
    for change in (rotated, cropped, re_exposed, noised, compressed):
        film = change(film, rng)
    return film


KINDS: dict[str, Change] = {
    "flipped": flipped,
    "cropped": cropped,
    "noised": noised,
    "re-exposed": re_exposed,
    "rotated": rotated,
    "compressed": compressed,
    "blurred": blurred,
    "combined": combined,
}
"""Every kind of planted copy: name -> change of one square film (P, P) uint8."""


def plant(films: UInt8Array, *, seed: int = 0) -> tuple[UInt8Array, list[str]]:
    """Change every film in one way, the kinds taking turns.

    Args:
        films: (N, P, P) uint8.
        seed: Of every draw.

    Returns:
        (N, P, P) uint8 copies, and the kind of each, a key of `KINDS`.
    """
    names = list(KINDS)
    kinds = [names[i % len(names)] for i in range(len(films))]
    copies = [
        KINDS[kind](film, np.random.default_rng((seed, i)))
        for i, (film, kind) in enumerate(zip(films, kinds, strict=True))
    ]
    return np.stack(copies) if copies else films.copy(), kinds


def _to_uint8(values: np.ndarray) -> UInt8Array:
    return np.clip(values, 0, 255).round().astype(np.uint8)
