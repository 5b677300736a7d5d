"""Is a mask shaped, placed and as bright inside as those of training films are?

Of an organ's masks two things are kept: a Gaussian of what can be measured of each class (area, centre,
extents, how full its box is, how compact it is, its grey against what surrounds it), and the principal
components of the masks on a coarse grid. A mask's distance from the first and what the second cannot
draw of it are compared with those of the training masks themselves.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace

import numpy as np
import scipy
import torch
from PIL import Image
from torch import Tensor

from lungsynth.arrays import BoolArray, Float64Array, UInt8Array
from lungsynth.errors import CheckpointError, DataError

GRID = 24
"""Side of the coarse grid of the principal components."""
PIXELS = 96
"""Side at which a mask is measured."""
COMPONENTS = 24
MIN_MASKS = 12
"""Fewer masks than this say nothing of what is usual."""
N_LEVELS = 101
FOLDS = 5
SHRINK = 0.1
TRIM = 0.05
"""Share of masks, the most unusual ones, that are left out of the Gaussian."""
MEASURES = ("area", "x", "y", "height", "width", "fullness", "compactness", "contrast")


def resized(array: BoolArray | UInt8Array, side: int) -> Float64Array:
    """(H, W) bool or uint8 -> (side, side), mean over each place, values as they were."""
    picture = Image.fromarray(array.astype(np.float32))
    return np.asarray(picture.resize((side, side), Image.Resampling.BOX), dtype=np.float64)


def measures(region: BoolArray, image: UInt8Array) -> Float64Array | None:
    """(len(MEASURES),) of one class by its region (H, W) of a grey image; None if empty."""
    small = resized(region, PIXELS) > 0.5
    if not small.any():
        return None
    grey = resized(image, PIXELS)
    ys, xs = np.nonzero(small)
    height, width = float(np.ptp(ys)) + 1, float(np.ptp(xs)) + 1
    near = scipy.ndimage.binary_dilation(small, iterations=8) & ~scipy.ndimage.binary_dilation(
        small, iterations=2
    )
    inside = scipy.ndimage.binary_erosion(small, iterations=2)
    border = small & ~scipy.ndimage.binary_erosion(small)
    core = grey[inside if inside.any() else small].mean()
    ring = grey[near].mean() if near.any() else core
    area = float(small.sum())
    return np.array(
        [
            np.log(area / small.size),
            xs.mean() / PIXELS,
            ys.mean() / PIXELS,
            height / PIXELS,
            width / PIXELS,
            area / (height * width),
            np.sqrt(area) / border.sum(),
            (core - ring) / (grey.std() + 4),
        ]
    )


def organ_measures(regions: Sequence[BoolArray], image: UInt8Array) -> Float64Array | None:
    """(classes · len(MEASURES),) of an organ; None where one of its classes is empty."""
    found = [measures(region, image) for region in regions]
    if any(one is None for one in found):
        return None
    return np.concatenate([one for one in found if one is not None])


def organ_grid(regions: Sequence[BoolArray]) -> Float64Array:
    """(classes · GRID²,) shares of each class in each place."""
    return np.concatenate([resized(region, GRID).ravel() for region in regions])


@dataclass(frozen=True, slots=True)
class Plausibility:
    """How usual an organ's mask is among those of training films."""

    measured: float  # share of training masks whose measures are at least as unusual, [0, 1]
    drawn: float  # share of training masks of which the components miss at least as much, [0, 1]
    distance: float  # log(1 + squared Mahalanobis distance ÷ dimensions)
    missed: float  # what the components miss ÷ the median of training masks, log(1 + ·)

    @property
    def value(self) -> float:
        """The lower of both shares."""
        return min(self.measured, self.drawn)


IMPLAUSIBLE = Plausibility(0.0, 0.0, 6.0, 6.0)
"""Of an organ one of whose classes is empty."""


@dataclass(frozen=True, slots=True)
class ShapeModel:
    """What is usual of an organ."""

    classes: tuple[str, ...]
    mean: Float64Array  # (D,)
    precision: Float64Array  # (D, D), inverse covariance
    grid_mean: Float64Array  # (G,)
    components: Float64Array  # (K, G), orthonormal rows
    distances: Float64Array  # (N_LEVELS,) quantiles 0 … 1 of the training masks' distances
    misses: Float64Array  # likewise of what the components miss

    def _distance(self, measured: Float64Array) -> float:
        gap = measured - self.mean
        square = float(gap @ self.precision @ gap)
        return float(np.log1p(max(square, 0.0) / len(gap)))

    def _missed(self, grid: Float64Array) -> float:
        gap = grid - self.grid_mean
        rest = gap - (gap @ self.components.T) @ self.components
        return float(np.sqrt((rest**2).mean()))

    def score(self, regions: Sequence[BoolArray], image: UInt8Array) -> Plausibility:
        """How usual a mask is, by its regions (H, W), ordered as `classes`, of a grey image."""
        measured = organ_measures(regions, image)
        if measured is None:
            return IMPLAUSIBLE
        distance, missed = self._distance(measured), self._missed(organ_grid(regions))
        return Plausibility(
            _share_above(self.distances, distance),
            _share_above(self.misses, missed),
            min(distance, 6.0),
            min(float(np.log1p(missed / max(self.misses[N_LEVELS // 2], 1e-6))), 6.0),
        )

    def tensors(self) -> dict[str, Tensor]:
        """For safetensors, float32."""
        return {
            name: torch.from_numpy(np.ascontiguousarray(getattr(self, name), dtype=np.float32))
            for name in ("mean", "precision", "grid_mean", "components", "distances", "misses")
        }

    @staticmethod
    def of(classes: Sequence[str], tensors: Mapping[str, Tensor]) -> ShapeModel:
        """From `tensors()`.

        Raises:
            CheckpointError: one is missing.
        """
        try:
            arrays = {k: v.numpy().astype(np.float64) for k, v in tensors.items()}
            return ShapeModel(tuple(classes), **arrays)
        except TypeError as error:
            raise CheckpointError(f"Shapes of {', '.join(classes)}: {error}.") from error


def _share_above(levels: Float64Array, value: float) -> float:
    """Share of training masks with a value of at least this, by their quantiles."""
    return float(1 - np.interp(value, levels, np.linspace(0, 1, len(levels))))


def fit_shapes(
    classes: Sequence[str],
    masks: Sequence[Sequence[BoolArray]],
    images: Sequence[UInt8Array],
) -> ShapeModel:
    """Learn what is usual.

    Args:
        classes: "convention/class" of an organ.
        masks: One a film: regions (H, W) of the classes, in their order.
        images: Films (H, W).

    Raises:
        DataError: fewer than `MIN_MASKS` masks with every class.
    """
    pairs = [
        (found, organ_grid(one))
        for one, image in zip(masks, images, strict=True)
        if (found := organ_measures(one, image)) is not None
    ]
    if len(pairs) < MIN_MASKS:
        raise DataError(
            f"{len(pairs)} of {len(masks)} masks show {', '.join(classes)}; {MIN_MASKS} are needed "
            "to say what is usual. Give more films."
        )
    x, grids = np.stack([p[0] for p in pairs]), np.stack([p[1] for p in pairs])
    # how unusual training masks are is asked of fits that have not seen them
    fold = np.arange(len(x)) % FOLDS
    distances, misses = np.zeros(len(x)), np.zeros(len(x))
    for k in range(FOLDS):
        bare = _fit(classes, x[fold != k], grids[fold != k])
        for index in np.flatnonzero(fold == k):
            distances[index] = bare._distance(x[index])
            misses[index] = bare._missed(grids[index])
    levels = np.linspace(0, 1, N_LEVELS)
    return replace(
        _fit(classes, x, grids),
        distances=np.quantile(distances, levels),
        misses=np.quantile(misses, levels),
    )


def _fit(classes: Sequence[str], x: Float64Array, grids: Float64Array) -> ShapeModel:
    """Gaussian and components, without levels."""
    kept = np.ones(len(x), bool)
    for _ in range(2):
        mean, precision = _gaussian(x[kept])
        d = np.einsum("nd,de,ne->n", x - mean, precision, x - mean)
        kept = d <= np.quantile(d, 1 - TRIM)
    grid_mean = grids[kept].mean(0)
    _, _, rows = np.linalg.svd(grids[kept] - grid_mean, full_matrices=False)
    components = rows[: min(COMPONENTS, int(kept.sum()) // 4)]
    levels = np.linspace(0, 1, N_LEVELS)
    return ShapeModel(tuple(classes), mean, precision, grid_mean, components, levels, levels)


def _gaussian(x: Float64Array) -> tuple[Float64Array, Float64Array]:
    """Mean and inverse covariance, that of standardised measures a tenth shrunk to the identity."""
    mean, scale = x.mean(0), x.std(0) + 1e-3
    z = (x - mean) / scale
    covariance = (1 - SHRINK) * (z.T @ z) / len(z) + SHRINK * np.eye(z.shape[1])
    precision = np.linalg.inv(covariance) / np.outer(scale, scale)
    return mean, np.asarray(precision, dtype=np.float64)
