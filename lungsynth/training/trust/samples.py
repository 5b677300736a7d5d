"""Segmented pictures as samples: one class of one picture, what can be had of its mask, and its IoU.

A moved film's truth moves along; a picture that is no film has IoU 0.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass
from typing import Any

import numpy as np
from tqdm import tqdm

from lungsynth.arrays import BoolArray, UInt8Array
from lungsynth.masks.chain import run
from lungsynth.masks.classes import ClassSpec
from lungsynth.masks.reading import no_word, read
from lungsynth.masks.refine import RefineConfig
from lungsynth.model.backbone import embed_prompts, encode_images
from lungsynth.pipeline import Synthesizer
from lungsynth.segment import class_prompt
from lungsynth.training.trust.pictures import Picture
from lungsynth.trust.score import (
    Seen,
    features,
    film_scores,
    plausibilities,
    timestep_agreement,
)
from lungsynth.trust.shape import ShapeModel

BATCH = 16


@dataclass(frozen=True, slots=True)
class Sample:
    """One class of one picture."""

    source: str
    kind: str
    output: str  # "convention/class"
    iou: float
    values: dict[str, float]  # `FEATURES` that could be had
    picture: int = 0  # number of its picture: classes of one picture share it
    empty: bool = False  # nothing of the class was found: trust is 0 without asking


def true_iou(mask: BoolArray, truth: UInt8Array | None) -> float:
    """IoU over what is counted; 0 without a truth, or where both are empty."""
    if truth is None:
        return 0.0
    counted = truth != 255
    mine, theirs = mask & counted, truth == 1
    union = int((mine | theirs).sum())
    return float((mine & theirs).sum() / union) if union else 0.0


def gather_samples(
    synthesizer: Synthesizer,
    pictures: Sequence[Picture],
    specs: Sequence[ClassSpec],
    shapes: Mapping[str, ShapeModel],
    *,
    config: RefineConfig | None = None,
    seed: int = 0,
    quiet: bool = False,
) -> list[Sample]:
    """Segment pictures as the shipped chain does; one sample a class.

    Args:
        synthesizer: A checkpoint with class tokens.
        pictures: Of the checkpoint's side.
        specs: The classes.
        shapes: Of `fit_all_shapes`.
        config: How masks are made; None for the defaults.
        seed: Of the reading's noise.
        quiet: No progress bar.
    """
    config = config or RefineConfig()
    pipe: Any = synthesizer.pipe
    out: list[Sample] = []
    before, synthesizer.classes = synthesizer.classes, list(specs)
    try:
        for start in tqdm(range(0, len(pictures), BATCH), desc="judging", disable=quiet):
            some = pictures[start : start + BATCH]
            images = np.stack([one.image for one in some])
            each: list[Any] = []
            prompts = embed_prompts(pipe, [class_prompt(synthesizer)] * len(some))
            logits = synthesizer.read_tokens(
                encode_images(pipe, images), prompts, [seed] * len(some), each=each
            )
            films = film_scores([one.image for one in some])
            for index, one in enumerate(some):
                seen = Seen(timestep_agreement(specs, each, index), films[index])
                reading = read(specs, logits, index, no_word, config)
                aids = synthesizer.aids(one.image, config)
                made = run(reading, one.image, specs, config, aids)
                usual = plausibilities(shapes, specs, made.mask, one.image)
                found = features(reading, specs, made, aids.student, seen, usual)
                for spec in specs:
                    if one.truth and spec.output not in one.truth:
                        continue
                    value = true_iou(made.mask == spec.id, one.truth.get(spec.output))
                    out.append(
                        Sample(
                            one.source,
                            one.kind,
                            spec.output,
                            value,
                            found[spec.name],
                            start + index,
                            not (made.mask == spec.id).any(),
                        )
                    )
    finally:
        synthesizer.classes = before
    return out


def sample_rows(samples: Sequence[Sample]) -> list[dict[str, Any]]:
    """For a JSON file."""
    return [asdict(one) for one in samples]


def read_samples(rows: Sequence[Mapping[str, Any]]) -> list[Sample]:
    """From a JSON file of `sample_rows`."""
    return [Sample(**one) for one in rows]
