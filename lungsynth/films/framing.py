"""Framing: which square of a film is shown, and what a caption may say of it.

A caption can only teach the word "lung" a place if films differ in what they show. So besides the
whole chest there are close-ups of one lung, of the upper or lower zones, and views with little lung,
each named. Films are never squashed: a square is cut out and what lies outside the film is black.

Boxes are geometric, not taken from masks: on a standard frontal film the patient's right lung is on
the left of the picture.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from PIL import Image

from lungsynth.arrays import UInt8Array


@dataclass(frozen=True, slots=True)
class Framing:
    """A named square, in fractions: `cx`, `cy` of the film's width and height, `side` of the short side."""

    name: str
    cx: float
    cy: float
    side: float


WHOLE = "whole chest"
CLOSE_UPS = {  # name: (cx, cy, side of the short side of the film)
    "right lung": (0.30, 0.50, 0.66),
    "left lung": (0.70, 0.50, 0.66),
    "upper zones": (0.50, 0.30, 0.64),
    "lower zones": (0.50, 0.68, 0.64),
    "neck and shoulders": (0.50, 0.08, 0.62),
    "upper abdomen": (0.50, 0.95, 0.62),
}
SHIFTED = {"shifted left": -0.16, "shifted right": 0.16}
MIN_CLOSE_UP = 190


def draw_framing(
    height: int,
    width: int,
    rng: np.random.Generator,
    *,
    p_whole: float = 0.7,
) -> Framing:
    """Draw a framing for a film of `height` by `width` pixels.

    Close-ups are only drawn when their square keeps `MIN_CLOSE_UP` real pixels a side, so that the
    model does not learn that close-ups are blurred.

    Args:
        height: Of the film, in pixels.
        width: Likewise.
        rng: Source of randomness.
        p_whole: Share of whole-chest framings.
    """
    short, long = min(height, width), max(height, width)
    if rng.random() < p_whole or 0.62 * short < MIN_CLOSE_UP:
        widest = min(long / short, 1.3)
        side = rng.uniform(max(1.0, widest - 0.12), widest) if widest > 1.02 else 1.0
        side *= rng.uniform(0.94, 1.0)
        jitter = rng.normal(0.0, 0.012, 2)
        return Framing(WHOLE, 0.5 + jitter[0], 0.5 + jitter[1], side)
    if rng.random() < 0.15:
        name = str(rng.choice(sorted(SHIFTED)))
        return Framing(name, 0.5 + SHIFTED[name], 0.5, 1.0)
    name = str(rng.choice(sorted(CLOSE_UPS)))
    cx, cy, side = CLOSE_UPS[name]
    jitter = rng.normal(0.0, 0.02, 3)
    return Framing(name, cx + jitter[0], cy + jitter[1], side * (1.0 + jitter[2]))


def cut(image: UInt8Array, framing: Framing, *, pixels: int, nearest: bool = False) -> UInt8Array:
    """Cut the framing's square out of a film and resize it to (pixels, pixels).

    Args:
        image: (H, W) uint8.
        framing: What to cut.
        pixels: Side of the result.
        nearest: For masks: no interpolation between class ids.

    Returns:
        (pixels, pixels) uint8; black (0) where the square reaches beyond the film.
    """
    height, width = image.shape
    side = framing.side * min(height, width)
    x0, y0 = framing.cx * width - side / 2, framing.cy * height - side / 2
    # a whole-chest square stays on the film wherever it can
    if framing.name == WHOLE:
        x0 = float(np.clip(x0, min(0.0, width - side), max(0.0, width - side)))
        y0 = float(np.clip(y0, min(0.0, height - side), max(0.0, height - side)))
        if side > height:
            y0 = (height - side) / 2
        if side > width:
            x0 = (width - side) / 2
    scale = pixels / side
    # resize only the part on the film, then place it: resampling never mixes in the black outside
    left, top = max(0.0, x0), max(0.0, y0)
    right, bottom = min(float(width), x0 + side), min(float(height), y0 + side)
    out = np.zeros((pixels, pixels), dtype=np.uint8)
    px0, py0 = round((left - x0) * scale), round((top - y0) * scale)
    px1, py1 = round((right - x0) * scale), round((bottom - y0) * scale)
    if px1 <= px0 or py1 <= py0:
        return out
    part = Image.fromarray(image).resize(
        (px1 - px0, py1 - py0),
        Image.Resampling.NEAREST if nearest else Image.Resampling.LANCZOS,
        box=(left, top, right, bottom),
    )
    out[py0:py1, px0:px1] = np.asarray(part)
    return out


def whole(image: UInt8Array, *, pixels: int, nearest: bool = False) -> UInt8Array:
    """The whole chest without randomness: the square used for tests and evaluation."""
    height, width = image.shape
    side = min(max(height, width) / min(height, width), 1.25)
    return cut(image, Framing(WHOLE, 0.5, 0.5, side), pixels=pixels, nearest=nearest)
