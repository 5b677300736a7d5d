"""Precision, recall, density and coverage of one set of features against another."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from sklearn.metrics.pairwise import euclidean_distances

from lungsynth.arrays import Float64Array, IntArray

NEIGHBOURS = 5
"""Neighbours that bound a ball, as in Naeem et al. 2020 (their recommendation)."""

MEASURES = ("precision", "recall", "density", "coverage")


@dataclass(frozen=True, slots=True)
class Distances:
    """Euclidean distances within and across two sets, so that parts of them cost nothing more."""

    real: Float64Array  # (N, N)
    drawn: Float64Array  # (M, M)
    across: Float64Array  # (N, M), rows real

    @classmethod
    def of(cls, real: Float64Array, drawn: Float64Array) -> Distances:
        """From features (N, D) and (M, D)."""
        middle = real.mean(0)  # far from 0, differences of squares lose digits
        x, y = real - middle, drawn - middle
        return cls(euclidean_distances(x), euclidean_distances(y), euclidean_distances(x, y))

    def part(self, rows: IntArray, columns: IntArray) -> Distances:
        """Those of some pictures of each set."""
        return Distances(
            self.real[np.ix_(rows, rows)],
            self.drawn[np.ix_(columns, columns)],
            self.across[np.ix_(rows, columns)],
        )


def precision_recall_density_coverage(
    distances: Distances, neighbours: int = NEIGHBOURS
) -> dict[str, float]:
    """How far two sets cover each other, by balls that reach to the k-th neighbour of the own set.

    Args:
        distances: Of N real and M drawn pictures.
        neighbours: k, less than N and M.

    Returns:
        `precision`: share of drawn pictures inside a ball of a real one. `recall`: share of real
        ones inside a ball of a drawn one. `density`: balls of real pictures around a drawn one, over
        k; about 1 for sets of one distribution, and not bounded by it. `coverage`: share of real
        pictures whose ball holds a drawn one; about 1 - 2^-k for sets of one distribution and size.

    Source:
        Kynkäänniemi et al., "Improved precision and recall metric", NeurIPS 2019; Naeem et al.,
        "Reliable fidelity and diversity metrics for generative models", ICML 2020.
    """
    radius_real = np.partition(distances.real, neighbours, axis=1)[:, neighbours]  # 0: itself
    radius_drawn = np.partition(distances.drawn, neighbours, axis=1)[:, neighbours]
    within_real = distances.across < radius_real[:, None]
    within_drawn = distances.across < radius_drawn[None, :]
    return {
        "precision": float(within_real.any(0).mean()),
        "recall": float(within_drawn.any(1).mean()),
        "density": float(within_real.sum(0).mean() / neighbours),
        "coverage": float(within_real.any(1).mean()),
    }
