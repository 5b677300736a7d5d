"""Segmentation models trained on synthetic pairs, on real ones, and on both; one cell of the table each.

Every arm has the same optimiser steps, batch, learning rate and augmentation; only what it is shown
differs.
"""

from __future__ import annotations

import time
from dataclasses import dataclass, field
from typing import Any

import numpy as np
from torch import nn

from lungsynth.arrays import IGNORE, Float64Array, IntArray
from lungsynth.errors import DataError
from lungsynth.evaluation.downstream.cell import Cell
from lungsynth.evaluation.downstream.data import AREA, Pairs
from lungsynth.evaluation.downstream.models import Preset, build_model, foreground, train
from lungsynth.evaluation.masks.figures import compare, iou
from lungsynth.training.segmenter import Fit

ARMS = ("real", "synthetic", "synthetic+real", "synthetic-to-real")
FILTERS = ("none", "trust", "noise-learning")


def score(model: nn.Module, test: Pairs) -> list[tuple[float, ...]]:
    """The figures of `lungsynth.evaluation.masks.figures.METRICS` of every test film."""
    drawn = foreground(model, test.images)
    return [
        compare(mask, truth == 1, truth != IGNORE)
        for mask, truth in zip(drawn, test.masks, strict=True)
    ]


def agreement(
    pairs: Pairs,
    preset: Preset,
    *,
    n_folds: int = 3,
    seed: int = 0,
    device: str = "cpu",
    quiet: bool = True,
) -> Float64Array:
    """IoU of every mask with what a U-Net trained on the other folds draws; noise learning.

    Args:
        pairs: Synthetic pictures with masks.
        preset: Size of the U-Net and its steps a fold.
        n_folds: Folds.
        seed: Of the folds and the training.
        device: Where to train.
        quiet: No progress bar.

    Returns:
        (N,) in [0, 1]; 0 where the mask's area is outside `AREA`.

    Raises:
        DataError: fewer pictures than folds.

    Source:
        The idea is DiffuMask's (Wu et al. 2023, section 3.4), there with Mask2Former.
    """
    if len(pairs) < n_folds:
        raise DataError(
            f"{pairs.name}: {len(pairs)} picture(s) for {n_folds} folds of noise learning; need at "
            "least as many."
        )
    fold = np.random.default_rng(seed).permutation(len(pairs)) % n_folds
    out = np.zeros(len(pairs))
    for k in range(n_folds):
        inside, held = np.flatnonzero(fold != k), np.flatnonzero(fold == k)
        model = build_model("unet", preset, seed + k).to(device)
        train(
            model,
            pairs.images[inside],
            pairs.masks[inside],
            Fit(
                steps=preset.fold_steps,
                lr=preset.lr,
                batch=preset.batch,
                seed=seed + k,
                quiet=quiet,
            ),
        )
        drawn = foreground(model, pairs.images[held])
        for i, mask in zip(held, drawn, strict=True):
            valid = pairs.masks[i] != IGNORE
            truth = pairs.masks[i] == 1
            if AREA[0] <= truth.mean() <= AREA[1]:
                out[i] = iou(mask, truth, valid)
    return out


def keep_best(scores: Float64Array, share: float) -> IntArray:
    """Indices of the `share` of best score, ascending; ties by index."""
    n = max(1, round(share * len(scores)))
    return np.sort(np.argsort(-scores, kind="stable")[:n])


def real_subset(n_all: int, n: int, seed: int) -> IntArray:
    """The first `n` of an order drawn with the seed: a larger subset holds the smaller."""
    return np.random.default_rng((seed, 2)).permutation(n_all)[:n]


@dataclass(slots=True)
class Shown:
    """What the arms are trained on and tested on."""

    real: Pairs
    synthetic: dict[tuple[str, str], Pairs]  # (set, filter) -> pictures
    tests: list[Pairs]
    preset: Preset
    real_share: float = 0.5  # of each batch of synthetic+real
    device: str = "cpu"
    quiet: bool = True
    notes: list[str] = field(default_factory=list)


def _parts(
    cell: Cell, shown: Shown, real: Pairs, drawn: Pairs | None
) -> list[tuple[Pairs, float, float]]:
    """What a cell's arm is trained on: films, and how often they are drawn at the first and last step."""
    if cell.arm == "real":
        return [(real, 1, 1)]
    assert drawn is not None
    if cell.arm == "synthetic":
        return [(drawn, 1, 1)]
    if cell.arm == "synthetic-to-real":
        return [(drawn, 1, 0), (real, 0, 1)]
    share = shown.real_share
    return [(drawn, 1 - share, 1 - share), (real, share, share)]


def run_cell(cell: Cell, shown: Shown) -> dict[str, Any]:
    """Train one model and test it on every test set.

    Args:
        cell: Which.
        shown: Training and test films.

    Returns:
        `tests`: set -> (N, 4) figures of `lungsynth.evaluation.masks.figures.METRICS`; `seconds`;
        `n_synthetic`; `steps`.
    """
    began, preset = time.perf_counter(), shown.preset
    model = build_model(cell.model, preset, cell.seed).to(shown.device)
    real = shown.real.take(real_subset(len(shown.real), cell.n_real, cell.seed))
    drawn = shown.synthetic.get((cell.synthetic, cell.filter))
    parts = _parts(cell, shown, real, drawn)
    first = np.concatenate([np.full(len(films), share / len(films)) for films, share, _ in parts])
    last = np.concatenate([np.full(len(films), share / len(films)) for films, _, share in parts])
    train(
        model,
        np.concatenate([films.images for films, _, _ in parts]),
        np.concatenate([films.masks for films, _, _ in parts]),
        Fit(
            steps=preset.steps, lr=preset.lr, batch=preset.batch, seed=cell.seed, quiet=shown.quiet
        ),
        augmentation=cell.augmentation,
        share=first,
        last_share=last if cell.arm == "synthetic-to-real" else None,
    )
    return {
        "tests": {
            test.name: np.array(score(model, test)).round(6).tolist() for test in shown.tests
        },
        "seconds": round(time.perf_counter() - began, 2),
        "steps": preset.steps,
        "n_synthetic": 0 if drawn is None else len(drawn),
        "n_real": len(real) * bool(cell.n_real),
    }
