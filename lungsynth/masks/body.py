"""A small U-Net that segments grey films from masks alone: the rival, the judge and the student.

It knows nothing of diffusion. Trained on k expert masks it is the rival that k-shot class tokens
stand beside; on all of them, the judge of generated masks; on refined masks, their distillation.
"""

from __future__ import annotations

import json
from collections.abc import Sequence
from dataclasses import asdict, dataclass
from itertools import pairwise
from pathlib import Path

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor, nn
from torch.nn import functional as F
from tqdm import tqdm

from lungsynth.arrays import IGNORE, FloatArray, UInt8Array
from lungsynth.errors import ConfigError, DataError, ShapeError

CONFIG_NAME, WEIGHTS_NAME = "segmenter.json", "segmenter.safetensors"


@dataclass(frozen=True, kw_only=True)
class SegmenterConfig:
    """Shape of the network."""

    n_classes: int = 2  # outputs, background first
    widths: tuple[int, ...] = (12, 32, 64, 128, 192)  # channels at strides 1, 2, 4, …: 1.5 M in all
    norm_groups: int = 4  # groups of each GroupNorm


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


class Block(nn.Sequential):
    """Twice convolution, GroupNorm, SiLU."""

    def __init__(self, n_in: int, n_out: int, groups: int, *, stride: int = 1) -> None:
        super().__init__(
            nn.Conv2d(n_in, n_out, 3, stride, 1, bias=False),
            nn.GroupNorm(groups, n_out),
            nn.SiLU(),
            nn.Conv2d(n_out, n_out, 3, 1, 1, bias=False),
            nn.GroupNorm(groups, n_out),
            nn.SiLU(),
        )


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


def to_input(images: UInt8Array, device: torch.device | str = "cpu") -> Tensor:
    """(N, H, W) uint8 -> (N, 1, H, W) float32 in [-1, 1]."""
    return torch.from_numpy(np.array(images)).to(device).float().div(127.5).sub(1)[:, None]


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
    from lungsynth.training.common import LoopOptions, learning_rate, torch_generator

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


def save_segmenter(model: Segmenter, folder: Path) -> None:
    """Write `segmenter.safetensors` and `segmenter.json` into a folder.

    Raises:
        OutputError: it cannot be written.
    """
    from lungsynth.model.tensor_files import save_tensors

    about = json.dumps(asdict(model.config))
    save_tensors(model.state_dict(), folder / WEIGHTS_NAME, {"segmenter": about})
    (folder / CONFIG_NAME).write_text(about + "\n", encoding="utf-8")


def load_segmenter(folder: Path) -> Segmenter:
    """Read what `save_segmenter` wrote; evaluation mode, on the CPU.

    Raises:
        CheckpointError: a file is missing, broken, or does not fit the other.
    """
    from lungsynth.model.tensor_files import load_network

    return load_network(
        folder,
        CONFIG_NAME,
        WEIGHTS_NAME,
        lambda spec: Segmenter(SegmenterConfig(**{**spec, "widths": tuple(spec["widths"])})),
        kind="a segmenter",
        advice="Train it again.",
    )
