"""What trust is fitted on: pictures, and each class of each, segmented, as a sample.

Pictures are films with expert masks, the same films moved and inverted, and no films. A sample is what
can be had of a mask, and its IoU. A moved film's truth moves along; a picture that is no film has IoU 0.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from typing import Any

import numpy as np
from tqdm import tqdm

from lungsynth.arrays import BoolArray, UInt8Array
from lungsynth.films.data import Record
from lungsynth.films.framing import whole
from lungsynth.masks.chain import run
from lungsynth.masks.classes import ClassSpec
from lungsynth.masks.reading import no_word, read
from lungsynth.masks.refine import RefineConfig
from lungsynth.model.backbone import embed_prompts, encode_images
from lungsynth.pipeline import Synthesizer
from lungsynth.segment import class_prompt, to_square
from lungsynth.training.film_check.no_films import DRAWN, packaged_pictures, split_pictures
from lungsynth.trust.score import Seen, features, film_scores, plausibilities, timestep_agreement
from lungsynth.trust.shape import ShapeModel

BATCH = 16
FILM, INVERTED, UPSIDE_DOWN = "film", "inverted", "upside down"
TURNED, NO_FILM = "turned", "no film"
"""Kinds of pictures."""


@dataclass(frozen=True, slots=True)
class Picture:
    """A square picture and the truth of each class, by output: 1 class, 0 not, 255 not counted."""

    image: UInt8Array  # (P, P)
    truth: Mapping[str, UInt8Array]  # empty: there is none, every IoU is 0
    kind: str
    source: str


def broken(pictures: Sequence[Picture], n: int) -> list[Picture]:
    """The first `n` films inverted, and likewise upside down and turned by a quarter."""
    out = []
    for one in pictures[:n]:
        moves: dict[str, Any] = {UPSIDE_DOWN: lambda a: a[::-1], TURNED: np.rot90}
        out.append(replace(one, image=255 - one.image, kind=INVERTED))
        for kind, move in moves.items():
            truth = {k: np.ascontiguousarray(move(v)) for k, v in one.truth.items()}
            image = np.ascontiguousarray(move(one.image))
            out.append(replace(one, image=image, truth=truth, kind=kind))
    return out


def no_films(n: int, pixels: int, *, seed: int, held_out: bool = False) -> list[Picture]:
    """Pictures that are no films: noise, black, drawn shapes, and those installed packages ship.

    Args:
        n: How many, half of them drawn.
        pixels: Side.
        seed: Of the choice.
        held_out: Those the film check was not trained on.
    """
    rng = np.random.default_rng((seed, int(held_out)))
    kept, held = split_pictures(packaged_pictures())
    found = list(held.values()) if held_out else kept
    images = [np.zeros((pixels, pixels), np.uint8)]
    images.append(rng.integers(0, 256, (pixels, pixels), dtype=np.uint8))
    for k in range(n // 2):
        images.append(DRAWN[k % len(DRAWN)](rng))
    for index in rng.permutation(len(found))[: n - len(images)]:
        images.append(found[index])
    return [
        Picture(to_square(np.ascontiguousarray(one), pixels=pixels), {}, NO_FILM, NO_FILM)
        for one in images[:n]
    ]


def film_pictures(
    records: Sequence[Record],
    regions: Sequence[Sequence[UInt8Array]],
    specs: Sequence[ClassSpec],
    *,
    pixels: int,
    source: str,
) -> list[Picture]:
    """Films with expert masks, see `lungsynth.training.mask_films.read_annotated`."""
    return [
        Picture(
            whole(record.image, pixels=pixels),
            {spec.output: region for spec, region in zip(specs, one, strict=True)},
            FILM,
            source,
        )
        for record, one in zip(records, regions, strict=True)
    ]


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
    seed: int = 0,
    quiet: bool = False,
) -> list[Sample]:
    """Segment pictures as the shipped chain does; one sample a class.

    Args:
        synthesizer: A checkpoint with class tokens.
        pictures: Of the checkpoint's side.
        specs: The classes.
        shapes: Of `fit_all_shapes`.
        seed: Of the reading's noise.
        quiet: No progress bar.
    """
    config = RefineConfig()
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
