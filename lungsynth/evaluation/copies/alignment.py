"""Laying one film over another: how alike are two films once shift, size and turn are taken out?

The likeness is a local correlation of fine detail: exposure and the broad shapes that every
chest shares do not count; ribs, vessels and tubes do.
"""

from __future__ import annotations

import math

import torch
from torch import Tensor
from torch.nn import functional as F

from lungsynth.arrays import UInt8Array
from lungsynth.evaluation.similarity import thumbnails

COARSE, MIDDLE, FINE = 32, 64, 128
"""Sides at which films are laid over each other; they are compared at the last."""

BANDS = {COARSE: (0.7, 4.0), MIDDLE: (0.8, 4.0), FINE: (1.2, 4.0)}
"""Standard deviations of the two blurs, pixels of that side."""

STEPS = {COARSE: 20, MIDDLE: 15, FINE: 12}  # of gradient ascent
RATES = {COARSE: 0.02, MIDDLE: 0.01, FINE: 0.004}  # of the six numbers of the map, in half sides
WINDOW = 5.0  # standard deviation of the window of local correlation, pixels of `FINE`
MIN_OVERLAP = 0.5  # share of the picture that must lie on the film
MIN_DETAIL = 2.0  # grey levels; a place with less local contrast is empty, such as a black margin
FLOOR = 3.0  # grey levels added to the local contrast that detail is divided by


def _kernel(sigma: float) -> Tensor:
    reach = max(1, round(3 * sigma))
    x = torch.arange(-reach, reach + 1, dtype=torch.float32)
    weights = torch.exp(-(x**2) / (2 * sigma**2))
    return weights / weights.sum()


def blur(x: Tensor, sigma: float) -> Tensor:
    """(B, 1, H, W) through a Gaussian; edges are repeated."""
    kernel = _kernel(sigma).to(x)
    reach = len(kernel) // 2
    x = F.pad(x, (reach, reach, reach, reach), mode="replicate")
    return F.conv2d(F.conv2d(x, kernel[None, None, None]), kernel[None, None, :, None])


def details(images: UInt8Array, pixels: int) -> Tensor:
    """What lies between two blurs, divided by the local contrast.

    Exposure drops out, and so do black margins but for a strip along their edge, which all films share.

    Args:
        images: (N, H, W) uint8.
        pixels: Side of the result, a key of `BANDS`.

    Returns:
        (N, 1, pixels, pixels) float32, about -1 to 1; 0 where there is nothing to see.
    """
    fine, broad = BANDS[pixels]
    x = blur(torch.from_numpy(thumbnails(images, pixels))[:, None].float(), fine)
    x = x - blur(x, broad)
    contrast = blur(x * x, broad).sqrt()
    reach = round(broad)
    empty = F.max_pool2d((contrast < MIN_DETAIL).float(), 2 * reach + 1, 1, reach)
    return x / (contrast + FLOOR) * (1 - empty)


def warp(films: Tensor, maps: Tensor) -> tuple[Tensor, Tensor]:
    """Sample films (B, 1, P, P) through affine maps (B, 2, 3) from the picture to the film, in [-1, 1].

    Returns:
        (B, 1, P, P) what of the film lies at each place, and (B, 1, P, P) 1 where there is film.
    """
    grid = F.affine_grid(maps, list(films.shape), align_corners=False)
    inside = (grid.detach().abs() <= 1).all(-1)[:, None].to(films)
    return F.grid_sample(films, grid, align_corners=False, padding_mode="border"), inside


def _correlation(x: Tensor, y: Tensor, weight: Tensor) -> Tensor:
    """(B, 1, P, P) twice -> (B,) correlation where `weight` is 1."""
    total = weight.sum((1, 2, 3)).clamp_min(1)

    def mean(z: Tensor) -> Tensor:
        return (z * weight).sum((1, 2, 3)) / total

    x, y = x - mean(x)[:, None, None, None], y - mean(y)[:, None, None, None]
    return mean(x * y) / (mean(x * x) * mean(y * y)).clamp_min(1e-8).sqrt()


def align(pictures: Tensor, films: Tensor, maps: Tensor) -> tuple[Tensor, Tensor]:
    """Improve maps by gradient ascent on the correlation, with Adam.

    Args:
        pictures: (B, 1, P, P) from `details`.
        films: The same, of the films.
        maps: (B, 2, 3) to start from, see `warp`.

    Returns:
        (B, 2, 3) maps of the best correlation seen, and (B,) that correlation, less 1 where under
        half of the picture lies on the film.
    """
    pixels = pictures.shape[-1]
    steps, lr = STEPS[pixels], RATES[pixels]
    free = maps.clone().requires_grad_()
    optimizer = torch.optim.Adam([free], lr=lr, betas=(0.8, 0.95))
    best, kept = torch.full((len(maps),), -torch.inf), maps.clone()
    for step in range(steps + 1):
        moved, inside = warp(films, free)
        score = _correlation(pictures, moved, inside)
        score = torch.where(inside.mean((1, 2, 3)) >= MIN_OVERLAP, score, score - 1)
        better = score.detach() > best
        best = torch.where(better, score.detach(), best)
        kept = torch.where(better[:, None, None], free.detach(), kept)
        if step == steps:
            break
        optimizer.param_groups[0]["lr"] = lr * (1 - 0.9 * step / steps)
        optimizer.zero_grad()
        (-score.sum()).backward()
        optimizer.step()
    return kept, best


def local_correlation(x: Tensor, y: Tensor, inside: Tensor) -> Tensor:
    """Correlation of `details` (B, 1, P, P) in Gaussian windows, each by how much there is to see in it.

    Returns:
        (B,) in [-1, 1]; -1 where less than half of the picture lies on the film.
    """
    weight = blur(inside, WINDOW).clamp_min(1e-3)

    def mean(z: Tensor) -> Tensor:
        return blur(z * inside, WINDOW) / weight

    mean_x, mean_y = mean(x), mean(y)
    var_x, var_y = (mean(x * x) - mean_x**2).clamp_min(0), (mean(y * y) - mean_y**2).clamp_min(0)
    shared = mean(x * y) - mean_x * mean_y
    scale = (var_x * var_y).sqrt()
    score = (shared * inside).sum((1, 2, 3)) / (scale * inside).sum((1, 2, 3)).clamp_min(1e-6)
    return torch.where(inside.mean((1, 2, 3)) >= MIN_OVERLAP, score.clamp(-1, 1), -1.0)


def view_map(cx: float, cy: float, side: float, degrees: float = 0.0) -> Tensor:
    """(2, 3) map under which a picture shows a turned square of a film.

    Args:
        cx: Centre of the square, share of the film's side, from the left.
        cy: The same, from above.
        side: Its side, share of the film's.
        degrees: How far it is turned.
    """
    angle = math.radians(degrees)
    cos, sin = math.cos(angle) * side, math.sin(angle) * side
    return torch.tensor([[cos, -sin, 2 * cx - 1], [sin, cos, 2 * cy - 1]]).float()


def mirrored(maps: Tensor) -> Tensor:
    """(..., 2, 3) maps for pictures whose left and right are exchanged."""
    return maps * torch.tensor([-1.0, 1.0, 1.0]).to(maps)
