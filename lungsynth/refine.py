"""From a probability map to a mask: every way of refining, behind one table.

Each refinement is a function (probability of each class, image, config) -> posterior of each class.
`none` and `crf` stand here; refinements that walk over an affinity graph register themselves with
`@refinement("name")` and are then known to every command.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, field

import numpy as np
from numpy.typing import NDArray

from lungsynth.coarse import THRESHOLDS
from lungsynth.crf import CrfConfig, dense_crf
from lungsynth.errors import ConfigError

FloatArray = NDArray[np.float32]
Refinement = Callable[[FloatArray, NDArray[np.uint8], "RefineConfig"], FloatArray]


@dataclass(frozen=True, kw_only=True)
class RefineConfig:
    """How a mask is made from a map."""

    method: str = "crf"  # a key of REFINEMENTS
    threshold: str = "auto"  # "half" for learnt tokens, "otsu" for words, or either by name
    label_confidence: float = 0.7  # probability given to a thresholded word map's own side
    crf: CrfConfig = field(default_factory=CrfConfig)
    clean_up: bool = True  # keep the two largest parts, fill their holes
    n_parts: int = 2  # parts kept by the clean-up
    min_part: float = 0.005  # smaller parts (share of the image) go, the largest stays


REFINEMENTS: dict[str, Refinement] = {}


def refinement(name: str) -> Callable[[Refinement], Refinement]:
    """Register a refinement under a name."""

    def register(function: Refinement) -> Refinement:
        REFINEMENTS[name] = function
        return function

    return register


@refinement("none")
def _none(probability: FloatArray, image: NDArray[np.uint8], config: RefineConfig) -> FloatArray:
    return probability


@refinement("crf")
def _crf(probability: FloatArray, image: NDArray[np.uint8], config: RefineConfig) -> FloatArray:
    return dense_crf(probability, image, config.crf)


def check_config(config: RefineConfig) -> None:
    """Refuse names that are in no table, before anything is computed.

    Raises:
        ConfigError: the method or the threshold is unknown.
    """
    if config.method not in REFINEMENTS:
        raise ConfigError(
            f"Refinement {config.method!r} is unknown; there are {', '.join(sorted(REFINEMENTS))}."
        )
    if config.threshold not in ("auto", *THRESHOLDS):
        raise ConfigError(
            f"Threshold {config.threshold!r} is unknown; there are auto, {', '.join(sorted(THRESHOLDS))}."
        )


def refine(probability: FloatArray, image: NDArray[np.uint8], config: RefineConfig) -> FloatArray:
    """Posterior (classes, H, W) by the configured method.

    Raises:
        ConfigError: the method is unknown.
    """
    check_config(config)
    return REFINEMENTS[config.method](probability, image, config)


def clean(mask: NDArray[np.bool_], *, n_parts: int = 2, min_part: float = 0.005) -> NDArray[np.bool_]:
    """Keep the largest parts of a mask and fill their holes.

    Args:
        mask: (H, W) bool.
        n_parts: How many connected parts (8-neighbourhood) stay.
        min_part: Parts under this share of the image go, except the largest.

    Returns:
        (H, W) bool.
    """
    from scipy import ndimage

    labels, n = ndimage.label(mask, structure=np.ones((3, 3)))
    if n == 0:
        return mask.copy()
    areas = np.bincount(labels.ravel())[1:]
    order = np.argsort(-areas, kind="stable")[:n_parts]
    keep = [i + 1 for k, i in enumerate(order) if k == 0 or areas[i] >= min_part * mask.size]
    kept = np.isin(labels, keep)
    return np.asarray(ndimage.binary_fill_holes(kept), dtype=bool)
