"""Masks of real films against expert masks, beside what needs no model at all."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray
from tqdm import tqdm

from lungsynth.data import Record
from lungsynth.errors import DataError
from lungsynth.framing import whole
from lungsynth.pipeline import Synthesizer, finish_mask
from lungsynth.reading import embed_prompts, encode_images
from lungsynth.refine import RefineConfig

BoolArray = NDArray[np.bool_]


@dataclass(frozen=True, slots=True)
class Case:
    """One film's masks, all (H, W): truth, each stage's mask, and what is counted."""

    name: str
    image: NDArray[np.uint8]
    truth: BoolArray
    valid: BoolArray
    stages: dict[str, BoolArray]
    labels: NDArray[np.uint8]  # refined class ids


def iou(mask: BoolArray, truth: BoolArray, valid: BoolArray) -> float:
    """Intersection over union where `valid`; 1 when both are empty."""
    a, b = mask & valid, truth & valid
    union = int((a | b).sum())
    return float((a & b).sum() / union) if union else 1.0


def dice(mask: BoolArray, truth: BoolArray, valid: BoolArray) -> float:
    """Dice coefficient where `valid`; 1 when both are empty."""
    a, b = mask & valid, truth & valid
    total = int(a.sum() + b.sum())
    return float(2 * (a & b).sum() / total) if total else 1.0


def mean_mask(records: Sequence[Record], *, pixels: int, foreground: int) -> BoolArray:
    """The mean of expert masks at the threshold of best mean IoU on those same films.

    A strong rival: lungs sit in the middle of every film.
    """
    truths = np.stack([
        whole(r.mask, pixels=pixels, nearest=True) == foreground for r in records if r.mask is not None
    ])  # fmt: skip
    mean = truths.mean(0)
    valid = np.ones(mean.shape, dtype=bool)
    levels = np.linspace(0.2, 0.8, 13)
    scores = [np.mean([iou(mean > level, t, valid) for t in truths[:200]]) for level in levels]
    return np.asarray(mean > levels[int(np.argmax(scores))])


def read_cases(
    synthesizer: Synthesizer, records: Sequence[Record], *, methods: Sequence[str] = ("none", "crf"),
    rival: BoolArray | None = None, foreground: int = 255, ignore: int = 127, seed: int = 0,
    batch: int = 8, quiet: bool = False,
) -> list[Case]:  # fmt: skip
    """Segment films by the checkpoint's class tokens; every class counts as foreground.

    Args:
        synthesizer: A checkpoint with class tokens.
        records: Films with masks.
        methods: Refinements to compare.
        rival: A fixed mask to compare with, (H, W).
        foreground: Mask value of the organ.
        ignore: Mask value of what is not counted.
        seed: Of the noise.
        batch: Films a pass.
        quiet: No progress bar.

    Raises:
        DataError: the checkpoint has no class token.
    """
    specs = synthesizer.classes
    if not specs or any(spec.token is None for spec in specs):
        raise DataError(f"Checkpoint {synthesizer.name!r} has no class tokens; run `learn-token` first.")
    pipe: Any = synthesizer.pipe
    pixels = int(pipe.unet.config.sample_size) * int(pipe.vae_scale_factor)
    cases: list[Case] = []
    for start in tqdm(range(0, len(records), batch), desc="segmenting", disable=quiet):
        part = records[start : start + batch]
        images = np.stack([whole(r.image, pixels=pixels) for r in part])
        logits = synthesizer.read_tokens(
            encode_images(pipe, images), embed_prompts(pipe, [r.text for r in part]),
            [seed + start + i for i in range(len(part))],
        )  # fmt: skip
        for index, record in enumerate(part):
            assert record.mask is not None
            cut = whole(record.mask, pixels=pixels, nearest=True)
            probability = synthesizer.class_probability(
                specs, logits, index, lambda word: np.zeros((pixels, pixels), np.float32), RefineConfig()
            )
            stages: dict[str, BoolArray] = {}
            labels = np.zeros((pixels, pixels), np.uint8)
            for method in methods:
                coarse, labels, _ = finish_mask(
                    probability, images[index], specs, RefineConfig(method=method)
                )
                stages.setdefault("coarse", coarse > 0)
                stages[f"{method} + clean-up"] = labels > 0
            if rival is not None:
                stages["mean train mask"] = rival
            name = record.fields.get("id", str(start + index))
            cases.append(Case(name, images[index], cut == foreground, cut != ignore, stages, labels))
    return cases


def side_swapped(case: Case) -> bool:
    """True when a class named left/right lies on the wrong side: centre of id 1 left of id 2's."""
    columns = [np.nonzero(case.labels == class_id)[1] for class_id in (1, 2)]
    if any(len(c) == 0 for c in columns):
        return False
    return bool(columns[0].mean() < columns[1].mean())


def summarise(cases: Sequence[Case], *, n_boot: int = 1000, seed: int = 0) -> dict[str, dict[str, float]]:
    """Stage -> mean IoU and Dice with a 95 % bootstrap interval over films."""
    rng = np.random.default_rng(seed)
    out: dict[str, dict[str, float]] = {}
    picks = rng.integers(0, len(cases), (n_boot, len(cases)))
    for stage in cases[0].stages:
        values = np.array([iou(c.stages[stage], c.truth, c.valid) for c in cases])
        dices = np.array([dice(c.stages[stage], c.truth, c.valid) for c in cases])
        low, high = np.percentile(values[picks].mean(1), [2.5, 97.5])
        out[stage] = {
            "iou": float(values.mean()), "iou_low": float(low), "iou_high": float(high),
            "dice": float(dices.mean()), "n": float(len(cases)),
        }  # fmt: skip
    return out
