"""Training the encoder on real films: balanced ages, partial labels, heavy augmentation."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

import numpy as np
import torch
from torch import Tensor, nn
from torch.nn import functional as F

from lungsynth.errors import DataError
from lungsynth.evaluation.common import ImageSet, need
from lungsynth.evaluation.words.judgement import balanced_accuracy, score_table, score_tasks
from lungsynth.evaluation.words.labels import HEAD_NAMES, UNKNOWN, film_labels, label_weights
from lungsynth.model.encoder import Encoder, EncoderConfig, embed, save_encoder, shrink
from lungsynth.training.common import LoopOptions, Run, torch_generator

HEAD_WEIGHTS = {"age_group": 0.25, "view": 1.0, "finding": 1.0, "sex": 1.0}
"""Shares of the loss; age is learnt within a few steps."""

MIN_ILL = 0.25
"""Least share of films with a finding among the adults drawn."""


@dataclass(frozen=True, kw_only=True)
class EncoderOptions(LoopOptions):
    """Options of an encoder run."""

    pixels: int = 128  # side of the input
    stem: int = 24  # channels at stride 2
    widths: tuple[int, ...] = (32, 64, 128)  # channels at strides 4, 8, 16; the last = features
    n_blocks: tuple[int, ...] = (1, 2, 2)  # residual blocks of each
    dropout: float = 0.2  # share of features dropped before the heads
    label_smoothing: float = 0.05  # target of the right class is 1 - half of this
    child_share: float = 0.4  # share of children in a batch; they answer fewer heads


ENCODER_PRESETS: dict[str, EncoderOptions] = {
    # one CPU core, about ten minutes; accuracies in checkpoints/encoder/README.md
    "cpu": EncoderOptions(
        steps=3200,
        batch_size=32,
        lr=2e-3,
        weight_decay=0.05,
        warmup_steps=100,
        ema_decay=0.995,
        sample_every=800,
    ),
    # one GPU, a few minutes
    "gpu": EncoderOptions(
        steps=8000, batch_size=64, lr=2e-3, weight_decay=0.05, warmup_steps=200, sample_every=1000
    ),
    # seconds: for tests
    "tiny": EncoderOptions(
        steps=4,
        batch_size=8,
        lr=1e-3,
        warmup_steps=1,
        pixels=32,
        stem=4,
        widths=(4, 8),
        n_blocks=(1, 1),
        precision="fp32",
    ),
}


def augment(x: Tensor, generator: torch.Generator) -> Tensor:
    """Change what does not change the answers: exposure, sharpness, noise, small movements.

    Never mirrored: the heart stays on its side.

    Args:
        x: (B, 1, H, W) in [-1, 1].
        generator: Source of randomness, on the CPU.

    Returns:
        (B, 1, H, W) in [-1, 1].
    """
    batch, _, height, width = x.shape

    def uniform(low: float, high: float, *shape: int) -> Tensor:
        drawn = torch.rand(batch, *(shape or (1, 1, 1)), generator=generator)
        return (low + (high - low) * drawn).to(x.device)

    angle, scale = uniform(-0.14, 0.14, 1), uniform(0.86, 1.12, 1)
    stretch, shift = uniform(0.94, 1.06, 1), uniform(-0.12, 0.12, 2)
    cos, sin = angle.cos() * scale, angle.sin() * scale
    theta = torch.cat([cos * stretch, -sin, shift[:, :1], sin * stretch, cos, shift[:, 1:]], 1)
    grid = F.affine_grid(theta.view(batch, 2, 3), list(x.shape), align_corners=False)
    y = F.grid_sample((x + 1) / 2, grid, align_corners=False)
    # sharpness: from a third sharper to fully blurred
    soft = y
    for _ in range(3):
        soft = F.avg_pool2d(soft, 3, 1, 1, count_include_pad=False)
    y = y + uniform(-0.35, 1.0) * (soft - y)
    # exposure: uneven, then gamma, contrast, brightness
    field = (torch.rand(batch, 1, 3, 3, generator=generator).to(x.device) - 0.5) * 0.24
    y = y + F.interpolate(field, size=(height, width), mode="bilinear", align_corners=True)
    y = y.clamp(1e-4, 1).pow(uniform(-0.45, 0.45).exp())
    y = (y - 0.5) * uniform(-0.35, 0.25).exp() + 0.5 + uniform(-0.12, 0.12)
    y = y + torch.randn(y.shape, generator=generator).to(x.device) * uniform(0.0, 0.03)
    # a hidden rectangle in every second picture: markers and tubes must not decide alone
    rows = torch.arange(height, device=x.device).view(1, 1, -1, 1) / height
    columns = torch.arange(width, device=x.device).view(1, 1, 1, -1) / width
    inside = (rows - uniform(0, 1)).abs() < uniform(0.05, 0.18)
    inside = inside & ((columns - uniform(0, 1)).abs() < uniform(0.05, 0.18))
    y = torch.where(inside & (uniform(0, 1) < 0.5), uniform(0, 1), y)
    return y.clamp(0, 1) * 2 - 1


@torch.no_grad()
def settle(encoder: Encoder, run: Run, x: Tensor, weights: np.ndarray, batch_size: int) -> None:
    """Put a run's averaged weights into its encoder, then measure batch-norm and feature statistics.

    They are of training pictures (N, 1, H, W), drawn by `weights` (N,), which sum to 1.
    """
    run.ema.copy_to(encoder)
    norms = [m for m in encoder.modules() if isinstance(m, nn.BatchNorm2d)]
    momenta = [norm.momentum for norm in norms]
    for norm in norms:
        norm.reset_running_stats()
        norm.momentum = None  # cumulative average
    rng = np.random.default_rng(run.options.seed)
    encoder.train()
    for step in range(24):
        chosen = rng.choice(len(x), max(batch_size, 16), p=weights)
        encoder(augment(x[chosen], torch_generator(run.options.seed, -1 - step)))
    for norm, momentum in zip(norms, momenta, strict=True):
        norm.momentum = momentum
    encoder.eval()
    chosen = rng.choice(len(x), min(len(x), 1024), p=weights)
    pooled = torch.cat([encoder(x[chosen[i : i + 64]]) for i in range(0, len(chosen), 64)])
    spread = pooled.std(0)
    encoder.feature_mean.copy_(pooled.mean(0))
    encoder.feature_std.copy_(spread.clamp_min(float(spread.median()) * 0.05 + 1e-6))


def draw_weights(
    children: np.ndarray, child_share: float, ill: np.ndarray | None = None
) -> np.ndarray:
    """(N,) bool -> (N,) chances that sum to 1, `child_share` of them on children.

    Args:
        children: (N,) bool.
        child_share: Of the chances.
        ill: (N,) bool, films that answer for findings and have one. Among adults they have at least
            `MIN_ILL` of the chances, so that healthy films do not swamp them.
    """
    weights = np.ones(len(children))
    if ill is not None:
        rare, rest = ill & ~children, ~ill & ~children
        if 0 < rare.sum() < MIN_ILL * (~children).sum():
            weights[rare] = MIN_ILL / (1 - MIN_ILL) * rest.sum() / rare.sum()
    if 0 < children.sum() < len(children):
        weights[children] = child_share / children.sum()
        weights[~children] *= (1 - child_share) / weights[~children].sum()
    return weights / weights.sum()


def head_losses(
    logits: Mapping[str, Tensor], labels: Tensor, weights: Tensor, smoothing: float
) -> dict[str, Tensor]:
    """Weighted cross-entropy of each head over the rows that answer it; labels and weights are (B, 4)."""
    losses: dict[str, Tensor] = {}
    for column, name in enumerate(HEAD_NAMES):
        each = F.cross_entropy(
            logits[name].float(),
            labels[:, column],
            ignore_index=UNKNOWN,
            reduction="none",
            label_smoothing=smoothing,
        )
        weight = weights[:, column]
        losses[name] = (each * weight).sum() / weight.sum().clamp_min(1.0)
    return losses


def train_encoder(
    films: ImageSet,
    held_out: ImageSet | None,
    out: Path,
    options: EncoderOptions,
    *,
    device: str = "cpu",
    quiet: bool = False,
) -> bool:
    """Train (or resume) an encoder; it is written to `out/encoder`.

    Args:
        films: Real films to train on.
        held_out: Real films for the accuracy lines of the metrics.
        out: Run folder.
        options: See `EncoderOptions`.
        device: Where to train.
        quiet: No progress bar.

    Returns:
        True when the run is complete, False when it stopped at `max_minutes`.

    Raises:
        DataError: no film answers any head, or there are fewer than 8.
    """
    need(films, 8, "training films")
    labels = film_labels(films.fields)
    children = labels[:, 0] == 1
    if not (0 < children.sum() < len(films)) and not (labels[:, 1:] != UNKNOWN).any():
        raise DataError(
            "No film tells age, view, finding or sex in both classes; the encoder needs the "
            "columns `age`, `view`, `label`, `sex`."
        )
    ill = labels[:, HEAD_NAMES.index("finding")] == 1
    chances = draw_weights(children, options.child_share, ill)
    loss_weights = torch.from_numpy(label_weights(labels, films.fields, chances))
    x = shrink(films.images, options.pixels)
    truth = torch.from_numpy(labels)
    torch.manual_seed(options.seed)
    config = EncoderConfig(
        pixels=options.pixels, stem=options.stem, widths=options.widths, n_blocks=options.n_blocks
    )
    encoder = Encoder(config, dropout=options.dropout).to(device)
    run = Run(out, encoder, options, {"kind": "encoder", "n_films": len(films)})
    x, truth, loss_weights = x.to(device), truth.to(device), loss_weights.to(device)

    def loss_fn(step: int) -> tuple[Tensor, dict[str, float]]:
        rng = np.random.default_rng((options.seed, step))
        torch.manual_seed(int(rng.integers(2**62)))  # dropout
        chosen = torch.from_numpy(rng.choice(len(x), options.batch_size, p=chances)).to(device)
        with torch.autocast(torch.device(device).type, enabled=False):
            view = augment(x[chosen], torch_generator(options.seed, step))
        pooled = encoder(view.contiguous(memory_format=torch.channels_last))  # faster on CPUs
        losses = head_losses(
            encoder.logits(pooled), truth[chosen], loss_weights[chosen], options.label_smoothing
        )
        total = torch.stack([HEAD_WEIGHTS[k] * v for k, v in losses.items()]).sum()
        return total, {k: float(v.detach()) for k, v in losses.items()}

    def on_sample(step: int) -> dict[str, float]:
        return held_out_accuracy(encoder, held_out) if held_out is not None else {}

    done = run.loop(loss_fn, on_sample=on_sample, quiet=quiet)
    settle(encoder, run, x, chances, options.batch_size)
    save_encoder(encoder, out / "encoder")
    return done


def held_out_accuracy(encoder: Encoder, films: ImageSet) -> dict[str, float]:
    """Balanced accuracy of every task on real films, by name."""
    scores = score_tasks(
        embed(encoder, films.images), film_labels(films.fields), films.clusters(), n_resamples=2
    )
    return {f"val {k}": float(balanced_accuracy(v.counts)) for k, v in scores.items()}


def report_accuracy(
    encoder: Encoder, films: ImageSet, *, seed: int = 0, quiet: bool = True
) -> tuple[dict[str, Any], str]:
    """Accuracy of every task on real test films: JSON and a text table."""
    scores = score_tasks(
        embed(encoder, films.images, quiet=quiet),
        film_labels(films.fields),
        films.clusters(),
        seed=seed,
    )
    report = {
        "n_films": len(films),
        "config": asdict(encoder.config),
        "tasks": {name: score.report() for name, score in scores.items()},
    }
    return report, score_table(scores)
