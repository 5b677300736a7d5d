"""The most alike film of every picture, wherever and however it is flipped, turned, cropped or exposed.

every film under 153 views -> the films most alike at 20 × 20 -> laid over the picture at 32 px
-> the best of them at 64, then 128 px -> local correlation of detail
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
import torch
from torch import Tensor
from torch.nn import functional as F
from tqdm import tqdm

from lungsynth.arrays import Float64Array, IntArray, UInt8Array
from lungsynth.evaluation.copies.alignment import (
    COARSE,
    FINE,
    MIDDLE,
    align,
    details,
    local_correlation,
    mirrored,
    view_map,
    warp,
)
from lungsynth.evaluation.similarity import ssim

SQUARES = ((1.0, 1), (0.91, 3), (0.85, 4), (0.78, 5))  # side, and places a row: 51 squares
DEGREES = (-5.0, 0.0, 5.0)
TEMPLATE, TEMPLATE_PIXELS = 0.8, 20  # middle of a view that is compared, and its side
N_COARSE, N_FINE = 24, 2  # films laid over the picture at 32 px, and those at 64 and 128 px
QUERIES, PAIRS = 2000, 32  # pictures whose views, and whose maps, are searched at a time


@dataclass(frozen=True, slots=True)
class Found:
    """The most alike film of each of N pictures."""

    score: Float64Array  # (N,) local correlation of detail, in [-1, 1]
    ssim: Float64Array  # (N,) SSIM with that film once laid over, in [-1, 1]
    index: IntArray  # (N,) row of the film


def views() -> Tensor:
    """(V, 2, 3) maps of every view: squares of four sizes all over the film, turned three ways."""
    maps = []
    for side, count in SQUARES:
        places = np.linspace(-(1 - side) / 2, (1 - side) / 2, count) if count > 1 else np.zeros(1)
        for cy in places:
            for cx in places:
                maps += [view_map(0.5 + cx, 0.5 + cy, side, d) for d in DEGREES]
    return torch.stack(maps)


def _templates(x: Tensor, view: Tensor) -> Tensor:
    """(B, 1, P, P) under one view -> (B, D) of mean 0 and length 1."""
    inner = torch.cat([view[:, :2] * TEMPLATE, view[:, 2:]], 1)
    size = [len(x), 1, TEMPLATE_PIXELS, TEMPLATE_PIXELS]
    grid = F.affine_grid(inner[None].expand(len(x), -1, -1), size, align_corners=False)
    flat = F.grid_sample(x, grid, align_corners=False, padding_mode="border").flatten(1)
    flat = flat - flat.mean(1, keepdim=True)
    return flat / flat.norm(dim=1, keepdim=True).clamp_min(1e-6)


class Finder:
    """Films, ready to be searched for what a picture may be a copy of.

    Args:
        films: (M, P, P) uint8, P of at least 128.
        quiet: No progress bar.
    """

    def __init__(self, films: UInt8Array, *, quiet: bool = True) -> None:
        self.films, self.quiet = films, quiet
        self.coarse, self.views = _in_parts(films), views()

    def search(self, pictures: UInt8Array, *, itself: bool = False) -> Found:
        """The most alike film of every picture.

        Args:
            pictures: (N, P, P) uint8, of the films' P.
            itself: The pictures are the films; each is compared with the others only.
        """
        parts = []
        with tqdm(
            total=len(pictures),
            desc="looking for copies",
            unit="picture",
            disable=self.quiet,
            mininterval=2,
        ) as bar:
            for start in range(0, len(pictures), QUERIES):
                part = pictures[start : start + QUERIES]
                small = _in_parts(part)
                own = torch.arange(start, start + len(part)) if itself else None
                films, maps = self._candidates(small, own)
                for k in range(0, len(part), PAIRS):
                    rows = slice(k, k + PAIRS)
                    parts.append(self._compare(part[rows], small[rows], films[rows], maps[rows]))
                    bar.update(len(part[rows]))
        return Found(
            np.concatenate([p.score for p in parts]),
            np.concatenate([p.ssim for p in parts]),
            np.concatenate([p.index for p in parts]),
        )

    @torch.no_grad()
    def _candidates(self, small: Tensor, own: Tensor | None) -> tuple[Tensor, Tensor]:
        """(N, 1, 32, 32) -> (N, K) films most alike under any view, and (N, K, 2, 3) maps."""
        n, m = len(small), len(self.films)
        straight = torch.eye(2, 3)
        asked = torch.cat([_templates(small, straight), _templates(small.flip(3), straight)])
        best = torch.full((2 * n, m), -torch.inf)
        which = torch.zeros((2 * n, m), dtype=torch.int16)
        for number, view in enumerate(self.views):
            alike = asked @ _templates(self.coarse, view).T
            better = alike > best
            best = torch.where(better, alike, best)
            which.masked_fill_(better, number)
        best = torch.cat([best[:n], best[n:]], 1)
        if own is not None:
            best[torch.arange(n), own] = best[torch.arange(n), m + own] = -torch.inf
        chosen = best.topk(min(N_COARSE, 2 * m - (0 if own is None else 2)), 1).indices
        view = torch.cat([which[:n], which[n:]], 1).gather(1, chosen).long()
        maps = self.views[view]
        return chosen % m, torch.where((chosen >= m)[:, :, None, None], mirrored(maps), maps)

    def _compare(self, pictures: UInt8Array, small: Tensor, films: Tensor, maps: Tensor) -> Found:
        """Lay (B, K) films over (B,) pictures, at first coarsely."""
        n, k = films.shape
        flat = films.reshape(-1)
        laid, score = align(
            small.repeat_interleave(k, 0), self.coarse[flat], maps.reshape(-1, 2, 3)
        )
        k = min(N_FINE, k)
        best = score.reshape(n, -1).topk(k, 1).indices
        flat = films.gather(1, best).reshape(-1)
        laid = laid.reshape(n, -1, 2, 3)[torch.arange(n)[:, None], best].reshape(-1, 2, 3)
        left, right = pictures.repeat(k, 0), self.films[flat.numpy()]
        for pixels in (MIDDLE, FINE):
            x, y = details(left, pixels), details(right, pixels)
            laid, _ = align(x, y, laid)
        with torch.no_grad():
            moved, inside = warp(y, laid)
            scores = local_correlation(x, moved, inside).reshape(n, k)
            rows = torch.arange(n) * k + scores.argmax(1)
            whole, inside = warp(torch.from_numpy(right)[rows, None].float(), laid[rows])
        over = (whole * inside)[:, 0].round().clamp(0, 255).to(torch.uint8).numpy()
        return Found(
            scores.max(1).values.double().numpy(), ssim(pictures, over), flat[rows].numpy()
        )


def _in_parts(images: UInt8Array) -> Tensor:
    """`details` at 32 px, some pictures at a time."""
    parts = [details(images[i : i + 512], COARSE) for i in range(0, len(images), 512)]
    return torch.cat(parts)
