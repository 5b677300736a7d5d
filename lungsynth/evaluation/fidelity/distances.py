"""Distances of two sets of features, and their intervals over random halves."""

from __future__ import annotations

from collections.abc import Callable, Iterator

import numpy as np

from lungsynth.arrays import Float64Array, IntArray
from lungsynth.evaluation.common import Interval

Distance = Callable[[Float64Array, Float64Array], float]


def frechet_distance(x: Float64Array, y: Float64Array) -> float:
    """Squared Frechet distance of two Gaussians fitted to features.

    `|μ_x - μ_y|² + tr(C_x + C_y - 2 (C_x C_y)^½)`, with the trace of the root taken from the
    eigenvalues of `C_x^½ C_y C_x^½`, which is symmetric.

    Args:
        x: (N, D) features.
        y: (M, D) features.

    Source:
        Heusel et al., NeurIPS 2017. Values are comparable only on features of one extractor.
    """
    gap = x.mean(0) - y.mean(0)
    cov_x, cov_y = np.cov(x, rowvar=False), np.cov(y, rowvar=False)
    values, vectors = np.linalg.eigh(cov_x)
    root = (vectors * np.sqrt(np.clip(values, 0, None))) @ vectors.T
    inner = np.linalg.eigvalsh(root @ cov_y @ root)
    cross = np.sqrt(np.clip(inner, 0, None)).sum()
    return float(gap @ gap + np.trace(cov_x) + np.trace(cov_y) - 2 * cross)


def kernel_distance(x: Float64Array, y: Float64Array) -> float:
    """Unbiased squared maximum mean discrepancy with the kernel `(x·y / D + 1)³`.

    Args:
        x: (N, D) features, N > 1.
        y: (M, D) features, M > 1.

    Returns:
        About 0 for sets of one distribution; may be slightly negative.

    Source:
        Binkowski et al., "Demystifying MMD GANs", ICLR 2018.
    """
    n_x, n_y = len(x), len(y)

    def kernel(a: Float64Array, b: Float64Array) -> Float64Array:
        return (a @ b.T / a.shape[1] + 1.0) ** 3

    within_x, within_y = kernel(x, x), kernel(y, y)
    return float(
        (within_x.sum() - np.trace(within_x)) / (n_x * (n_x - 1))
        + (within_y.sum() - np.trace(within_y)) / (n_y * (n_y - 1))
        - 2 * kernel(x, y).mean()
    )


def halves(
    x: Float64Array, y: Float64Array, n_subsamples: int, rng: np.random.Generator
) -> Iterator[tuple[IntArray, IntArray]]:
    """Indices of a random half of each set, drawn without replacement, `n_subsamples` times."""
    for _ in range(n_subsamples):
        yield (
            rng.choice(len(x), len(x) // 2, replace=False),
            rng.choice(len(y), len(y) // 2, replace=False),
        )


def subsampled(
    distance: Distance,
    x: Float64Array,
    y: Float64Array,
    n_subsamples: int,
    rng: np.random.Generator,
) -> Interval:
    """A distance with its interval, over random halves of both sets.

    Halves drawn without replacement spread about as much as fresh sets of the full number would,
    and unlike a bootstrap hold no picture twice.

    Returns:
        Mean and 2.5-97.5 percentiles over the halves; all of it at N/2 pictures a set.
    """
    draws = np.array([distance(x[i], y[j]) for i, j in halves(x, y, n_subsamples, rng)])
    return Interval.of(float(draws.mean()), draws)
