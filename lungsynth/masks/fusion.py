"""Every refinement: how the random walk and the DenseCRF are put together, and each alone.

p is the class probability (C, H, W) of an image I, background first; γ a level in (0, 1).

    walk        V(p)  = up(T^t down(p))               down: area mean to the field's grid; up: bilinear
    CRF         Q(p)  = mean-field posterior of the CRF of I with the unary of p

    affinity            V(p)
    sequential          Q(V(p))                                   the walk first, then the CRF
    cross               Q(p_γ*),  γ* = argmax_γ Dice(argmax Q(p_γ), argmax V(p))
                        p_γ: p with the background moved so that class c wins where
                        p_c / (p_c + p_0) > γ (`lungsynth.masks.coarse.shift_background`)
    cross-product       Q(p)^w · V(p)^(1 - w), scaled to sum to 1 in each pixel
    cross-mutual        q_0 = p;  q_r = Q(V(q_{r-1})), r = 1 … n_rounds

`sequential` and `cross` are the two orders Pi & Shan (2025) name; their equations were not available,
so these are readings of ours. `cross` is DiffuMask's rule (Wu et al. 2023): the CRF proposes one
candidate per γ, the walk only judges. `cross-product` and `cross-mutual` are rivals of ours; the latter
with one round is `sequential`. Dice of several classes is the mean over the foreground classes.
"""

from __future__ import annotations

from collections.abc import Callable, Hashable, Iterator, Sequence
from contextlib import contextmanager
from contextvars import ContextVar
from dataclasses import replace
from functools import lru_cache
from hashlib import blake2b
from typing import Any, TypeVar

import numpy as np
from numpy.typing import NDArray

from lungsynth.arrays import FloatArray, UInt8Array
from lungsynth.errors import ConfigError, ShapeError
from lungsynth.masks.coarse import shift_background
from lungsynth.masks.crf import CrfConfig, DenseCrf, dense_crf
from lungsynth.masks.registry import RefineConfig, refinement
from lungsynth.masks.walk import AffinityField, random_walk

TOKEN_GAMMAS = tuple(round(0.2 + 0.05 * k, 2) for k in range(13))
"""γ 0.20 … 0.80: for probabilities of learnt tokens."""

WORD_GAMMAS = tuple(round(0.35 + 0.01 * k, 2) for k in range(20))
"""γ 0.35 … 0.54: DiffuMask's, for a word's map over its maximum."""


T = TypeVar("T")
Store = dict[str, tuple[Hashable, Any]]
"""Step -> (what its last result depends on, that result)."""

_store: ContextVar[Store | None] = ContextVar("store", default=None)


@contextmanager
def keeping(store: Store) -> Iterator[None]:
    """Inside it, the last result of each step is kept in `store` and found there.

    A slider on the page changes the CRF and not the walk before it: every step looks up its last result
    before it computes it, whichever refinement runs.
    """
    before = _store.set(store)
    try:
        yield
    finally:
        _store.reset(before)


def kept(step: str, key: Callable[[], Hashable], compute: Callable[[], T]) -> T:
    """The step's last result where its key is the same, else a new one.

    Args:
        step: Name of the step.
        key: Gives everything the result depends on; not called where nothing is kept.
        compute: Makes the result.
    """
    store = _store.get()
    if store is None:
        return compute()
    now = key()
    if step not in store or store[step][0] != now:
        store[step] = (now, compute())
    result: T = store[step][1]
    return result


def digest(array: NDArray[Any]) -> bytes:
    """Of an array's bytes, shape and dtype: equal arrays have equal digests."""
    found = blake2b(repr((array.shape, array.dtype.str)).encode(), digest_size=16)
    found.update(np.ascontiguousarray(array).data)
    return found.digest()


@lru_cache(maxsize=64)
def _area_weights(n_in: int, n_out: int) -> FloatArray:
    """(n_out, n_in): the share each input cell has in each output cell; rows sum to 1."""
    edges = np.linspace(0, n_in, n_out + 1)
    cells = np.arange(n_in)
    overlap = np.minimum(edges[1:, None], cells + 1) - np.maximum(edges[:-1, None], cells)
    return (np.clip(overlap, 0, None) * n_out / n_in).astype(np.float32)


@lru_cache(maxsize=64)
def _bilinear_weights(n_in: int, n_out: int) -> FloatArray:
    """(n_out, n_in): linear interpolation between cell centres (align_corners=False), held at the ends."""
    centre = np.clip((np.arange(n_out) + 0.5) * n_in / n_out - 0.5, 0, n_in - 1)
    low = np.minimum(centre.astype(int), max(n_in - 2, 0))
    share = (centre - low).astype(np.float32)
    weights = np.zeros((n_out, n_in), np.float32)
    weights[np.arange(n_out), low] = 1 - share
    weights[np.arange(n_out), np.minimum(low + 1, n_in - 1)] += share
    return weights


def area_mean(maps: FloatArray, height: int, width: int) -> FloatArray:
    """(C, H, W) -> (C, height, width), smaller: the exact mean over each cell's area."""
    rows, columns = _area_weights(maps.shape[1], height), _area_weights(maps.shape[2], width)
    return rows @ maps.astype(np.float32) @ columns.T


def bilinear(maps: FloatArray, height: int, width: int) -> FloatArray:
    """(C, h, w) -> (C, height, width), larger; as torch's `interpolate` with align_corners=False."""
    rows, columns = (
        _bilinear_weights(maps.shape[1], height),
        _bilinear_weights(maps.shape[2], width),
    )
    return rows @ maps.astype(np.float32) @ columns.T


def affinity(
    probability: FloatArray, field: AffinityField, *, beta: float = 8.0, n_steps: int = 256
) -> FloatArray:
    """V(p): the probability walked on the field's grid and brought back to (C, H, W).

    Raises:
        ShapeError: the field is finer than the image or of another shape of rectangle.
        MaskError: the probability is not finite.
    """
    _, height, width = probability.shape
    h, w = field.height, field.width
    if h > height or w > width or abs(h * width - w * height) >= max(height, width):
        raise ShapeError(
            f"The affinity field is {h}x{w}, the image {height}x{width}; expected a grid no finer than "
            "the image and of its proportions. Compute the field from this very image."
        )

    def walk() -> FloatArray:
        small = area_mean(probability, h, w)
        return bilinear(random_walk(field, small, beta=beta, n_steps=n_steps), height, width)

    return kept("walk", lambda: (digest(probability), id(field), beta, n_steps), walk)


def propose(
    probability: FloatArray,
    image: UInt8Array,
    gammas: Sequence[float],
    *,
    crf: CrfConfig | None = None,
) -> list[FloatArray]:
    """The CRF's candidates Q(p_γ), one (C, H, W) posterior per γ.

    Raises:
        ConfigError: no γ, or one outside (0, 1).
    """
    if not gammas:
        raise ConfigError("No γ to try; expected levels such as 0.4, 0.5, 0.6.")

    def candidates() -> list[FloatArray]:
        infer = DenseCrf(image, len(probability), crf)
        return [infer(shift_background(probability, gamma)) for gamma in gammas]

    def key() -> tuple[object, ...]:
        return digest(probability), digest(image), tuple(gammas), crf

    return kept("candidates", key, candidates)


def agreement(one: FloatArray, two: FloatArray) -> float:
    """Mean over the foreground classes of the Dice of two posteriors' argmax, in [0, 1].

    A class neither has counts as agreed.
    """
    a, b = one.argmax(0), two.argmax(0)
    n = len(one)
    total = np.bincount(a.ravel(), minlength=n) + np.bincount(b.ravel(), minlength=n)
    both = np.bincount(a[a == b], minlength=n)
    return float(np.where(total > 0, 2 * both / np.maximum(total, 1), 1.0)[1:].mean())


def choose(candidates: Sequence[FloatArray], walked: FloatArray, gammas: Sequence[float]) -> int:
    """Index of the candidate that agrees best with the walk; of several, that of γ nearest 0.5."""
    scores = [
        (agreement(candidate, walked), -abs(gamma - 0.5))
        for candidate, gamma in zip(candidates, gammas, strict=True)
    ]
    return max(range(len(scores)), key=scores.__getitem__)


CRF_STAGE = "DenseCRF"
"""Title of the picture of what the CRF made."""


@refinement("none", stage="")
def none(
    p: FloatArray, image: UInt8Array, config: RefineConfig, field: AffinityField | None
) -> FloatArray:
    """The probability as it is."""
    return p


@refinement("crf", stage=CRF_STAGE)
def crf_alone(
    p: FloatArray, image: UInt8Array, config: RefineConfig, field: AffinityField | None
) -> FloatArray:
    """DenseCRF alone."""
    return kept(
        "crf",
        lambda: (digest(p), digest(image), config.crf),
        lambda: dense_crf(p, image, config.crf),
    )


@refinement("affinity", needs_affinity=True, stage="")
def walked(
    p: FloatArray, image: UInt8Array, config: RefineConfig, field: AffinityField | None
) -> FloatArray:
    """The random walk alone."""
    assert field is not None  # `lungsynth.masks.refine.refine` saw to it
    return affinity(p, field, beta=config.beta, n_steps=config.n_steps)


@refinement("sequential", needs_affinity=True, stage=CRF_STAGE)
def sequential(
    p: FloatArray, image: UInt8Array, config: RefineConfig, field: AffinityField | None
) -> FloatArray:
    """The walk, then the CRF."""
    return cross_mutual(p, image, replace(config, n_rounds=1), field)


@refinement("cross", needs_affinity=True, searches_level=True, stage=CRF_STAGE)
def cross(
    p: FloatArray, image: UInt8Array, config: RefineConfig, field: AffinityField | None
) -> FloatArray:
    """The CRF's candidate the walk agrees with best."""
    gammas = TOKEN_GAMMAS if config.gammas is None else config.gammas
    judge = walked(p, image, config, field)
    candidates = propose(p, image, gammas, crf=config.crf)
    return candidates[choose(candidates, judge, gammas)]


@refinement("cross-product", needs_affinity=True, stage=CRF_STAGE)
def cross_product(
    p: FloatArray, image: UInt8Array, config: RefineConfig, field: AffinityField | None
) -> FloatArray:
    """Walk and CRF multiplied."""
    w, crf = config.fusion_weight, DenseCrf(image, len(p), config.crf)
    log = w * np.log(np.maximum(crf(p), 1e-8))
    log += (1 - w) * np.log(np.maximum(walked(p, image, config, field), 1e-8))
    product = np.exp(log - log.max(0, keepdims=True))
    return np.asarray(product / product.sum(0, keepdims=True), dtype=np.float32)


@refinement("cross-mutual", needs_affinity=True, stage=CRF_STAGE)
def cross_mutual(
    p: FloatArray, image: UInt8Array, config: RefineConfig, field: AffinityField | None
) -> FloatArray:
    """Walk and CRF in turn."""
    crf = DenseCrf(image, len(p), config.crf)
    for _ in range(config.n_rounds):  # the walk starts again from the CRF's posterior each round
        p = crf(walked(p, image, config, field))
    return p
