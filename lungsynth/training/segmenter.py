"""Training a small U-Net on masks: augmentation, loss, loop."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, field

import numpy as np
import torch
from torch import Tensor, nn
from torch.nn import functional as F
from tqdm import tqdm

from lungsynth.arrays import IGNORE, UInt8Array
from lungsynth.masks.affinity import to_input
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


NO_CHANGE = AugmentOptions(
    rotate=0,
    scale=0,
    stretch=0,
    shift=0,
    bend=0,
    gamma=0,
    contrast=0,
    brightness=0,
    shading=0,
    blur=0,
    noise=0,
)


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


def segmentation_loss(logits: Tensor, target: Tensor) -> Tensor:
    """Cross-entropy plus soft Dice loss, the latter a mean over the classes after background.

    Logits are (B, classes, H, W), the target (B, H, W) int64 class ids; 255 counts nowhere.
    """
    counted = (target != IGNORE).to(logits)
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


@dataclass(frozen=True, kw_only=True)
class Fit:
    """How a network of masks is trained."""

    steps: int = 250  # of AdamW
    batch: int = 8
    lr: float = 1e-3  # peak learning rate
    seed: int = 0  # of weights, draws and augmentation
    augmentation: AugmentOptions = field(default_factory=AugmentOptions)
    quiet: bool = True  # no progress bar


Shown = Callable[[int, np.random.Generator], tuple[UInt8Array, UInt8Array]]
"""Step and its randomness -> films (B, P, P) and masks (B, P, P), 255 where nothing counts."""


def fit_network(model: nn.Module, shown: Shown, fit: Fit) -> nn.Module:
    """Train a network in place: AdamW, 2 % linear warm-up, cosine to 0.

    Args:
        model: (B, 1, P, P) in [-1, 1] -> (B, classes, P, P) logits, on its device.
        shown: What it sees at a step.
        fit: How.

    Returns:
        The model, in evaluation mode.
    """
    device = next(model.parameters()).device
    optimizer = torch.optim.AdamW(model.parameters(), lr=fit.lr, weight_decay=1e-2)
    plan = LoopOptions(
        steps=fit.steps, lr=fit.lr, warmup_steps=max(1, fit.steps // 50), final_lr_ratio=0.0
    )
    model.train()
    with torch.random.fork_rng(devices=[device] if device.type == "cuda" else []):  # of dropout
        torch.manual_seed(fit.seed)
        for step in tqdm(
            range(fit.steps), desc="training", disable=fit.quiet, leave=False, mininterval=2
        ):
            films, truth = shown(step, np.random.default_rng((fit.seed, step)))
            # beyond the film there is no organ: padding samples 0, background
            planes = torch.from_numpy(truth.astype(np.float32))[:, None].to(device)
            x, planes = augment(
                to_input(films, device), planes, torch_generator(fit.seed, step), fit.augmentation
            )
            logits = model(x.contiguous(memory_format=torch.channels_last))
            loss = segmentation_loss(logits, planes[:, 0].long())
            descend(model, optimizer, loss, learning_rate(step, plan))
    return model.eval()
