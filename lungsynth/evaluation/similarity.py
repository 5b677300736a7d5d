"""Pixel similarity of pictures: SSIM, MS-SSIM, normalised correlation."""

from __future__ import annotations

import numpy as np
import torch
from torch import Tensor
from torch.nn import functional as F

from lungsynth.arrays import UInt8Array

WINDOW, WINDOW_SIGMA = 11, 1.5  # pixels; Wang et al. 2004
C1, C2 = 0.01**2, 0.03**2  # for pixels in [0, 1]
SCALE_WEIGHTS = (0.0448, 0.2856, 0.3001, 0.2363, 0.1333)  # Wang et al. 2003, table of section 3.2


def _window_matrix(pixels: int) -> Tensor:
    """(pixels - 10, pixels): a Gaussian window at every place where it fits whole."""
    offsets = torch.arange(WINDOW, dtype=torch.float32) - WINDOW // 2
    window = torch.exp(-(offsets**2) / (2 * WINDOW_SIGMA**2))
    matrix = torch.zeros(pixels - WINDOW + 1, pixels)
    for row in range(len(matrix)):
        matrix[row, row : row + WINDOW] = window / window.sum()
    return matrix


def _ssim_parts(x: Tensor, y: Tensor) -> tuple[Tensor, Tensor]:
    """(B, H, W) in [0, 1] twice -> (B,) mean SSIM and (B,) mean contrast-structure."""
    rows, columns = _window_matrix(x.shape[-2]), _window_matrix(x.shape[-1]).T

    def local_mean(z: Tensor) -> Tensor:
        return rows @ z @ columns

    mean_x, mean_y = local_mean(x), local_mean(y)
    var_x = (local_mean(x * x) - mean_x**2).clamp_min(0)
    var_y = (local_mean(y * y) - mean_y**2).clamp_min(0)
    covariance = local_mean(x * y) - mean_x * mean_y
    structure = (2 * covariance + C2) / (var_x + var_y + C2)
    luminance = (2 * mean_x * mean_y + C1) / (mean_x**2 + mean_y**2 + C1)
    return (luminance * structure).mean((1, 2)), structure.mean((1, 2))


def _unit(images: UInt8Array) -> Tensor:
    """uint8 -> float32 in [0, 1]."""
    return torch.from_numpy(np.ascontiguousarray(images)).float() / 255


@torch.no_grad()
def ssim(x: UInt8Array, y: UInt8Array) -> np.ndarray:
    """Structural similarity of pairs.

    Args:
        x: (B, H, W) uint8, sides of at least 11 pixels.
        y: The same, of the other picture of each pair.

    Returns:
        (B,) float64 in [-1, 1]; 1 for equal pictures.

    Source:
        Wang et al., "Image quality assessment", IEEE TIP 2004; windows only where they fit whole.
    """
    return _ssim_parts(_unit(x), _unit(y))[0].double().numpy()


@torch.no_grad()
def ms_ssim(x: UInt8Array, y: UInt8Array, *, batch_size: int = 32) -> np.ndarray:
    """Multi-scale structural similarity of pairs, five scales.

    Args:
        x: (B, H, W) uint8, sides of at least 176 pixels.
        y: The same, of the other picture of each pair.
        batch_size: Pairs at a time; changes nothing but speed.

    Returns:
        (B,) float64 in [0, 1]; 1 for equal pictures. A negative scale counts as 0.

    Source:
        Wang, Simoncelli, Bovik, "Multi-scale structural similarity", Asilomar 2003.
    """
    a, b = _unit(x), _unit(y)
    parts: list[Tensor] = []
    for start in range(0, len(a), batch_size):
        left, right = a[start : start + batch_size], b[start : start + batch_size]
        score = torch.ones(len(left))
        for scale, weight in enumerate(SCALE_WEIGHTS):
            if scale:
                left, right = (F.avg_pool2d(z[:, None], 2)[:, 0] for z in (left, right))
            full, structure = _ssim_parts(left, right)
            last = scale == len(SCALE_WEIGHTS) - 1
            score = score * (full if last else structure).clamp_min(0) ** weight
        parts.append(score)
    return torch.cat(parts).double().numpy()


@torch.no_grad()
def thumbnails(images: UInt8Array, pixels: int = 64) -> UInt8Array:
    """(N, H, W) uint8 -> (N, pixels, pixels) uint8, area-averaged."""
    out = [
        F.interpolate(torch.from_numpy(part.copy())[:, None].float(), (pixels, pixels), mode="area")
        for part in np.array_split(images, -(-len(images) // 256))
    ]
    return torch.cat(out)[:, 0].round().to(torch.uint8).numpy()


def unit_vectors(images: UInt8Array) -> np.ndarray:
    """(N, H, W) uint8 -> (N, H·W) float32 of mean 0 and length 1: dot products are correlations."""
    flat = images.reshape(len(images), -1).astype(np.float32)
    flat -= flat.mean(1, keepdims=True)
    length: np.ndarray = np.linalg.norm(flat, axis=1, keepdims=True)
    return flat / np.maximum(length, 1e-6)
