"""From a heat map to a coarse mask: thresholds that look at the map."""

from __future__ import annotations

import warnings
from collections.abc import Callable, Sequence

import numpy as np
import skimage
from numpy.typing import NDArray

from lungsynth.arrays import BoolArray, FloatArray
from lungsynth.errors import ConfigError, MaskError


def check_map(heat: NDArray[np.floating]) -> FloatArray:
    """The map as float32 (H, W), or a clear error.

    Raises:
        MaskError: not two-dimensional, under 2 pixels a side, not finite, or flat.
    """
    if heat.ndim != 2 or min(heat.shape) < 2:
        raise MaskError(f"`heat` is {heat.shape}; expected (H, W) of at least 2x2 pixels.")
    if not np.isfinite(heat).all():
        raise MaskError("`heat` holds NaN or infinity.")
    if float(np.ptp(heat)) < 1e-8:
        raise MaskError(
            f"`heat` is flat at {float(heat.flat[0]):.4g}: the word drew nothing in particular. "
            "Choose another word or seed."
        )
    return heat.astype(np.float32)


def otsu(heat: NDArray[np.floating]) -> float:
    """Otsu's threshold (scikit-image)."""
    return float(skimage.filters.threshold_otsu(check_map(heat)))


def half(heat: NDArray[np.floating]) -> float:
    """0.5: the threshold of a map that is a probability (a learnt class token)."""
    check_map(heat)
    return 0.5


def gmm(heat: NDArray[np.floating]) -> float:
    """Where two Gaussians fitted to the values are equally likely, between their means.

    Parameter-free; the label-free threshold of Dombrowski et al. 2024. Where one Gaussian is the
    likelier all the way between the means, the end of that way it does not hold is returned, so
    the threshold is always between the means.
    """
    import sklearn.mixture  # deferred: a second and a half, and only this threshold needs it

    values = check_map(heat).ravel().astype(np.float64)
    low, span = float(values.min()), float(np.ptp(values))
    unit = (values - low) / span  # the fit's floor on variances supposes a scale
    cut = (otsu(heat) - low) / span
    sample = unit[:: max(1, len(unit) // 16384), None]
    halves = [
        part.mean() if len(part) else end
        for part, end in ((unit[unit <= cut], 0.0), (unit[unit > cut], 1.0))
    ]
    fit = sklearn.mixture.GaussianMixture(
        2, means_init=np.array(halves)[:, None], random_state=0, max_iter=200
    )
    with warnings.catch_warnings():
        # a rough fit still has a crossing
        warnings.simplefilter("ignore", sklearn.exceptions.ConvergenceWarning)
        fit.fit(sample)
    order = np.argsort(fit.means_[:, 0])
    dark, bright = fit.means_[order, 0]
    between = np.linspace(dark, bright, 1025)
    is_bright = fit.predict_proba(between[:, None])[:, order[1]] > 0.5
    crossing = between[int(is_bright.argmax())] if is_bright.any() else bright
    return low + span * float(np.clip(crossing, 0, 1))


def gamma(
    heat: NDArray[np.floating], *, low: float = 0.45, high: float = 0.53, width: float = 0.01
) -> float:
    """DiffuMask's rule: the left edge of the fullest bin in [low, high) of the map over its maximum.

    Args:
        heat: (H, W), its greatest value above 0.
        low: Least threshold, as a share of the maximum.
        high: Greatest, not included.
        width: Of a bin.

    Raises:
        MaskError: see `check_map`; or nothing in the map is above 0.
    """
    top = float(check_map(heat).max())
    if top <= 0:
        raise MaskError(
            f"`heat` has no value above 0 (maximum {top:.4g}); expected a map in [0, 1]."
        )
    n_bins = round((high - low) / width)
    counts, edges = np.histogram(heat / top, bins=n_bins, range=(low, high))
    return float(edges[int(counts.argmax())]) * top


THRESHOLDS: dict[str, Callable[[NDArray[np.floating]], float]] = {
    "gamma": gamma,
    "gmm": gmm,
    "half": half,
    "otsu": otsu,
}


def threshold(heat: NDArray[np.floating], method: str) -> float:
    """The level a method sets, in the units of the map.

    Raises:
        MaskError: see `check_map`.
        ConfigError: unknown method.
    """
    if method not in THRESHOLDS:
        raise ConfigError(
            f"Threshold {method!r} is unknown; there are {', '.join(sorted(THRESHOLDS))}."
        )
    return THRESHOLDS[method](heat)


def coarse_mask(heat: NDArray[np.floating], method: str = "otsu") -> BoolArray:
    """Threshold a map.

    Args:
        heat: (H, W) float in [0, 1].
        method: A key of `THRESHOLDS`.

    Returns:
        (H, W) bool; never empty and never everything, since a map that is not flat has both sides
        of its own Otsu threshold, which stands in where the asked-for threshold leaves one empty.

    Raises:
        MaskError: see `check_map`.
        ConfigError: unknown method.
    """
    mask = heat > threshold(heat, method)
    if mask.any() and not mask.all():
        return np.asarray(mask)
    return np.asarray(heat > otsu(heat))


def shift_background(probability: FloatArray, levels: float | Sequence[float]) -> FloatArray:
    """Move the threshold of each class against the background.

    p_0 <- p_0 · θ_c / (1 - θ_c), c the most probable class of the pixel, then every pixel is scaled to
    sum to 1. So class c beats the background exactly where p_c / (p_c + p_0) > θ_c, and which class is
    the most probable one does not change. θ = 0.5 changes nothing.

    Args:
        probability: (classes + 1, H, W), background first.
        levels: θ in (0, 1), one for all classes or one each.

    Returns:
        (classes + 1, H, W) float32, each pixel sums to 1.

    Raises:
        ConfigError: a level outside (0, 1), or not one a class.
    """
    theta = np.asarray(levels, np.float32)
    if theta.ndim == 0:
        theta = theta.repeat(len(probability) - 1)
    if theta.shape != (len(probability) - 1,) or not ((theta > 0) & (theta < 1)).all():
        raise ConfigError(
            f"Levels {levels}: expected one number, or one for each of {len(probability) - 1} classes, "
            "above 0 and under 1."
        )
    odds = (theta / (1 - theta))[probability[1:].argmax(0)]
    shifted = probability.astype(np.float32).copy()
    shifted[0] *= odds
    return shifted / np.maximum(shifted.sum(0, keepdims=True), np.float32(1e-12))


def class_level(probability: FloatArray, index: int, method: str) -> float:
    """A threshold method's level for p_c / (p_c + p_0) of class `index`, kept within [0.05, 0.95].

    Raises:
        MaskError: see `check_map`.
        ConfigError: unknown method.
    """
    share = probability[index] / np.maximum(probability[index] + probability[0], 1e-12)
    return float(np.clip(threshold(share, method), 0.05, 0.95))
