"""Random walk over an affinity field: the spreading step of AffinityNet, by sparse products.

    T = D⁻¹ A^∘β,   D_ii = Σ_j (A_ij)^β,   vec(M*) = T^t vec(M)            (Ahn & Kwak 2018, eq. 6-7)

A_ij is the affinity of nodes i and j of a small grid, known for pairs nearer than a radius and 0 for
the rest; A_ii = 1. A is symmetric.

**Normalisation.** T is row-stochastic and multiplies a column of node values, so a new value is a
weighted mean of its neighbours': values stay between the least and the greatest start value, and the
class probabilities of a node go on summing to 1. psa's code divides by the sums of columns and
multiplies a row of node values from the left; A being symmetric, that is the same map.

**Fewer products than steps.** T is similar to a symmetric matrix with eigenvalues in [-1, 1], and

    x^t = Σ_k P(|S_t| = k) · T_k(x),   S_t the sum of t fair ±1 draws, T_k the k-th Chebyshev polynomial,

so the terms with k beyond a few √t may go: leaving out a tail of probability ε changes the result by
at most ε · ‖M‖ in the norm weighted by D (Sachdeva & Vishnoi 2014, theorem 3.3). t = 256 then costs
about 80 sparse products. `tolerance=0` does all t of them.
"""

from __future__ import annotations

import math
from collections.abc import Callable
from dataclasses import dataclass
from functools import lru_cache
from typing import Any

import numpy as np
import scipy

from lungsynth.arrays import Float64Array, FloatArray
from lungsynth.errors import ConfigError, MaskError, ShapeError

Offset = tuple[int, int]
Offsets = tuple[Offset, ...]


def half_disc(radius: int) -> Offsets:
    """Offsets (dy, dx) to the neighbours nearer than `radius`, one of each opposite pair.

    Radius 5 gives 34: with the opposite ones and the node itself, 69 entries a row of A.

    Raises:
        ConfigError: radius under 2, which has no neighbour.
    """
    if radius < 2:
        raise ConfigError(
            f"radius={radius}: no neighbour is nearer; expected 2 or more (psa uses 5)."
        )
    near = range(-radius + 1, radius)
    return tuple(
        (dy, dx)
        for dy in range(radius)
        for dx in near
        if (dy > 0 or dx > 0) and dy * dy + dx * dx < radius * radius
    )


@dataclass(frozen=True, eq=False)
class AffinityField:
    """Affinities of the nodes of an (h, w) grid with their neighbours.

    `values[k, y, x]` is the affinity of (y, x) and (y + dy, x + dx), `(dy, dx) = offsets[k]`. The
    opposite direction is implied, a node's affinity with itself is 1, and values whose neighbour lies
    outside the grid are not read.

    Raises:
        ShapeError: the array does not fit offsets and size, or an offset or its opposite is doubled.
        MaskError: a value is not finite or outside [0, 1].
    """

    values: FloatArray  # (len(offsets), height, width) in [0, 1]
    offsets: Offsets
    height: int
    width: int
    classes: tuple[str, ...] | None = None  # its network was trained on; None = it says nothing

    def __post_init__(self) -> None:
        expected = (len(self.offsets), self.height, self.width)
        if self.values.shape != expected or min(expected) < 1:
            raise ShapeError(
                f"Affinity values are {self.values.shape}; expected (offsets, height, width) = {expected}, "
                "each at least 1."
            )
        if len(_full_disc(self.offsets)) != 2 * len(self.offsets) + 1:
            raise ShapeError(
                "Affinity offsets hold (0, 0), one twice, or one and its opposite; see `half_disc`."
            )
        low, high = float(self.values.min()), float(self.values.max())
        if not (low >= 0 and high <= 1):  # NaN fails too
            raise MaskError(
                f"Affinities go from {low:.4g} to {high:.4g}; expected finite values in [0, 1], "
                "such as exp(-|difference of features|)."
            )


def _full_disc(offsets: Offsets) -> list[Offset]:
    """The offsets, their opposites and (0, 0), in order."""
    return sorted({(0, 0), *offsets, *((-dy, -dx) for dy, dx in offsets)})


def _stencil(values: Any, offsets: Offsets, out: Any) -> Any:
    """Fill `out` (2K + 1, h, w) with the affinity of every node with every neighbour; 0 outside."""
    height, width = values.shape[-2:]
    place = {offset: index for index, offset in enumerate(_full_disc(offsets))}
    out[place[0, 0]] = 1
    for k, (dy, dx) in enumerate(offsets):
        y0, y1 = max(0, -dy), min(height, height - dy)
        x0, x1 = max(0, -dx), min(width, width - dx)
        if y0 >= y1 or x0 >= x1:
            continue  # farther than the grid is wide
        known = values[k, y0:y1, x0:x1]
        out[place[dy, dx], y0:y1, x0:x1] = known
        out[place[-dy, -dx], y0 + dy : y1 + dy, x0 + dx : x1 + dx] = known
    return out


def transition(field: AffinityField, *, beta: float = 8.0) -> Any:
    """T of the field as a `scipy.sparse.dia_array` (h·w, h·w), float64; every row sums to 1.

    By diagonals, since a product with them runs along memory: several times as fast as by rows (CSR). In
    float64, since the rounding of 256 steps of float32 is seen in the sums of classes (4e-5).
    """
    _check_walk(beta, 0, 0.0)
    h, w = field.height, field.width
    powered = field.values.astype(np.float64) ** beta
    disc = _full_disc(field.offsets)
    full = _stencil(powered, field.offsets, np.zeros((len(disc), h, w)))
    full /= full.sum(0)
    n = h * w
    diagonals: dict[int, Float64Array] = {}
    for (dy, dx), entries in zip(disc, full.reshape(len(disc), n), strict=True):
        shift = dy * w + dx
        if abs(shift) >= n:
            continue  # farther than the grid is wide
        # on a narrow grid two offsets may share a diagonal, never an entry
        row = diagonals.setdefault(shift, np.zeros(n))
        if shift >= 0:
            row[shift:] += entries[: n - shift]
        else:
            row[:shift] += entries[-shift:]
    return scipy.sparse.dia_array(
        (np.stack(list(diagonals.values())), list(diagonals)), shape=(n, n)
    )


@lru_cache(maxsize=64)
def chebyshev_weights(n_steps: int, tolerance: float) -> tuple[float, ...] | None:
    """P(|S_t| = k) for k = 0, 1, … without a tail of at most `tolerance`, scaled to sum to 1.

    None where that saves nothing over `n_steps` products.
    """
    if tolerance <= 0 or n_steps < 2:
        return None
    counts = np.arange(n_steps // 2 + 1)  # draws of the rarer sign: k = n - 2 counts
    log_p = [
        math.lgamma(n_steps + 1)
        - math.lgamma(c + 1)
        - math.lgamma(n_steps - c + 1)
        - n_steps * math.log(2)
        + (0.0 if 2 * c == n_steps else math.log(2))
        for c in counts.tolist()
    ]
    weights = np.zeros(n_steps + 1)
    weights[n_steps - 2 * counts] = np.exp(log_p)
    tail = np.cumsum(weights[::-1])[::-1]  # tail[k] = P(|S_t| >= k)
    degree = int((tail > tolerance).sum()) - 1
    if degree >= n_steps:
        return None
    kept = weights[: degree + 1]
    return tuple((kept / kept.sum()).tolist())


def _iterate(step: Callable[[Any], Any], start: Any, n_steps: int, tolerance: float) -> Any:
    """T^n_steps · start, where `step` multiplies by T."""
    weights = chebyshev_weights(n_steps, tolerance)
    before = start
    if weights is None:
        for _ in range(n_steps):
            before = step(before)
        return before
    now = step(start)
    total = weights[0] * before + weights[1] * now
    for weight in weights[2:]:  # T_{k+1} = 2 T T_k - T_{k-1}
        before, now = now, 2 * step(now) - before
        if weight:
            total = total + weight * now
    return total


def random_walk(
    field: AffinityField,
    start: FloatArray,
    *,
    beta: float = 8.0,
    n_steps: int = 256,
    tolerance: float = 1e-6,
) -> FloatArray:
    """Values after `n_steps` steps of the walk.

    Args:
        field: Affinities on an (h, w) grid.
        start: (C, h, w) float32, all classes at once.
        beta: β, exponent of the affinities; higher keeps the walk behind weaker borders.
        n_steps: t; 0 returns the start.
        tolerance: Tail left out of the Chebyshev series (module docstring), a bound on the difference
            from exactly `n_steps` products; 0 does them all.

    Returns:
        (C, h, w) float32; each class within the least and greatest of its start values, and sums over
        classes of 1 stay 1 (to float32 accuracy).

    Raises:
        ShapeError: `start` is not (C, h, w) of the field.
        MaskError: `start` is not finite.
        ConfigError: β not above 0, steps or tolerance below 0.
    """
    _check_walk(beta, n_steps, tolerance)
    if start.ndim != 3 or start.shape[1:] != (field.height, field.width) or len(start) < 1:
        raise ShapeError(
            f"`start` is {start.shape}; expected (classes, {field.height}, {field.width}) of the field."
        )
    if not np.isfinite(start).all():
        raise MaskError("`start` holds NaN or infinity; the map it came from is broken.")
    if n_steps == 0:
        return start.astype(np.float32)
    flat = start.reshape(len(start), -1).astype(np.float64)
    matrix = transition(field, beta=beta)

    # one class a product: it stays in the cache
    def step(state: Float64Array) -> Float64Array:
        return np.stack([matrix @ row for row in state])

    walked = _iterate(step, flat, n_steps, tolerance)
    # what the series leaves out may pass the bounds by as much
    walked = np.clip(walked, flat.min(1, keepdims=True), flat.max(1, keepdims=True))
    return walked.astype(np.float32).reshape(start.shape)


def _check_walk(beta: float, n_steps: int, tolerance: float) -> None:
    if not beta > 0 or not math.isfinite(beta):
        raise ConfigError(f"beta={beta}: expected a number above 0 (psa uses 8, DiffuMask 16).")
    if n_steps < 0:
        raise ConfigError(f"n_steps={n_steps}: expected 0 or more (psa uses 256).")
    if not tolerance >= 0:
        raise ConfigError(f"tolerance={tolerance}: expected 0 or more.")
