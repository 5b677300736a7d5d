"""DenseCRF behind one function, with the paper's parameter names and widths relative to image size.

    k(i, j) = w_appearance · exp(-|p_i - p_j|² / 2θ_α² - |I_i - I_j|² / 2θ_β²)
            + w_smoothness · exp(-|p_i - p_j|² / 2θ_γ²)

Krähenbühl & Koltun, NIPS 2011, eq. 3; inference by the package pydensecrf.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from lungsynth.errors import MaskError, MissingDependencyError, ShapeError


@dataclass(frozen=True, kw_only=True)
class CrfConfig:
    """Kernel widths and weights."""

    theta_alpha: float = 0.08  # θ_α, position width of the appearance kernel, share of the longer side
    theta_beta: float = 10.0  # θ_β, intensity width of the appearance kernel, grey levels (0-255)
    theta_gamma: float = 0.008  # θ_γ, position width of the smoothness kernel, share of the longer side
    w_appearance: float = 4.0  # weight of the appearance kernel
    w_smoothness: float = 3.0  # weight of the smoothness kernel
    n_iters: int = 5  # mean-field iterations


def dense_crf(
    probability: NDArray[np.float32], image: NDArray[np.uint8], config: CrfConfig | None = None
) -> NDArray[np.float32]:
    """Posterior of a fully connected CRF with a soft unary.

    Args:
        probability: (classes, H, W), each pixel sums to 1, values in [0, 1].
        image: (H, W) grey uint8.
        config: Kernel widths and weights; None for the defaults.

    Returns:
        (classes, H, W) float32, each pixel sums to 1. With both weights 0 or no iteration this is
        the unary itself (up to clipping at 1e-6).

    Raises:
        ShapeError: image and probability differ in size.
        MaskError: the probability is not finite.
        MissingDependencyError: pydensecrf is not installed.
    """
    config = config or CrfConfig()
    if probability.ndim != 3 or probability.shape[1:] != image.shape:
        raise ShapeError(
            f"`probability` is {probability.shape}, `image` is {image.shape}; expected "
            "(classes, H, W) and (H, W) of one size."
        )
    if not np.isfinite(probability).all():
        raise MaskError("`probability` holds NaN or infinity; the map it came from is broken.")
    clipped = np.clip(probability, 1e-6, 1.0).astype(np.float32)
    clipped /= clipped.sum(0, keepdims=True)
    if config.n_iters == 0 or (config.w_appearance == 0 and config.w_smoothness == 0):
        return clipped
    try:
        from pydensecrf import densecrf
        from pydensecrf.utils import create_pairwise_bilateral
    except ImportError as error:
        raise MissingDependencyError(
            "DenseCRF needs pydensecrf: pip install pydensecrf2==1.1 (imported as pydensecrf)."
        ) from error
    n_classes, height, width = clipped.shape
    side = max(height, width)
    model = densecrf.DenseCRF2D(width, height, n_classes)
    model.setUnaryEnergy(np.ascontiguousarray(-np.log(clipped).reshape(n_classes, -1)))
    if config.w_smoothness:
        sigma = max(config.theta_gamma * side, 0.3)
        model.addPairwiseGaussian(sxy=(sigma, sigma), compat=config.w_smoothness)
    if config.w_appearance:
        sigma = max(config.theta_alpha * side, 0.3)
        features = create_pairwise_bilateral(
            sdims=(sigma, sigma), schan=(config.theta_beta,), img=image[..., None], chdim=2
        )
        model.addPairwiseEnergy(features, compat=config.w_appearance)
    posterior = np.array(model.inference(config.n_iters), dtype=np.float32)
    return posterior.reshape(n_classes, height, width)
