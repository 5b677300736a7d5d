"""What can be had of a mask alone: scores without a truth, its best parts, its sides, its widths."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np
import scipy
from numpy.typing import NDArray

from lungsynth.arrays import BoolArray, FloatArray, UInt8Array
from lungsynth.errors import ShapeError


def stability(probability: NDArray[np.floating], *, offset: float = 0.15) -> float:
    """IoU of the mask thresholded at 0.5 + offset and at 0.5 - offset: 1 = a sure border.

    After the stability score of Segment Anything (Kirillov et al. 2023).
    """
    high, low = probability > 0.5 + offset, probability > 0.5 - offset
    union = int((high | low).sum())
    return float((high & low).sum() / union) if union else 0.0


def overall_trust(scores: Mapping[str, Mapping[str, Any]]) -> float | None:
    """Trust of a mask, the predicted IoU in [0, 1]: the mean of its classes', by a record's scores.

    None where a class has none: the checkpoint keeps no trust model.
    """
    found = [one.get("trust") for one in scores.values()]
    if not found or any(one is None for one in found):
        return None
    return round(sum(float(one) for one in found if one is not None) / len(found), 5)


def count_parts(mask: BoolArray, *, min_share: float = 0.005) -> int:
    """Connected parts of at least `min_share` of the image."""
    labels, n = scipy.ndimage.label(mask, structure=np.ones((3, 3)))
    if n == 0:
        return 0
    return int((np.bincount(labels.ravel())[1:] >= min_share * mask.size).sum())


def split_sides(mask: BoolArray) -> tuple[BoolArray, BoolArray]:
    """(left, right) lung of a lung mask: the *patient's* sides, the right lung left in the picture.

    Parts are given whole to the side their centre of mass lies on; a single part that crosses is
    cut at its own centre column.
    """
    labels, n = scipy.ndimage.label(mask, structure=np.ones((3, 3)))
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


def clean(
    mask: BoolArray,
    *,
    n_parts: int = 2,
    min_part: float = 0.005,
    weight: FloatArray | None = None,
) -> BoolArray:
    """Keep the best parts of a mask and fill their holes.

    Args:
        mask: (H, W) bool.
        n_parts: How many connected parts (8-neighbourhood) stay.
        min_part: Parts that weigh less than this share of the image go, except the best.
        weight: (H, W) what a pixel weighs, such as the class probability before refinement: a large
            part of little evidence (an arm, the other side) then loses against the organ. None: 1,
            so a part weighs its area.

    Returns:
        (H, W) bool.

    Raises:
        ShapeError: `weight` is of another size.
    """
    if weight is not None and weight.shape != mask.shape:
        raise ShapeError(f"`weight` is {weight.shape}, `mask` is {mask.shape}; expected one size.")
    labels, n = scipy.ndimage.label(mask, structure=np.ones((3, 3)))
    if n == 0:
        return mask.copy()
    weights = np.bincount(labels.ravel(), None if weight is None else weight.ravel())[1:]
    order = np.argsort(-weights, kind="stable")[:n_parts]
    keep = [i + 1 for k, i in enumerate(order) if k == 0 or weights[i] >= min_part * mask.size]
    kept = np.isin(labels, keep)
    return np.asarray(scipy.ndimage.binary_fill_holes(kept), dtype=bool)


def widest(region: BoolArray, *, by_row: bool) -> int:
    """Greatest horizontal extent of a region (H, W) in pixels, 0 where it is empty.

    Args:
        region: (H, W).
        by_row: Within one row, as an inner chest is measured; else from its outermost left to its
            outermost right point, wherever they lie, as a heart is.
    """
    if not region.any():
        return 0
    if not by_row:
        columns = np.flatnonzero(region.any(0))
        return int(columns[-1] - columns[0] + 1)
    rows = region[region.any(1)]
    first, last = rows.argmax(1), rows.shape[1] - rows[:, ::-1].argmax(1)
    return int((last - first).max())


def ratio(mask: UInt8Array, of: Sequence[int], within: Sequence[Sequence[int]]) -> float | None:
    """Width of one organ ÷ that of what holds it, such as the cardiothoracic ratio.

    Args:
        mask: (H, W) class ids.
        of: Ids of what is divided: its whole width.
        within: Ids of the classes it lies within; only rows that hold them all are measured.

    Returns:
        None where one of them is empty, or no row holds them all.
    """
    heart = widest(np.isin(mask, of), by_row=False)
    parts = [np.isin(mask, ids) for ids in within]
    rows = np.all([part.any(1) for part in parts], 0)
    chest = widest(np.any(parts, 0)[rows], by_row=True) if rows.any() else 0
    return round(heart / chest, 4) if heart and chest else None
