"""A crude prior of where an organ lies, from what anybody knows of it: it needs no annotated film.

    score = darkness + w · place

darkness is the local mean minus the pixel, inside the body, in standard deviations; place is 1 - r²
of an ellipse, r the distance from its centre in radii, cut off below. Organ and modality are
configuration: a JSON file names ellipses and whether the organ is darker or brighter than its
surroundings. The prior alone is wrong at every border; learnt over many films, a class token keeps
what they agree on.
"""

from __future__ import annotations

import json
from dataclasses import dataclass
from pathlib import Path

import numpy as np
from scipy import ndimage

from lungsynth.arrays import FloatArray, UInt8Array
from lungsynth.errors import ConfigError, ShapeError

FOREGROUND, UNSURE = 255, 127


@dataclass(frozen=True)
class Ellipse:
    """In shares of the square's side; `tilt` moves the centre line sideways per unit of height."""

    cx: float
    cy: float
    rx: float
    ry: float
    tilt: float = 0.0


@dataclass(frozen=True)
class Prior:
    """Where a class lies and how it looks."""

    name: str
    ellipses: tuple[Ellipse, ...]
    dark: bool = True  # darker than its surroundings
    weight: float = 1.2  # w, of the place beside the darkness
    margin: float = 0.35  # scores nearer to 0 than this are not counted


def load_priors(path: Path) -> dict[str, Prior]:
    """Class name -> prior, from a JSON file.

    `{"classes": {"left lung": {"ellipses": [[cx, cy, rx, ry, tilt]], "dark": true}}}`

    Raises:
        ConfigError: missing, not JSON, or a value is not as described.
    """
    try:
        spec = json.loads(path.read_text(encoding="utf-8"))
        out = {}
        for name, entry in spec["classes"].items():
            ellipses = tuple(Ellipse(*map(float, one)) for one in entry["ellipses"])
            numbers = {k: float(entry[k]) for k in ("weight", "margin") if k in entry}
            dark = entry.get("dark", True)
            if not isinstance(dark, bool):
                raise ValueError(f"`dark` of {name!r} is {dark!r}, neither true nor false")
            if not ellipses or any(min(e.rx, e.ry) <= 0 for e in ellipses):
                raise ConfigError(f"{path}: class {name!r} needs ellipses with radii above 0.")
            out[str(name)] = Prior(str(name), ellipses, dark, **numbers)
    except (OSError, ValueError, KeyError, TypeError, AttributeError, OverflowError) as error:
        raise ConfigError(
            f"{path}: not a file of priors ({type(error).__name__}: {error}); expected "
            '{"classes": {NAME: {"ellipses": [[cx, cy, rx, ry, tilt]], "dark": true}}}.'
        ) from error
    return out


def place_score(prior: Prior, height: int, width: int) -> FloatArray:
    """(H, W) float32: 1 in the middle of an ellipse, 0 on its border, -2.5 far away."""
    y, x = np.mgrid[0:height, 0:width]
    v, u = (y + 0.5) / height, (x + 0.5) / width
    best = np.full((height, width), -np.inf)
    for e in prior.ellipses:
        dx, dy = u - e.cx, v - e.cy
        best = np.maximum(best, 1 - ((dx + e.tilt * dy) / e.rx) ** 2 - (dy / e.ry) ** 2)
    return np.clip(best, -2.5, 1).astype(np.float32)


def darkness(image: UInt8Array) -> FloatArray:
    """(H, W) float32: how much darker than the body around it, in standard deviations; -2 outside."""
    side = max(image.shape)
    smooth = ndimage.gaussian_filter(image.astype(np.float32) / 255, side * 3 / 256)
    body = smooth > max(0.08, float(np.percentile(smooth, 5)))
    body = ndimage.binary_fill_holes(ndimage.binary_opening(body, iterations=3))
    if not body.any():
        return np.full(image.shape, -2, np.float32)
    weight = body.astype(np.float32)
    wide = side * 36 / 256
    around = ndimage.gaussian_filter(smooth * weight, wide)
    around /= np.maximum(ndimage.gaussian_filter(weight, wide), 0.05)
    out = around - smooth
    out /= float(out[body].std()) + 1e-6
    out[~body] = -2
    return np.asarray(out, dtype=np.float32)


def prior_score(image: UInt8Array, prior: Prior) -> FloatArray:
    """(H, W) float32, above 0 where the class is likely.

    Raises:
        ShapeError: not (H, W) of at least 16 pixels a side.
    """
    if image.ndim != 2 or min(image.shape) < 16:
        raise ShapeError(f"`image` is {image.shape}; expected (H, W) of at least 16 pixels a side.")
    dark = darkness(image)
    look = dark if prior.dark else np.where(dark == -2, dark, -dark)
    return np.asarray(look + prior.weight * place_score(prior, *image.shape), dtype=np.float32)


def prior_mask(image: UInt8Array, prior: Prior) -> UInt8Array:
    """(H, W) uint8: 255 likely the class, 0 likely not, 127 near the border or a stray part."""
    score = prior_score(image, prior)
    labels, n = ndimage.label(score > 0)
    out = np.where(score < -prior.margin, 0, UNSURE).astype(np.uint8)
    if n:
        areas = np.bincount(labels.ravel())[1:]
        kept = np.isin(labels, np.argsort(-areas, kind="stable")[: len(prior.ellipses)] + 1)
        out[kept & (score > prior.margin)] = FOREGROUND
    return out
