"""Training a small U-Net on masks: augmentation, loss, loop."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor, nn
from torch.nn import functional as F
from tqdm import tqdm

from lungsynth.arrays import IGNORE, UInt8Array
from lungsynth.errors import DataError, ShapeError
from lungsynth.masks.body import Segmenter, SegmenterConfig, to_input
from lungsynth.training.common import LoopOptions, learning_rate, torch_generator


@dataclass(frozen=True, kw_only=True)
class AugmentOptions:
    """How far a film is changed at each step; half-widths of uniform draws unless said otherwise."""

    rotate: float = 0.15  # radians
    scale: float = 0.2  # of log size
    stretch: float = 0.1  # of log height over width
    shift: float = 0.1  # share of the side
    bend: float = 0.03  # standard deviation of a smooth random displacement, share of the side
    flip: bool = False  # mirror half of the films; wrong where classes have sides
    gamma: float = 0.6  # of log gamma
    contrast: float = 0.45  # of log contrast
    brightness: float = 0.2  # of the full range
    shading: float = 0.25  # amplitude of a smooth random brightness, of the full range
    blur: float = 1.0  # largest share of a 3-fold box blur
    noise: float = 0.06  # largest standard deviation, of the full range


def augment(
    images: Tensor, planes: Tensor, generator: torch.Generator, options: AugmentOptions
) -> tuple[Tensor, Tensor]:
    """Move, bend and re-expose films; their masks and weights move along.

    Args:
        images: (B, 1, H, W) in [-1, 1].
        planes: (B, K, h, w) float, sampled by nearest neighbour: class ids, weights. h and w may be
            a whole fraction of H and W.
        generator: Source of randomness, on the CPU.
        options: How far.

    Returns:
        Images (B, 1, H, W) in [-1, 1], black beyond the film, and planes (B, K, h, w), 0 there.
    """
    batch, _, height, width = images.shape
    o = options

    def uniform(spread: float, *shape: int) -> Tensor:
        drawn = torch.rand(batch, *(shape or (1, 1, 1)), generator=generator)
        return ((drawn * 2 - 1) * spread).to(images)

    angle, size, tall = uniform(o.rotate, 1), uniform(o.scale, 1).exp(), uniform(o.stretch, 1).exp()
    shift = uniform(2 * o.shift, 2)
    mirror = torch.where(uniform(1.0, 1) < 0, -1.0, 1.0) if o.flip else torch.ones_like(angle)
    cos, sin = angle.cos() * size, angle.sin() * size
    theta = torch.cat(
        [mirror * cos * tall, -sin, shift[:, :1], mirror * sin * tall, cos / tall, shift[:, 1:]], 1
    )
    grid = F.affine_grid(theta.view(batch, 2, 3), [batch, 1, height, width], align_corners=False)
    bend = torch.randn(batch, 2, 5, 5, generator=generator).to(images) * (2 * o.bend)
    bend = F.interpolate(bend, size=(height, width), mode="bicubic", align_corners=True)
    grid = grid + bend.permute(0, 2, 3, 1)
    y = F.grid_sample((images + 1) / 2, grid, align_corners=False)
    stride = height // planes.shape[-2]
    if stride > 1:
        grid = F.avg_pool2d(grid.permute(0, 3, 1, 2), stride).permute(0, 2, 3, 1)
    moved = F.grid_sample(planes, grid, mode="nearest", align_corners=False)
    soft = y
    for _ in range(3):
        soft = F.avg_pool2d(soft, 3, 1, 1, count_include_pad=False)
    y = y + (uniform(0.5) + 0.5) * o.blur * (soft - y)
    shade = (torch.rand(batch, 1, 4, 4, generator=generator).to(images) * 2 - 1) * o.shading
    y = y + F.interpolate(shade, size=(height, width), mode="bicubic", align_corners=True)
    y = y.clamp(1e-4, 1).pow(uniform(o.gamma).exp())
    y = (y - 0.5) * uniform(o.contrast).exp() + 0.5 + uniform(o.brightness)
    level = (uniform(0.5) + 0.5) * o.noise
    y = y + torch.randn(y.shape, generator=generator).to(images) * level
    return y.clamp(0, 1) * 2 - 1, moved


def segmentation_loss(logits: Tensor, target: Tensor, weight: Tensor | None = None) -> Tensor:
    """Cross-entropy plus soft Dice loss, the latter a mean over the classes after background.

    Args:
        logits: (B, classes, H, W).
        target: (B, H, W) int64 class ids; 255 counts nowhere.
        weight: (B, H, W) of each pixel; None is 1.
    """
    counted = (target != IGNORE).to(logits) * (1.0 if weight is None else weight)
    truth = torch.where(target == IGNORE, 0, target)
    entropy = F.cross_entropy(logits, truth, reduction="none")
    entropy = (entropy * counted).sum() / counted.sum().clamp_min(1e-6)
    soft = logits.softmax(1)[:, 1:] * counted[:, None]
    hard = F.one_hot(truth, logits.shape[1]).permute(0, 3, 1, 2)[:, 1:] * counted[:, None]
    both, total = (soft * hard).sum((0, 2, 3)), (soft + hard).sum((0, 2, 3))
    return entropy + (1 - (2 * both + 1) / (total + 1)).mean()


def descend(model: nn.Module, optimizer: torch.optim.Optimizer, loss: Tensor, rate: float) -> None:
    """One step down a loss at a learning rate; the gradient's norm is clipped to 1."""
    for group in optimizer.param_groups:
        group["lr"] = rate
    optimizer.zero_grad()
    loss.backward()
    nn.utils.clip_grad_norm_(model.parameters(), 1.0)
    optimizer.step()


def train_segmenter(
    images: UInt8Array,
    masks: UInt8Array,
    *,
    steps: int = 250,
    batch: int = 8,
    lr: float = 1e-3,
    seed: int = 0,
    weights: NDArray[np.floating] | None = None,
    n_classes: int | None = None,
    widths: Sequence[int] | None = None,
    weight_decay: float = 1e-2,
    options: AugmentOptions | None = None,
    device: torch.device | str = "cpu",
    quiet: bool = True,
) -> Segmenter:
    """Train a U-Net on films and masks; the same arguments give the same weights on one machine.

    Args:
        images: (N, P, P) uint8 grey; sides are multiples of 16 with the default `widths`.
        masks: (N, P, P) uint8 class ids, 255 = counts nowhere.
        steps: AdamW steps; 2 % linear warm-up, then cosine to 0.
        batch: Films a step, drawn with replacement.
        lr: Peak learning rate.
        seed: Of weights, draws and augmentation.
        weights: (N,) or (N, P, P), trust in each film or pixel, at least 0; None is 1.
        n_classes: Outputs; None is the largest id + 1.
        widths: See `SegmenterConfig`.
        weight_decay: Decoupled.
        options: Augmentation; None for the defaults.
        device: Where to train.
        quiet: No progress bar.

    Returns:
        The model, in evaluation mode, on `device`.

    Raises:
        ShapeError: sizes differ or do not fit the network.
        DataError: no film, no pixel of a class, or ids beyond `n_classes`.
    """
    if images.ndim != 3 or images.shape != masks.shape:
        raise ShapeError(
            f"`images` is {images.shape}, `masks` is {masks.shape}; expected (N, P, P) of one size."
        )
    if weights is not None and weights.shape not in (images.shape, images.shape[:1]):
        raise ShapeError(
            f"`weights` is {weights.shape}; expected {images.shape[:1]} or {images.shape}."
        )
    ids = [int(i) for i in np.unique(masks) if i != IGNORE]
    n_classes = n_classes or max(2, max(ids, default=0) + 1)
    if not any(ids) or ids[-1] >= n_classes:
        raise DataError(
            f"{len(images)} masks with class ids {ids}; expected at least one class, from 1 to "
            f"{n_classes - 1}."
        )
    config = SegmenterConfig(
        n_classes=n_classes, widths=SegmenterConfig.widths if widths is None else tuple(widths)
    )
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(seed)
        model = Segmenter(config).to(device)
    optimizer = torch.optim.AdamW(model.parameters(), lr=lr, weight_decay=weight_decay)
    plan = LoopOptions(steps=steps, lr=lr, warmup_steps=max(1, steps // 50), final_lr_ratio=0.0)
    options = options or AugmentOptions()
    each = images.shape[1:] if weights is not None and weights.ndim == 3 else (1, 1)
    for step in tqdm(range(steps), desc="training a U-Net", disable=quiet, mininterval=2):
        rng = np.random.default_rng((seed, step))
        chosen = rng.integers(0, len(images), batch)
        trust = np.ones((batch, 1, 1)) if weights is None else weights[chosen].reshape(batch, *each)
        trust = np.broadcast_to(trust, (batch, *images.shape[1:])).astype(np.float32)
        planes = torch.from_numpy(np.stack([masks[chosen].astype(np.float32), trust], 1)).to(device)
        # beyond the film there is no organ, and that is certain: id 0, weight 1
        planes[:, 1] -= 1
        x, planes = augment(
            to_input(images[chosen], device), planes, torch_generator(seed, step), options
        )
        logits = model(x.contiguous(memory_format=torch.channels_last))
        loss = segmentation_loss(logits, planes[:, 0].long(), planes[:, 1] + 1)
        descend(model, optimizer, loss, learning_rate(step, plan))
    return model.eval()
