"""DenseCRF behind one function, with the paper's parameter names and widths relative to image size.

    k(i, j) = w_appearance · exp(-|p_i - p_j|² / 2θ_α² - |I_i - I_j|² / 2θ_β²)
            + w_smoothness · exp(-|p_i - p_j|² / 2θ_γ²)

Krähenbühl & Koltun, NIPS 2011, eq. 3; inference by the package pydensecrf. The unary is

    soft:  ψ_i(c) = -log p_i(c)
    hard:  ψ_i(c) = -log gt_prob                           for c = argmax p_i,
                    -log((1 - gt_prob) / (classes - 1))    for the others,

the second being what psa, IRN and DiffuMask make their labels with.
"""

from __future__ import annotations

import math
from dataclasses import dataclass

import numpy as np

from lungsynth.arrays import FloatArray, UInt8Array
from lungsynth.errors import ConfigError, MaskError, MissingDependencyError, ShapeError

UNARIES = ("soft", "hard")


@dataclass(frozen=True, kw_only=True)
class CrfConfig:
    """Kernel widths and weights, and how the unary is made; the side is the longer one."""

    theta_alpha: float = 0.02  # θ_α, position width of the appearance kernel, share of the side
    theta_beta: float = 5.0  # θ_β, intensity width of the appearance kernel, grey levels (0-255)
    theta_gamma: float = 0.008  # θ_γ, position width of the smoothness kernel, share of the side
    w_appearance: float = 1.0  # weight of the appearance kernel
    w_smoothness: float = 1.0  # weight of the smoothness kernel
    n_iters: int = 5  # mean-field iterations
    unary: str = "soft"  # "soft" = the probability, "hard" = its most probable class at gt_prob
    gt_prob: float = 0.7  # probability of the label under unary="hard"; no effect on "soft"


def check_crf(config: CrfConfig) -> None:
    """Refuse values out of range.

    Raises:
        ConfigError: names the value and its range.
    """
    for name in ("theta_alpha", "theta_beta", "theta_gamma"):
        value = getattr(config, name)
        if not (value > 0 and math.isfinite(value)):
            raise ConfigError(f"CRF {name}={value}: expected a width above 0.")
    for name in ("w_appearance", "w_smoothness"):
        value = getattr(config, name)
        if not (value >= 0 and math.isfinite(value)):
            raise ConfigError(f"CRF {name}={value}: expected 0 (off) or more.")
    if not 0 <= config.n_iters <= 1000:
        raise ConfigError(f"CRF n_iters={str(config.n_iters)[:40]}: expected 0 (off) to 1000.")
    if config.unary not in UNARIES:
        raise ConfigError(f"CRF unary {config.unary!r} is unknown; there are {', '.join(UNARIES)}.")
    if not 0 < config.gt_prob < 1:
        raise ConfigError(
            f"CRF gt_prob={config.gt_prob}: expected above 0 and under 1 (psa uses 0.7)."
        )


def unary_probability(probability: FloatArray, config: CrfConfig | None = None) -> FloatArray:
    """exp(-ψ) of the module docstring: (classes, H, W) float32, each pixel sums to 1, none under 1e-6.

    Raises:
        ConfigError: unary="hard" whose gt_prob does not make the label the most probable class.
    """
    config = config or CrfConfig()
    if config.unary == "hard":
        n = len(probability)
        if n < 2 or config.gt_prob <= 1 / n:
            raise ConfigError(
                f"CRF gt_prob={config.gt_prob} with {n} classes: the label would not be the most "
                f"probable; expected 2 classes or more and a value above 1/{n}."
            )
        labels = np.arange(n)[:, None, None] == probability.argmax(0)
        return np.where(labels, config.gt_prob, (1 - config.gt_prob) / (n - 1)).astype(np.float32)
    clipped = np.clip(probability, 1e-6, 1.0).astype(np.float32)
    clipped /= clipped.sum(0, keepdims=True)
    return clipped


class DenseCrf:
    """The CRF of one image, built once for any number of unaries.

    Building the kernels takes about as long as an inference, so a search over candidates shares them.

    Args:
        image: (H, W) grey uint8.
        n_classes: Background included.
        config: Kernel widths and weights; None for the defaults.

    Raises:
        ShapeError: the image is not (H, W).
        ConfigError: see `check_crf`.
        MissingDependencyError: pydensecrf is not installed.
    """

    def __init__(self, image: UInt8Array, n_classes: int, config: CrfConfig | None = None) -> None:
        self.config = config = config or CrfConfig()
        check_crf(config)
        if image.ndim != 2 or min(image.shape) < 1:
            raise ShapeError(f"`image` is {image.shape}; expected (H, W).")
        self.shape = (n_classes, *image.shape)
        self._model = None
        if config.n_iters == 0 or (config.w_appearance == 0 and config.w_smoothness == 0):
            return  # the posterior is the unary
        try:
            from pydensecrf import densecrf, utils  # optional: only this needs it
        except ImportError as error:
            raise MissingDependencyError(
                "DenseCRF needs pydensecrf: pip install pydensecrf2==1.1 (imported as pydensecrf)."
            ) from error
        height, width = image.shape
        side = max(height, width)
        self._model = densecrf.DenseCRF2D(width, height, n_classes)
        if config.w_smoothness:
            sigma = max(config.theta_gamma * side, 0.3)
            self._model.addPairwiseGaussian(sxy=(sigma, sigma), compat=config.w_smoothness)
        if config.w_appearance:
            sigma = max(config.theta_alpha * side, 0.3)
            features = utils.create_pairwise_bilateral(
                sdims=(sigma, sigma), schan=(config.theta_beta,), img=image[..., None], chdim=2
            )
            self._model.addPairwiseEnergy(features, compat=config.w_appearance)

    def __call__(self, probability: FloatArray) -> FloatArray:
        """Posterior of a probability; see `dense_crf`."""
        if probability.shape != self.shape:
            raise ShapeError(
                f"`probability` is {probability.shape}, `image` is {self.shape[1:]}; expected "
                "(classes, H, W) and (H, W) of one size."
            )
        if not np.isfinite(probability).all():
            raise MaskError("`probability` holds NaN or infinity; the map it came from is broken.")
        unary = unary_probability(probability, self.config)
        if self._model is None:
            return unary
        self._model.setUnaryEnergy(np.ascontiguousarray(-np.log(unary).reshape(len(unary), -1)))
        posterior = np.array(self._model.inference(self.config.n_iters), dtype=np.float32)
        return posterior.reshape(self.shape)


def dense_crf(
    probability: FloatArray, image: UInt8Array, config: CrfConfig | None = None
) -> FloatArray:
    """Posterior of a fully connected CRF.

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
        ConfigError: see `check_crf` and `unary_probability`.
        MissingDependencyError: pydensecrf is not installed.
    """
    return DenseCrf(image, len(probability), config)(probability)
