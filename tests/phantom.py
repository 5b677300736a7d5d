"""A film-like picture whose masks are known: two ellipses, a blurred probability, an affinity field."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from scipy.ndimage import gaussian_filter

from lungsynth.masks.fusion import area_mean
from lungsynth.masks.walk import AffinityField, half_disc


@dataclass(frozen=True)
class Phantom:
    """Two ellipses, ids 1 (on the right of the picture) and 2."""

    image: np.ndarray  # (H, W) uint8
    truth: np.ndarray  # (H, W) ids 0, 1, 2
    probability: np.ndarray  # (3, H, W) float32, too wide by a blur and shifted
    field: AffinityField  # on a grid of cells of `stride` pixels, from differences of grey


def grey_field(image: np.ndarray, height: int, width: int, *, scale: float = 20.0) -> AffinityField:
    """exp(-|difference of mean grey| / scale) of the cells of a grid."""
    grey = area_mean(image[None].astype(np.float32), height, width)[0]
    offsets = half_disc(5)
    values = np.stack(
        [np.exp(-np.abs(grey - np.roll(grey, (-dy, -dx), (0, 1))) / scale) for dy, dx in offsets]
    )
    return AffinityField(values.astype(np.float32), offsets, height, width)


def phantom(height: int = 96, width: int = 128, *, stride: int = 4) -> Phantom:
    """The same arrays every time, for a height and width that `stride` divides."""
    rng = np.random.default_rng(0)
    y, x = (np.mgrid[:height, :width] + 0.5) / np.array([height, width])[:, None, None]
    ids = np.zeros((height, width), int)
    ids[((x - 0.70) / 0.16) ** 2 + ((y - 0.5) / 0.34) ** 2 < 1] = 1
    ids[((x - 0.28) / 0.18) ** 2 + ((y - 0.5) / 0.36) ** 2 < 1] = 2
    clean = gaussian_filter(170 - 90.0 * (ids > 0), 1)
    image = np.clip(clean + rng.normal(0, 6, ids.shape), 0, 255).astype(np.uint8)
    shifted = np.roll(ids, 2, 1)
    blurred = [gaussian_filter(0.8 * (shifted == k) + 0.1, 0.05 * width) for k in range(3)]
    probability = np.stack(blurred) / np.sum(blurred, 0)
    field = grey_field(image, height // stride, width // stride)
    return Phantom(image, ids, probability.astype(np.float32), field)


def mean_iou(ids: np.ndarray, truth: np.ndarray) -> float:
    """Mean IoU of the classes 1 and 2."""
    scores = [((ids == k) & (truth == k)).sum() / ((ids == k) | (truth == k)).sum() for k in (1, 2)]
    return float(np.mean(scores))
