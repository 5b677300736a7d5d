"""From a heat map to a coarse mask: thresholds that look at the map."""

from __future__ import annotations

from collections.abc import Callable

import numpy as np
from numpy.typing import NDArray

from lungsynth.errors import ConfigError, MaskError


def check_map(heat: NDArray[np.floating]) -> NDArray[np.float32]:
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
    from skimage.filters import threshold_otsu

    return float(threshold_otsu(check_map(heat)))


def half(heat: NDArray[np.floating]) -> float:
    """0.5: the threshold of a map that is a probability (a learnt class token)."""
    check_map(heat)
    return 0.5


THRESHOLDS: dict[str, Callable[[NDArray[np.floating]], float]] = {"otsu": otsu, "half": half}


def coarse_mask(heat: NDArray[np.floating], method: str = "otsu") -> NDArray[np.bool_]:
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
    if method not in THRESHOLDS:
        raise ConfigError(f"Threshold {method!r} is unknown; there are {', '.join(sorted(THRESHOLDS))}.")
    mask = heat > THRESHOLDS[method](heat)
    if mask.any() and not mask.all():
        return np.asarray(mask)
    return np.asarray(heat > otsu(heat))
