"""Reading classes off attention, organ by organ: the first two stages of `lungsynth.masks.chain`."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import TYPE_CHECKING, NamedTuple

import numpy as np

from lungsynth.arrays import FloatArray, UInt8Array
from lungsynth.errors import DataError
from lungsynth.masks.classes import ClassSpec
from lungsynth.masks.coarse import check_map, class_level, coarse_mask, shift_background
from lungsynth.masks.registry import RefineConfig, searches_level

if TYPE_CHECKING:
    from torch import Tensor


class Read(NamedTuple):
    """Class id -> (B, H, W) logits of its token."""

    mean: dict[int, Tensor]
    each: list[dict[int, Tensor]]  # of every timestep and draw


def no_word(word: str) -> FloatArray:
    """The `word_heat` of a real film, which no word drew.

    Raises:
        DataError: always; classes of real films are read from tokens.
    """
    raise DataError(f"{word!r} has no learnt token; run `learn-token` first.")


def organs(specs: Sequence[ClassSpec]) -> dict[str, list[int]]:
    """Organ -> indices of its classes, organs in the order in which they are first named."""
    found: dict[str, list[int]] = {}
    for index, spec in enumerate(specs):
        found.setdefault(spec.group, []).append(index)
    return found


def split(probability: FloatArray, specs: Sequence[ClassSpec]) -> dict[str, FloatArray]:
    """(classes + 1, H, W) -> organ -> (its classes + 1, H, W), each summing to 1; undoes `join`."""
    groups = organs(specs)
    if len(groups) == 1:
        return {name: probability for name in groups}
    out = {}
    for name, rows in groups.items():
        mine = probability[[1 + row for row in rows]]
        background = np.clip(1 - mine.sum(0, keepdims=True), 0, 1)
        out[name] = np.concatenate([background, mine]).astype(np.float32)
    return out


def join(parts: dict[str, FloatArray], specs: Sequence[ClassSpec]) -> FloatArray:
    """Probabilities of each organ -> (classes + 1, H, W), classes in the order of `specs`.

    The background is the least of the organs' backgrounds, so with several organs a pixel need not
    sum to 1; a class's row is the same whatever other organs there are.
    """
    if len(parts) == 1:
        return next(iter(parts.values()))
    shape = next(iter(parts.values())).shape[1:]
    out = np.empty((len(specs) + 1, *shape), np.float32)
    out[0] = np.min([part[0] for part in parts.values()], 0)
    for name, rows in organs(specs).items():
        out[[1 + row for row in rows]] = parts[name][1:]
    return out


def read(
    specs: Sequence[ClassSpec],
    logits: dict[int, Tensor],
    index: int,
    word_heat: Callable[[str], FloatArray],
    config: RefineConfig,
) -> FloatArray:
    """(classes + 1, H, W) probability by attention alone, thresholds moved: the first two stages.

    Args:
        specs: The classes.
        logits: Class id -> (B, H, W) logits, of those that have a token.
        index: Of the picture in the batch.
        word_heat: Word -> (H, W) map in [0, 1], asked of classes without a token.
        config: Its threshold, label confidence and method are read. Token classes: softmax of the
            organ's logits with background at 0. Word classes: the thresholded map at the label
            confidence; for a refinement that searches the level, the map over its maximum.
    """
    parts = {}
    for name, rows in organs(specs).items():
        mine = [specs[row] for row in rows]
        parts[name] = _at_threshold(
            _read_organ(mine, logits, index, word_heat, config), mine, logits, config
        )
    return join(parts, specs)


def _read_organ(
    specs: Sequence[ClassSpec],
    logits: dict[int, Tensor],
    index: int,
    word_heat: Callable[[str], FloatArray],
    config: RefineConfig,
) -> FloatArray:
    if all(s.id in logits for s in specs):
        import torch  # deferred: logits are there, so it is loaded; names and labels do without

        stacked = torch.stack([logits[s.id][index] for s in specs])
        scores = torch.cat([torch.zeros_like(stacked[:1]), stacked])
        return np.asarray(scores.softmax(0).float().numpy())
    method = "otsu" if config.threshold == "auto" else config.threshold
    share = []
    for spec in specs:
        if spec.id in logits:
            share.append(logits[spec.id][index].sigmoid().numpy())
            continue
        heat = word_heat(spec.word or spec.name)
        if searches_level(config.method):
            share.append(check_map(heat) / max(float(heat.max()), 1e-8))
        else:
            region = coarse_mask(heat, method)
            share.append(np.where(region, config.label_confidence, 1 - config.label_confidence))
    foreground = np.stack(share).astype(np.float32)
    background = np.clip(1 - foreground.max(0, keepdims=True), 1e-3, None)
    both = np.concatenate([background, foreground])
    return np.asarray(both / both.sum(0, keepdims=True), dtype=np.float32)


def _at_threshold(
    probability: FloatArray,
    specs: Sequence[ClassSpec],
    logits: dict[int, Tensor],
    config: RefineConfig,
) -> FloatArray:
    """Token classes of one organ moved to a threshold named by the caller; "auto" moves nothing."""
    if config.threshold == "auto" or not any(spec.id in logits for spec in specs):
        return probability
    levels = [
        class_level(probability, 1 + k, config.threshold) if spec.id in logits else 0.5
        for k, spec in enumerate(specs)
    ]
    return shift_background(probability, levels)


def label(probability: FloatArray, specs: Sequence[ClassSpec]) -> UInt8Array:
    """(H, W) ids of the most probable class of each pixel; the organ named first goes first."""
    out = np.zeros(probability.shape[1:], np.uint8)
    for name, p in split(probability, specs).items():
        ids = np.array([0, *(specs[row].id for row in organs(specs)[name])], np.uint8)
        out = np.where(out == 0, ids[p.argmax(0)], out)
    return out
