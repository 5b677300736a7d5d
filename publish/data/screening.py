"""Whether a drawn pair is good enough to publish, and why not."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import numpy as np

from lungsynth.arrays import BoolArray, UInt8Array
from publish.data.settings import FilterSettings


def bounding_box(region: BoolArray) -> list[int]:
    """[x, y, width, height] in pixels of a region (H, W), as COCO has it; [] when it is empty."""
    if not region.any():
        return []
    ys, xs = np.flatnonzero(region.any(1)), np.flatnonzero(region.any(0))
    return [int(xs[0]), int(ys[0]), int(xs[-1] - xs[0] + 1), int(ys[-1] - ys[0] + 1)]


def reasons_against(
    image: UInt8Array,
    mask: UInt8Array,
    scores: Mapping[str, Mapping[str, Any]],
    classes: Mapping[int, str],
    limits: FilterSettings,
    n_parts: Mapping[str, int],
) -> list[str]:
    """Why a picture (H, W) and its mask should not be published; [] when nothing speaks against it.

    `scores` are those of a result's record by class name: area, parts, stability, trust,
    plausibility; a checkpoint without a trust model gives no trust, and that limit then says
    nothing. `n_parts` says how many connected parts a class may have.
    """
    found = []
    if float(image.std()) < limits.min_contrast:
        found.append("flat picture")
    centres: dict[str, float] = {}
    shares: dict[str, float] = {}
    for value, name in sorted(classes.items()):
        region = mask == value
        share = float(region.mean())
        if share == 0:
            found.append(f"no {name}")
            continue
        shares[name] = share
        centres[name] = float(np.nonzero(region)[1].mean())
        low, high = limits.areas.get(name, (limits.min_area, limits.max_area))
        if share < low:
            found.append(f"small {name}")
        if share > high:
            found.append(f"large {name}")
        if int(scores[name]["parts"]) > n_parts[name]:
            found.append(f"{name} in pieces")
        if float(scores[name]["stability"]) < limits.min_stability:
            found.append(f"unsteady {name}")
        if _below(scores[name].get("trust"), limits.min_trust):
            found.append(f"unsure {name}")
        if _below(scores[name].get("plausibility"), limits.min_plausibility):
            found.append(f"odd {name}")
    for organ in _paired(centres):
        left, right = f"left {organ}", f"right {organ}"
        if limits.sides and centres[left] <= centres[right]:
            found.append(f"swapped {organ}")
        if max(shares[left], shares[right]) > limits.max_ratio * min(shares[left], shares[right]):
            found.append(f"lopsided {organ}")
    return found


def _below(value: Any, limit: float) -> bool:
    return value is not None and float(value) < limit


def _paired(present: Mapping[str, float]) -> list[str]:
    """Organs that are there as "left X" and as "right X"."""
    return [
        name.removeprefix("left ")
        for name in present
        if name.startswith("left ") and f"right {name.removeprefix('left ')}" in present
    ]
