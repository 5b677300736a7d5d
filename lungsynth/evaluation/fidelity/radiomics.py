"""Radiomic features of whole pictures: tones, co-occurrence of grey levels, bands, local patterns.

Like the Frechet radiomics distance (FRD) these need no trained network, so nobody's encoder decides
what counts. FRD-like only: other filters, no shape and no zone features, 256 pixels, standardised
by the real train split. **Comparable with nothing published**, only with its own floor.
"""

from __future__ import annotations

import hashlib

import numpy as np
from scipy.ndimage import gaussian_laplace
from skimage.feature import graycomatrix, graycoprops, local_binary_pattern
from tqdm import tqdm

from lungsynth.arrays import Float64Array, UInt8Array
from lungsynth.evaluation.similarity import thumbnails

SCALES = (1, 2, 4)  # the picture is read at its side divided by these
BIN_WIDTH = 8  # grey levels of one bin of the co-occurrence
ANGLES = (0.0, np.pi / 4, np.pi / 2, 3 * np.pi / 4)
CO_OCCURRENCE = (
    "contrast",
    "dissimilarity",
    "homogeneity",
    "ASM",
    "correlation",
    "variance",
    "entropy",
)
SIGMAS = (1.0, 2.0, 4.0, 8.0)  # pixels; bands of the Laplacian of Gaussian
N_PATTERNS = 10  # uniform local binary patterns of 8 neighbours
VERSION = 1  # raised when a feature changes

FIRST_ORDER = (
    "mean",
    "std",
    "skewness",
    "kurtosis",
    "entropy",
    "uniformity",
    "p10",
    "median",
    "p90",
    "interquartile range",
    "mean absolute deviation",
)
BAND = ("mean absolute", "std", "skewness", "kurtosis")


def feature_names() -> list[str]:
    """Names of the features, in their order."""
    names = [f"tone {kind}" for kind in FIRST_ORDER]
    names += [f"band {sigma:g} {kind}" for sigma in SIGMAS for kind in BAND]
    for scale in SCALES:
        names += [
            f"co-occurrence 1/{scale} {kind} {over}"
            for kind in CO_OCCURRENCE
            for over in ("mean", "range")
        ]
        # the shares of all patterns sum to 1, so one of them is left out
        names += [f"pattern 1/{scale} {k}" for k in range(N_PATTERNS - 1)]
    return names


def definition() -> str:
    """16 hexadecimal digits that name this list of features in reports, as a checksum does weights."""
    told = "\n".join([str(VERSION), *feature_names()])
    return hashlib.sha256(told.encode()).hexdigest()[:16]


def _moments(values: Float64Array) -> tuple[float, float, float, float]:
    """Mean, standard deviation, skewness, kurtosis (normal = 0); the last two 0 for flat values."""
    mean, std = float(values.mean()), float(values.std())
    if std < 1e-9:
        return mean, std, 0.0, 0.0
    z = (values - mean) / std
    square = z * z
    return mean, std, float((square * z).mean()), float((square * square).mean()) - 3.0


def _first_order(image: UInt8Array) -> list[float]:
    values = image.astype(np.float64).ravel()
    mean, std, skewness, kurtosis = _moments(values)
    share = np.bincount(image.ravel() // BIN_WIDTH, minlength=256 // BIN_WIDTH) / values.size
    known = share[share > 0]
    p10, p25, p50, p75, p90 = np.percentile(values, [10, 25, 50, 75, 90])
    return [
        mean,
        std,
        skewness,
        kurtosis,
        float(-(known * np.log2(known)).sum()),
        float((share**2).sum()),
        p10,
        p50,
        p90,
        p75 - p25,
        float(np.abs(values - mean).mean()),
    ]


def _bands(image: UInt8Array) -> list[float]:
    out: list[float] = []
    for sigma in SIGMAS:
        # times σ², so that bands of one pattern at any size are equally strong
        band = gaussian_laplace(image.astype(np.float64), sigma) * sigma**2
        _, *others = _moments(band.ravel())
        out += [float(np.abs(band).mean()), *others]
    return out


def _texture(image: UInt8Array) -> list[float]:
    levels = 256 // BIN_WIDTH
    counts = graycomatrix(
        image // BIN_WIDTH, [1], list(ANGLES), levels=levels, symmetric=True, normed=True
    )
    out: list[float] = []
    for kind in CO_OCCURRENCE:
        over_angles = graycoprops(counts, kind)[0]
        out += [float(over_angles.mean()), float(np.ptp(over_angles))]
    patterns = local_binary_pattern(image, 8, 1, method="uniform").astype(np.int64)
    shares = np.bincount(patterns.ravel(), minlength=N_PATTERNS) / patterns.size
    return out + shares[: N_PATTERNS - 1].tolist()


def radiomic_features(images: UInt8Array, *, quiet: bool = True) -> Float64Array:
    """Features of pictures, as they are, not standardised.

    Args:
        images: (N, H, W) uint8, square, sides of at least 64 pixels.
        quiet: No progress bar.

    Returns:
        (N, 96) float64, finite, in the order of `feature_names`.

    Source:
        Haralick et al., "Textural features for image classification", 1973; Ojala et al.,
        "Multiresolution gray-scale and rotation invariant texture classification", 2002; the idea of
        a Frechet distance on radiomic features: Konz et al., "Frechet radiomic distance".
    """
    side = images.shape[1]
    rows = []
    for image in tqdm(images, desc="radiomics", unit="image", disable=quiet, mininterval=2):
        row = _first_order(image) + _bands(image)
        for scale in SCALES:
            row += _texture(image if scale == 1 else thumbnails(image[None], side // scale)[0])
        rows.append(row)
    return np.asarray(rows, dtype=np.float64).reshape(len(images), len(feature_names()))
