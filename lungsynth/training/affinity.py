"""Train AffinityNet on places a coarse map is certain of: no pixel label by hand is read."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import asdict, dataclass
from pathlib import Path

import numpy as np
import torch
from torch import Tensor

from lungsynth.arrays import IGNORE, FloatArray, UInt8Array
from lungsynth.errors import DataError, ShapeError
from lungsynth.masks.affinity import (
    AFFINITY_FOLDER,
    AffinityConfig,
    AffinityNet,
    affinity_fields,
    affinity_loss,
    certain_labels,
    majority,
    pair_affinities,
    save_affinity,
    to_input,
)
from lungsynth.masks.coarse import shift_background
from lungsynth.masks.crf import CrfConfig, DenseCrf
from lungsynth.masks.fusion import bilinear
from lungsynth.masks.walk import random_walk
from lungsynth.model.tensor_files import write_folder
from lungsynth.training.common import LoopOptions, Run, torch_generator
from lungsynth.training.segmenter import AugmentOptions, augment


@dataclass(frozen=True, kw_only=True)
class AffinityOptions(LoopOptions):
    """Options of an AffinityNet run."""

    steps: int = 600
    batch_size: int = 12
    lr: float = 2e-3
    warmup_steps: int = 50
    final_lr_ratio: float = 0.0
    weight_decay: float = 5e-4
    ema_decay: float = 0.99
    widths: tuple[int, ...] = AffinityConfig.widths  # channels at strides 4, 8, 16, 32
    n_features: int = AffinityConfig.n_features
    radius: int = AffinityConfig.radius


LABEL_CRF = CrfConfig(theta_alpha=0.15, w_appearance=3.0)
"""The CRF that labels: it looks farther than the one of masks, for class maps are coarse."""

CAUTIOUS, EAGER = 0.8, 0.2
"""Level a class must pass for certain foreground, and none may pass for certain background."""


def make_labels(probability: FloatArray, image: UInt8Array) -> UInt8Array:
    """Certain places of one film, after psa's two CRFs with a strong and a weak background.

    Args:
        probability: (classes + 1, H, W), background first.
        image: (H, W) uint8.

    Returns:
        (H / 4, W / 4) uint8: index of the class in `probability`, 0 = background, 255 = not certain.
    """
    model = DenseCrf(image, len(probability), LABEL_CRF)
    one = probability / np.maximum(probability.sum(0, keepdims=True), 1e-8)  # several organs
    high, low = (
        model(shift_background(one, level)).argmax(0).astype(np.uint8)
        for level in (CAUTIOUS, EAGER)
    )
    return majority(certain_labels(high, low))


def walked_labels(
    model: AffinityNet, images: UInt8Array, coarse: FloatArray, before: UInt8Array
) -> UInt8Array:
    """Certain places for a further round: a network learnt before walks the maps first.

    A class that loses more than half of its places, because its map is faint and the walk thins it
    out, keeps those it had, where the new ones are not certain.

    Args:
        model: An AffinityNet of an earlier round.
        images: (N, H, W) uint8.
        coarse: (N, classes + 1, H / 4, W / 4) float, background first: area means of the probability.
        before: (N, H / 4, W / 4) uint8, the labels `model` learnt from.

    Returns:
        (N, H / 4, W / 4) uint8, as of `make_labels`.
    """
    labels = np.empty_like(before)
    for k, image in enumerate(images):
        walked = random_walk(affinity_fields(model, image[None])[0], coarse[k].astype(np.float32))
        labels[k] = make_labels(bilinear(walked, *image.shape), image)
    for c in range(1, coarse.shape[1]):
        if 2 * (labels == c).sum() < (before == c).sum():
            labels[(labels == IGNORE) & (before == c)] = c
    return labels


def train_affinity(
    images: UInt8Array,
    labels: UInt8Array,
    out: Path,
    options: AffinityOptions,
    *,
    classes: Sequence[str] | None = None,
    info: dict[str, str] | None = None,
    device: str = "cpu",
    quiet: bool = False,
) -> AffinityNet | None:
    """Train (or resume) an AffinityNet; the EMA weights go to `out/affinity`.

    Args:
        images: (N, P, P) uint8 grey.
        labels: (N, P / 4, P / 4) uint8, from `make_labels`.
        out: Run folder.
        options: See `AffinityOptions`.
        classes: "convention/class" of what the labels show; masks of other classes are not walked.
        info: Facts kept with the weights.
        device: Where to train.
        quiet: No progress bar.

    Returns:
        The network, or None when the run stopped at `max_minutes`; the same call resumes.

    Raises:
        ShapeError: sizes differ.
        DataError: no film has both certain foreground and certain background.
    """
    if labels.shape != (len(images), images.shape[1] // 4, images.shape[2] // 4):
        raise ShapeError(
            f"`images` is {images.shape}, `labels` {labels.shape}; expected labels of a quarter."
        )
    both = np.array([(one == 0).any() and ((one > 0) & (one < 255)).any() for one in labels])
    if not both.any():
        raise DataError(
            f"{len(images)} films, none with both certain foreground and certain background; "
            "the masks they were labelled with are empty or everything."
        )
    usable = np.flatnonzero(both)
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(options.seed)
        model = AffinityNet(
            AffinityConfig(
                widths=options.widths, n_features=options.n_features, radius=options.radius
            )
        ).to(device)
    model.classes = None if classes is None else tuple(classes)
    model.to(memory_format=torch.channels_last)  # type: ignore[call-overload]  # torch's stub lacks it
    run = Run(out, model, options, {"kind": "affinity", "n_films": len(images)})
    # colour jitter and flips in psa; films are moved and re-exposed, never mirrored
    augmentation = AugmentOptions()

    def loss_fn(step: int) -> tuple[Tensor, dict[str, float]]:
        rng = np.random.default_rng((options.seed, step))
        chosen = rng.choice(usable, options.batch_size)
        planes = torch.from_numpy(labels[chosen]).to(device).float()[:, None]
        x, planes = augment(
            to_input(images[chosen], device),
            planes,
            torch_generator(options.seed, step),
            augmentation,
        )
        features = model(x.contiguous(memory_format=torch.channels_last)).float()
        affinities = pair_affinities(features, model.offsets)
        return affinity_loss(affinities, planes[:, 0].round().to(torch.uint8), model.offsets), {}

    done = run.loop(loss_fn, quiet=quiet)
    run.ema.copy_to(model)
    model.to(memory_format=torch.contiguous_format).eval()  # type: ignore[call-overload]  # as above
    facts = {
        "steps": str(run.step),
        "seed": str(options.seed),
        "n_films": str(len(images)),
        "config": str(asdict(model.config)),
        **(info or {}),
    }
    write_folder(out / AFFINITY_FOLDER, lambda folder: save_affinity(model, folder, facts))
    return model if done else None
