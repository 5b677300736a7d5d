"""The models of `evaluate downstream`, how large they are and how they are trained.

What is drawn at step `s` comes from `(seed, s)`, so the same call gives the same model on one machine.
"""

from __future__ import annotations

from dataclasses import dataclass, replace

import numpy as np
import torch
from torch import Tensor, nn
from torch.nn import functional as F
from transformers import SegformerConfig, SegformerForSemanticSegmentation

from lungsynth.arrays import BoolArray, Float64Array, IntArray, UInt8Array
from lungsynth.masks.affinity import to_input
from lungsynth.masks.body import Segmenter, SegmenterConfig
from lungsynth.training.segmenter import NO_CHANGE, Fit, fit_network

MODELS = ("unet", "segformer")
AUGMENTATIONS = ("none", "standard", "splicing")

SPLICES = ((1, 2), (2, 1), (2, 2), (3, 3))  # rows and columns of a spliced picture
SPLICED = 0.5  # share of pictures that are spliced


@dataclass(frozen=True, kw_only=True)
class Preset:
    """How large the models are and how long they train."""

    pixels: int  # side of the square, a multiple of 32
    steps: int  # optimiser steps of every arm
    batch: int = 8
    lr: float = 1e-3
    widths: tuple[int, ...] = SegmenterConfig.widths  # of the U-Net
    hidden: tuple[int, ...] = (32, 64, 160, 256)  # of the SegFormer's four stages
    heads: tuple[int, ...] = (1, 2, 5, 8)
    decoder: int = 256  # channels of its head
    fold_steps: int = 150  # optimiser steps of each model of noise learning
    n: tuple[int, ...] = (1, 5, 10, 25, 50, 100)  # real films, besides all
    limit_test: int | None = None  # films of each test set
    limit_synthetic: int | None = None


PRESETS = {
    "tiny": Preset(
        pixels=64,
        steps=4,
        batch=2,
        widths=(4, 8, 8),
        hidden=(8, 8, 16, 16),
        heads=(1, 1, 2, 2),
        decoder=16,
        fold_steps=2,
        n=(1, 5),
    ),
    "quick": Preset(
        pixels=64,
        steps=300,
        widths=(8, 16, 32, 64, 96),
        hidden=(16, 32, 64, 96),
        heads=(1, 2, 4, 4),
        decoder=64,
        fold_steps=150,
        n=(1, 5, 25),
        limit_test=100,
        limit_synthetic=1000,
    ),
    "cpu": Preset(pixels=128, steps=400),
    "gpu": Preset(pixels=256, steps=3000, batch=16, widths=(24, 48, 96, 192, 256), fold_steps=600),
}


def build_model(name: str, preset: Preset, seed: int) -> nn.Module:
    """One of `MODELS` with random weights: (B, 1, P, P) in [-1, 1] -> (B, 2, P, P) logits."""
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(seed)
        if name == "unet":
            return Segmenter(SegmenterConfig(widths=preset.widths))
        return SegFormer(preset)


class SegFormer(nn.Module):
    """SegFormer (Xie et al. 2021) of `transformers`, from its configuration, for grey films.

    Transformer encoder over convolutional patches, a head of 1×1 convolutions over four scales;
    logits are enlarged four times. Each film is first brought to mean 0 and variance 1.
    """

    def __init__(self, preset: Preset) -> None:
        super().__init__()
        self.normalise = nn.InstanceNorm2d(1)
        self.inner = SegformerForSemanticSegmentation(
            SegformerConfig(
                num_channels=1,
                num_labels=2,
                hidden_sizes=list(preset.hidden),
                num_attention_heads=list(preset.heads),
                decoder_hidden_size=preset.decoder,
            )
        )

    def forward(self, x: Tensor) -> Tensor:
        """See the class."""
        logits = self.inner(pixel_values=self.normalise(x)).logits
        return F.interpolate(logits, x.shape[-2:], mode="bilinear", align_corners=False)


def splice(
    images: UInt8Array, masks: UInt8Array, chosen: IntArray, rng: np.random.Generator
) -> tuple[UInt8Array, UInt8Array]:
    """Films (N, P, P) of rows `chosen` (B,), in half of the cases several side by side on one square.

    A spliced picture begins with its own row; the others are drawn among `chosen`.

    Source:
        The splicing of DiffuMask (Wu et al. 2023), here of grids up to 3 × 3.
    """
    pixels = images.shape[1]
    out, truth = images[chosen].copy(), masks[chosen].copy()
    for k, first in enumerate(chosen):
        if rng.random() >= SPLICED:
            continue
        n_rows, n_columns = SPLICES[rng.integers(len(SPLICES))]
        order = [int(first), *rng.choice(chosen, n_rows * n_columns - 1).tolist()]
        ys, xs = (np.linspace(0, pixels, n + 1).round().astype(int) for n in (n_rows, n_columns))
        for cell, row in enumerate(order):
            r, c = divmod(cell, n_columns)
            y = np.linspace(0, pixels - 1, ys[r + 1] - ys[r]).round().astype(int)
            x = np.linspace(0, pixels - 1, xs[c + 1] - xs[c]).round().astype(int)
            place = np.s_[k, ys[r] : ys[r + 1], xs[c] : xs[c + 1]]
            out[place], truth[place] = images[row][np.ix_(y, x)], masks[row][np.ix_(y, x)]
    return out, truth


def train(
    model: nn.Module,
    images: UInt8Array,
    masks: UInt8Array,
    fit: Fit,
    *,
    augmentation: str = "standard",
    share: Float64Array | None = None,
    last_share: Float64Array | None = None,
) -> nn.Module:
    """Train a model in place, see `fit_network`.

    Args:
        model: From `build_model`, on its device.
        images: (N, P, P) uint8.
        masks: (N, P, P) uint8: 0, 1, and 255 where nothing counts.
        fit: How.
        augmentation: One of `AUGMENTATIONS`.
        share: (N,) how often each film is drawn, sums to 1; None is evenly.
        last_share: The same at the last step, where it changes: linearly in between.

    Returns:
        The model, in evaluation mode.
    """

    def shown(step: int, rng: np.random.Generator) -> tuple[UInt8Array, UInt8Array]:
        now = share
        if share is not None and last_share is not None:
            now = share + (last_share - share) * step / max(1, fit.steps - 1)
        chosen = rng.choice(len(images), fit.batch, p=now)
        if augmentation == "splicing":
            return splice(images, masks, chosen, rng)
        return images[chosen], masks[chosen]

    how = replace(fit, augmentation=NO_CHANGE) if augmentation == "none" else fit
    return fit_network(model, shown, how)


@torch.inference_mode()
def foreground(model: nn.Module, images: UInt8Array, *, batch: int = 16) -> BoolArray:
    """(N, P, P) uint8 -> (N, P, P) bool, where foreground is likelier than background."""
    device = next(model.parameters()).device
    parts = [
        (model(to_input(images[i : i + batch], device)).argmax(1) == 1).cpu().numpy()
        for i in range(0, len(images), batch)
    ]
    return np.concatenate(parts)
