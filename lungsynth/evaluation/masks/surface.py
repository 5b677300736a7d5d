"""Distances between the surfaces of two masks: how far the border lies from where it should.

The surface of a mask is its pixels with a neighbour (of four) outside the mask; beyond the image is
outside. A directed distance goes from each surface pixel of one mask to the nearest of the other.
"""

from __future__ import annotations

import math
from dataclasses import dataclass

import numpy as np
from scipy import ndimage

from lungsynth.arrays import BoolArray
from lungsynth.errors import ShapeError


@dataclass(frozen=True, slots=True)
class SurfaceDistance:
    """Border distances of two masks, in pixels."""

    hd95: float  # larger of the 95th percentiles of the two directed distances
    mean: float  # average symmetric surface distance: mean over the surface pixels of both masks


def surface(mask: BoolArray) -> BoolArray:
    """(H, W) bool -> (H, W) bool, the mask's pixels that have a 4-neighbour outside it."""
    return np.asarray(mask & ~ndimage.binary_erosion(mask), dtype=bool)


def surface_distance(
    mask: BoolArray, truth: BoolArray, valid: BoolArray | None = None
) -> SurfaceDistance:
    """HD95 and mean surface distance, through exact Euclidean distance transforms.

    Both masks are emptied where `valid` is false. Surface pixels beside such a place are borders
    that the rule of what counts has drawn, not the masks: no distance starts there, but the other
    mask's distances may end there.

    Args:
        mask: (H, W) bool.
        truth: (H, W) bool.
        valid: (H, W) bool, where masks are compared; None is everywhere.

    Returns:
        Pixels. Exactly one mask empty: both numbers are the image's diagonal. Both empty: 0.

    Raises:
        ShapeError: sizes differ.

    Source:
        HD95 as in Metrics Reloaded (Maier-Hein, Reinke et al. 2024) and MONAI: the maximum of the
        two directed percentiles, not the percentile of both pooled.
    """
    if (
        mask.shape != truth.shape
        or mask.ndim != 2
        or (valid is not None and valid.shape != mask.shape)
    ):
        raise ShapeError(
            f"`mask` is {mask.shape}, `truth` {truth.shape}, `valid` "
            f"{None if valid is None else valid.shape}; expected (H, W) of one size."
        )
    a, b = (mask, truth) if valid is None else (mask & valid, truth & valid)
    if not a.any() or not b.any():
        one = a.any() != b.any()
        return SurfaceDistance(*([math.hypot(*mask.shape) if one else 0.0] * 2))
    borders = [surface(a), surface(b)]
    counted = np.ones_like(a) if valid is None else ~ndimage.binary_dilation(~valid)
    rows, columns = (np.flatnonzero((borders[0] | borders[1]).any(axis)) for axis in (1, 0))
    box = np.s_[rows[0] : rows[-1] + 1, columns[0] : columns[-1] + 1]  # distances stay in this box
    borders, counted = [border[box] for border in borders], counted[box]
    directed = [
        ndimage.distance_transform_edt(~target)[start & counted]
        for start, target in (borders, borders[::-1])
    ]
    together = np.concatenate(directed)
    if not together.size:
        return SurfaceDistance(0.0, 0.0)
    return SurfaceDistance(
        max(float(np.percentile(d, 95)) for d in directed if d.size), float(together.mean())
    )
