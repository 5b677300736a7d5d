"""Train the student, on expert masks and on masks the chain made, each with its weight."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import asdict, dataclass
from pathlib import Path

import numpy as np
import torch
from torch import Tensor
from torch.nn import functional as F

from lungsynth.arrays import Float64Array, UInt8Array
from lungsynth.errors import ConfigError, DataError, ShapeError
from lungsynth.files import file_sha256
from lungsynth.masks.affinity import AffinityConfig, to_input
from lungsynth.masks.student import (
    OURS,
    STUDENT_FOLDER,
    WEIGHTS_NAME,
    WIDTHS,
    StudentNetwork,
    build_student,
    load_student,
    save_student,
)
from lungsynth.model.tensor_files import write_folder
from lungsynth.training.common import LoopOptions, Run, torch_generator
from lungsynth.training.segmenter import AugmentOptions, augment

SURE = 254
"""Target of a sure pixel; targets are uint8: probability · 254, 255 = counts nowhere."""
TARGET_STRIDE = 2
"""Pixels a side of a target. Logits are enlarged to that grid, as they are where masks are drawn, so the
loss sees the border between the places of the network's own grid of four."""


@dataclass(frozen=True, kw_only=True)
class StudentOptions(LoopOptions):
    """Options of a student run."""

    steps: int = 800
    batch_size: int = 16
    lr: float = 2e-3
    warmup_steps: int = 50
    final_lr_ratio: float = 0.0
    weight_decay: float = 1e-2
    ema_decay: float = 0.99
    network: str = OURS  # a key of lungsynth.masks.student.NETWORKS
    # where it is ours: channels of the body at strides 4, 8, 16, 32
    widths: tuple[int, ...] = WIDTHS


def to_targets(regions: Sequence[UInt8Array]) -> UInt8Array:
    """Targets of one film, of `TARGET_STRIDE` pixels a side.

    Args:
        regions: One an output: (H, W) uint8, 1 = class, 0 = not, 255 = not counted; or an array of
            size 0 for an output this film does not annotate.

    Returns:
        (outputs, H / 2, W / 2) uint8: share of the class · 254; 255 where a pixel of the
        block is not counted.
    """
    height, width = next(r.shape for r in regions if r.size)
    grid = (height // TARGET_STRIDE, TARGET_STRIDE, width // TARGET_STRIDE, TARGET_STRIDE)
    out = []
    for region in regions:
        if not region.size:
            out.append(np.full((grid[0], grid[2]), 255, np.uint8))
            continue
        blocks = region.reshape(grid)
        share = np.round((blocks == 1).mean((1, 3)) * SURE).astype(np.uint8)
        share[(blocks == 255).any((1, 3))] = 255
        out.append(share)
    return np.stack(out)


def student_loss(logits: Tensor, target: Tensor) -> Tensor:
    """Binary cross-entropy plus soft Dice loss of logits (B, K, h, w) and probabilities to be met.

    A target above 1 is not counted.
    """
    counted = (target <= 1).to(logits)
    truth = target * counted
    entropy = F.binary_cross_entropy_with_logits(logits, truth, reduction="none") * counted
    soft = logits.sigmoid() * counted
    both, total = (soft * truth).sum((2, 3)), (soft + truth).sum((2, 3))
    dice = 1 - (2 * both + 1) / (total + 1)
    known = counted.amax((2, 3))  # outputs a film annotates
    return entropy.sum() / counted.sum().clamp_min(1) + (
        dice * known
    ).sum() / known.sum().clamp_min(1)


@dataclass(frozen=True)
class MaskFilms:
    """Films with targets."""

    images: UInt8Array  # (N, P, P) grey
    targets: UInt8Array  # (N, K, P / 2, P / 2), see `to_targets`; probabilities may be soft
    outputs: Sequence[str]  # K names, "convention/class"
    weights: Float64Array | None = None  # (N,) how often each film is drawn; None is evenly
    n_annotated: int = 0  # the first so many are expert masks
    annotated_ids: Sequence[str] = ()  # their ids


def train_student(
    films: MaskFilms,
    out: Path,
    options: StudentOptions,
    *,
    start: Path | None = None,
    info: dict[str, str] | None = None,
    device: str = "cpu",
    quiet: bool = False,
) -> StudentNetwork | None:
    """Train (or resume) a student; the EMA weights go to `out/student`.

    Args:
        films: What it learns from.
        out: Run folder.
        options: See `StudentOptions`.
        start: Folder of an earlier student of the same outputs and shape, whose weights are the first
            ones; None draws them by the seed.
        info: Facts kept with the weights.
        device: Where to train.
        quiet: No progress bar.

    Returns:
        The student, or None when the run stopped at `max_minutes`; the same call resumes.

    Raises:
        ShapeError, DataError: sizes differ, or no film shows a class.
        ConfigError: weights of the films are no numbers, or `start` is of another kind.
        CheckpointError: `start` holds no student.
    """
    images, targets, outputs = films.images, films.targets, films.outputs
    grid = tuple(side // TARGET_STRIDE for side in images.shape[1:])
    expected = (len(images), len(outputs), *grid)
    if images.ndim != 3 or targets.shape != expected:
        raise ShapeError(
            f"`images` is {images.shape}, `targets` {targets.shape}; expected {expected}."
        )
    if not len(images) or not ((targets > 0) & (targets <= SURE)).any():
        raise DataError(f"{len(images)} films, none of which shows a class; nothing can be learnt.")
    drawn = np.ones(len(images)) if films.weights is None else np.asarray(films.weights)
    if not np.isfinite(drawn).all() or (drawn < 0).any() or drawn.sum() <= 0:
        raise ConfigError("`weights` are not finite numbers of at least 0 with a sum above 0.")
    p = drawn / drawn.sum()
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(options.seed)
        spec = asdict(AffinityConfig(widths=options.widths)) if options.network == OURS else {}
        model = build_student(outputs, spec, options.network).to(device)
    begun = _begin_with(model, start) if start is not None else {}
    model.to(memory_format=torch.channels_last)  # type: ignore[call-overload]  # torch's stub lacks it
    extra = {"kind": "student", "n_films": len(images), "outputs": list(outputs)}
    run = Run(out, model, options, {**extra, **begun})
    augmentation = AugmentOptions()

    def loss_fn(step: int) -> tuple[Tensor, dict[str, float]]:
        rng = np.random.default_rng((options.seed, step))
        chosen = rng.choice(len(images), options.batch_size, p=p)
        planes = torch.from_numpy(targets[chosen]).to(device).float() / SURE
        x, planes = augment(
            to_input(images[chosen], device),
            planes,
            torch_generator(options.seed, step),
            augmentation,
        )
        logits = model(x.contiguous(memory_format=torch.channels_last)).float()
        logits = F.interpolate(logits, planes.shape[-2:], mode="bilinear", align_corners=False)
        return student_loss(logits, planes), {}

    done = run.loop(loss_fn, quiet=quiet)
    run.ema.copy_to(model)
    model.to(memory_format=torch.contiguous_format).eval()  # type: ignore[call-overload]  # as above
    facts = {
        "steps": str(run.step),
        "seed": str(options.seed),
        "n_films": str(len(images)),
        **begun,
        **(info or {}),
    }
    write_folder(out / STUDENT_FOLDER, lambda folder: save_student(model, folder, facts))
    return model if done else None


def _begin_with(model: StudentNetwork, start: Path) -> dict[str, str]:
    """Give a student the weights of an earlier one; returns which, for run folder and weights.

    Raises:
        CheckpointError: there is no student in the folder.
        ConfigError: outputs, network or shape differ.
    """
    earlier = load_student(start)
    for what, ours, theirs in (
        ("outputs", list(model.outputs), list(earlier.outputs)),
        ("network", model.network, earlier.network),
        ("shape", model.spec(), earlier.spec()),
    ):
        if ours != theirs:
            raise ConfigError(
                f"The student to go on from has the {what} {theirs}; this run's are {ours}. "
                "Give the same --annotated conventions, or train without --init-from."
            )
    model.load_state_dict(earlier.state_dict())
    return {"init_from": file_sha256(start / WEIGHTS_NAME)[:16]}
