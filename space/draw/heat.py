"""Where a word looks, by what it does differently: maps on one fixed scale.

    r_w(x) = p_w(x) / mean_x p_w        the attention a word gets, over its own average
    d_w(x) = r_w(x) - mean_w r_w(x)     and by how much that is more than the words' mean

What every word does (corners, the table, the edge of the body) falls out, and a map that shows nothing
is 0 everywhere: it is never stretched to its own maximum.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence

import numpy as np

from lungsynth.arrays import FloatArray, UInt8Array

FULL = 1.0
"""Difference that is drawn in full colour: a whole average more than the words' mean."""
OPACITY = 0.6
"""Of full colour over a picture."""
NO_PLACE = 0.25
"""A map whose 98th percentile is below shows no place; it is left without colour."""

TELLING = (
    "right lung",
    "left lung",
    "lungs",
    "heart",
    "pneumonia",
    "tuberculosis",
    "effusion",
    "infiltration",
    "atelectasis",
    "consolidation",
    "cardiomegaly",
    "lung",
    "chest",
)
"""Words whose map is shown first, where the prompt has them."""


def telling(words: Sequence[str]) -> str:
    """The word worth looking at first; "" when there is none."""
    return next((word for word in TELLING if word in words), next(iter(words), ""))


def differences(words: Sequence[str], maps: Mapping[tuple[int, int], FloatArray]) -> FloatArray:
    """By how much each word attends to a place more than the words of its prompt do on average.

    Phrases ("right lung") are not counted into that mean. `maps` are, by (h, w) of a layer, the
    mean attention probability (words, h, w). Gives (words, H, W) on the finest grid: 0 = as the
    words' mean, 1 = a whole average of the word more. Layers at least a quarter as fine count, as
    in `lungsynth.model.attention.word_map`.
    """
    finest = max(maps)
    shares = [
        enlarged(one / np.maximum(one.mean((1, 2), keepdims=True), 1e-12), finest)
        for grid, one in maps.items()
        if grid[0] * 4 >= finest[0]
    ]
    share = np.mean(shares, axis=0)
    single = [index for index, word in enumerate(words) if " " not in word]
    mean = share[single].mean(0) if len(single) > 1 else 1.0  # one word alone: against flat
    return np.asarray(share - mean, dtype=np.float32)


def has_place(difference: FloatArray) -> bool:
    """Whether a map (H, W) of `differences` shows a place at all."""
    return float(np.percentile(difference, 98)) >= NO_PLACE


def level(difference: FloatArray) -> UInt8Array:
    """Differences on the fixed scale: 0 = not more than the words' mean, 255 = `FULL` or more."""
    return (np.clip(difference / FULL, 0, 1) * 255).round().astype(np.uint8)


def lay_over(image: UInt8Array, difference: FloatArray, colour: tuple[int, int, int]) -> UInt8Array:
    """A word's map, (h, w) of `differences`, over a picture (H, W), as the viewer draws it: (H, W,
    3) RGB.

    One that shows no place leaves the picture as it is.
    """
    out = np.repeat(image[..., None], 3, 2).astype(float)
    if has_place(difference):
        shown = level(enlarged(difference[None], image.shape)[0]) / 255.0
        alpha = (OPACITY * shown)[..., None]
        out = out * (1 - alpha) + np.array(colour, float) * alpha
    return out.round().astype(np.uint8)


def enlarged(maps: FloatArray, grid: tuple[int, int]) -> FloatArray:
    """(n, h, w) maps -> (n, H, W), bilinear."""
    import torch  # deferred: slow to import

    tensor = torch.from_numpy(np.ascontiguousarray(maps, dtype=np.float32))[None]
    large = torch.nn.functional.interpolate(tensor, grid, mode="bilinear", align_corners=False)
    return np.asarray(large[0].numpy(), dtype=np.float32)
