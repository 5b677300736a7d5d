"""Scores of a mask that need no truth, and the sides of a pair of lungs."""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray

from lungsynth.arrays import BoolArray


def area_share(mask: BoolArray) -> float:
    """Share of the image covered, in [0, 1]."""
    return float(mask.mean())


def stability(probability: NDArray[np.floating], *, offset: float = 0.15) -> float:
    """IoU of the mask thresholded at 0.5 + offset and at 0.5 - offset: 1 = a sure border.

    After the stability score of Segment Anything (Kirillov et al. 2023).
    """
    high, low = probability > 0.5 + offset, probability > 0.5 - offset
    union = int((high | low).sum())
    return float((high & low).sum() / union) if union else 0.0


def agreement(one: BoolArray, other: BoolArray) -> float:
    """Dice of two masks of one class; 1 when both are empty."""
    total = int(one.sum() + other.sum())
    return float(2 * (one & other).sum() / total) if total else 1.0


def count_parts(mask: BoolArray, *, min_share: float = 0.005) -> int:
    """Connected parts of at least `min_share` of the image."""
    from scipy import ndimage

    labels, n = ndimage.label(mask, structure=np.ones((3, 3)))
    if n == 0:
        return 0
    return int((np.bincount(labels.ravel())[1:] >= min_share * mask.size).sum())


def split_sides(mask: BoolArray) -> tuple[BoolArray, BoolArray]:
    """(left, right) lung of a lung mask: the *patient's* sides, the right lung left in the picture.

    Parts are given whole to the side their centre of mass lies on; a single part that crosses is
    cut at its own centre column.
    """
    from scipy import ndimage

    labels, n = ndimage.label(mask, structure=np.ones((3, 3)))
    left, right = np.zeros_like(mask), np.zeros_like(mask)
    if n == 0:
        return left, right
    columns = np.nonzero(mask)[1]
    middle = float(columns.min() + columns.max()) / 2
    width = mask.shape[1]
    for index in range(1, n + 1):
        part = labels == index
        xs = np.nonzero(part)[1]
        crosses = xs.min() < middle - 0.1 * width and xs.max() > middle + 0.1 * width
        if crosses:
            cut = np.arange(width)[None, :] < middle
            right |= part & cut
            left |= part & ~cut
        elif xs.mean() < middle:
            right |= part
        else:
            left |= part
    return left, right
