"""A small U-Net that segments grey films from masks alone: the rival, the judge and the student.

It knows nothing of diffusion. Trained on k expert masks it is the rival that k-shot class tokens
stand beside; on all of them, the judge of generated masks; on refined masks, their distillation.
"""

from __future__ import annotations

from dataclasses import dataclass
from itertools import pairwise

import numpy as np
import torch
from torch import Tensor, nn
from torch.nn import functional as F

from lungsynth.arrays import FloatArray, UInt8Array
from lungsynth.errors import ConfigError, ShapeError
from lungsynth.masks.affinity import Block, to_input


@dataclass(frozen=True, kw_only=True)
class SegmenterConfig:
    """Shape of the network."""

    n_classes: int = 2  # outputs, background first
    widths: tuple[int, ...] = (12, 32, 64, 128, 192)  # channels at strides 1, 2, 4, …: 1.5 M in all
    norm_groups: int = 4  # groups of each GroupNorm


class Segmenter(nn.Module):
    """U-Net (Ronneberger et al. 2015) with GroupNorm: (B, 1, H, W) in [-1, 1] -> (B, classes, H, W) logits.

    Each film is first brought to mean 0 and variance 1, so exposure and contrast do not matter.
    H and W are multiples of `2 ** (len(widths) - 1)`.
    """

    def __init__(self, config: SegmenterConfig | None = None) -> None:
        super().__init__()
        self.config = config or SegmenterConfig()
        widths, groups = self.config.widths, self.config.norm_groups
        if len(widths) < 2 or any(w % groups for w in widths) or self.config.n_classes < 2:
            raise ConfigError(
                f"Segmenter of {self.config}: expected at least 2 widths, each a multiple of "
                "`norm_groups`, and at least 2 classes."
            )
        self.normalise = nn.InstanceNorm2d(1)
        self.stem = Block(1, widths[0], groups)
        self.down = nn.ModuleList(Block(a, b, groups, stride=2) for a, b in pairwise(widths))
        self.up = nn.ModuleList(Block(a + b, a, groups) for a, b in pairwise(widths))
        self.head = nn.Conv2d(widths[0], self.config.n_classes, 1)

    def forward(self, x: Tensor) -> Tensor:
        """See the class."""
        step = 2 ** len(self.down)
        if x.ndim != 4 or x.shape[1] != 1 or x.shape[2] % step or x.shape[3] % step:
            raise ShapeError(
                f"Films are {tuple(x.shape)}; expected (B, 1, H, W), sides multiples of {step}."
            )
        skips = [self.stem(self.normalise(x))]
        for block in self.down:
            skips.append(block(skips[-1]))
        y = skips.pop()
        for block in reversed(self.up):
            y = F.interpolate(y, scale_factor=2, mode="bilinear", align_corners=False)
            y = block(torch.cat([skips.pop(), y], 1))
        return self.head(y)


def predict(model: Segmenter, images: UInt8Array, *, batch: int = 16) -> FloatArray:
    """Probability of each class.

    Args:
        model: A trained segmenter.
        images: (N, H, W) uint8 grey.
        batch: Films a pass.

    Returns:
        (N, classes, H, W) float32, background first, each pixel sums to 1.
    """
    device = next(model.parameters()).device
    parts = []
    with torch.inference_mode():
        for start in range(0, len(images), batch):
            x = to_input(images[start : start + batch], device)
            parts.append(model(x).float().softmax(1).cpu().numpy())
    if not parts:
        return np.zeros((0, model.config.n_classes, *images.shape[1:]), np.float32)
    return np.concatenate(parts)
