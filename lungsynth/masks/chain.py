"""The chain a mask goes through: stages with names, and word of which were really used, per class.

    reading     attention and nothing else: learnt class tokens, or words of the prompt
    threshold   what counts as the class (`RefineConfig.threshold`)
    walk, crf   AffinityNet's walk and the DenseCRF, in the order of `RefineConfig.method`
    student     (1 - w) · posterior + w · student's, w = `RefineConfig.student_weight`
    clean-up    the best parts stay, their holes are filled

Classes of one organ (`ClassSpec.group`) exclude each other and go through together. Organs do not see
each other: adding one changes no other's mask, and where two claim a pixel, the one named first has it.
A stage that does not know an organ's classes is left out for that organ only, and the record says so.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass, field, replace
from typing import TYPE_CHECKING, Any

import numpy as np

from lungsynth.arrays import IGNORE, BoolArray, FloatArray, UInt8Array
from lungsynth.masks import quality
from lungsynth.masks.classes import ClassSpec
from lungsynth.masks.fusion import TOKEN_GAMMAS, WORD_GAMMAS
from lungsynth.masks.reading import join, label, organs, split
from lungsynth.masks.refine import RefineConfig, refine
from lungsynth.masks.registry import needs_affinity
from lungsynth.masks.walk import AffinityField

if TYPE_CHECKING:
    from lungsynth.masks.student import StudentMaps

READING, THRESHOLD, WALK, CRF = "reading", "threshold", "walk", "crf"
STUDENT, CLEAN_UP = "student", "clean-up"

STAGES = {
    "none": (),
    "crf": (CRF,),
    "affinity": (WALK,),
    "sequential": (WALK, CRF),
    "cross": (CRF, WALK),
    "cross-product": (WALK, CRF),
    "cross-mutual": (WALK, CRF),
}
"""Refinement -> its stages, in their order; one registered elsewhere is a stage of its own name."""

Refiner = Callable[[str, FloatArray, RefineConfig], FloatArray]
"""(organ, its probability, configuration) -> posterior; what `refine` gives, perhaps kept."""


@dataclass(frozen=True, slots=True)
class Aids:
    """What a checkpoint brings to one picture beside its attention."""

    field: AffinityField | None = None  # for the walk
    student: StudentMaps | None = None
    judge: Judge | None = None


Judge = Callable[
    [FloatArray, UInt8Array, Sequence[ClassSpec], "Masked"], dict[str, dict[str, float]]
]
"""(reading, image, classes, mask) -> class name -> scores that need a fitted model, such as trust."""


@dataclass(frozen=True, slots=True)
class Posterior:
    """Class probabilities after the stages."""

    probability: FloatArray  # (classes + 1, H, W), background first, after every stage
    evidence: FloatArray  # likewise, of reading and student without refinement
    stages: dict[str, dict[str, Any]]  # class name -> {"used": [stage …], "left_out": {stage: why}}


@dataclass(frozen=True, slots=True)
class Masked:
    """A mask and what it came from."""

    coarse: UInt8Array  # (H, W) class ids: reading and threshold alone
    mask: UInt8Array  # (H, W) class ids after every stage; 255 = ignore
    posterior: Posterior
    scores: dict[str, dict[str, Any]] = field(default_factory=dict)  # class name -> its scores


def apply_stages(
    probability: FloatArray,
    image: UInt8Array,
    specs: Sequence[ClassSpec],
    config: RefineConfig,
    aids: Aids | None = None,
    refiner: Refiner | None = None,
) -> Posterior:
    """Walk, CRF and student, organ by organ.

    Args:
        probability: (classes + 1, H, W) from `read`.
        image: (H, W) grey.
        specs: The classes, in the order of `probability`.
        config: Which stages, and how.
        aids: Affinities and student of this image.
        refiner: In place of `refine`, for a caller that keeps what it computed.

    Raises:
        MaskError, ShapeError, ConfigError: see `lungsynth.masks.refine.refine`.
    """
    aids = aids or Aids()
    after, evidence, stages = {}, {}, {}
    for name, p in split(probability, specs).items():
        mine = [specs[row] for row in organs(specs)[name]]
        own, left_out, notes = _config_for(mine, config, aids.field)
        q = refine(p, image, own, aids.field) if refiner is None else refiner(name, p, own)
        after[name], evidence[name], why = _with_student(p, q, mine, own, aids.student)
        used = [READING, THRESHOLD, *STAGES.get(own.method, (own.method,))]
        used += [STUDENT] if not why else []
        used += [CLEAN_UP] if config.clean_up else []
        if why and config.student_weight:
            left_out[STUDENT] = why
        for spec in mine:
            stages[spec.name] = {"used": used, "left_out": left_out} | notes
    return Posterior(join(after, specs), join(evidence, specs), stages)


def with_levels(config: RefineConfig, specs: Sequence[ClassSpec]) -> RefineConfig:
    """The configuration with the levels γ that fit an organ's classes, where it names none."""
    if config.gammas is not None:
        return config
    is_word = any(spec.token is None for spec in specs)
    return replace(config, gammas=WORD_GAMMAS if is_word else TOKEN_GAMMAS)


def _config_for(
    specs: Sequence[ClassSpec], config: RefineConfig, affinities: AffinityField | None
) -> tuple[RefineConfig, dict[str, str], dict[str, Any]]:
    """An organ's own configuration, the stages left out and why, and notes for the record."""
    config = with_levels(config, specs)
    if not needs_affinity(config.method) or affinities is None:
        return config, {}, {}
    if affinities.classes is None:
        return config, {}, {"note": "the AffinityNet does not say which classes it was trained on"}
    unknown = [spec.output for spec in specs if spec.output not in affinities.classes]
    if not unknown:
        return config, {}, {}
    why = f"the AffinityNet was not trained on {', '.join(unknown)}"
    return replace(config, method="crf"), {WALK: why}, {}


def _with_student(
    p: FloatArray,
    q: FloatArray,
    specs: Sequence[ClassSpec],
    config: RefineConfig,
    student: StudentMaps | None,
) -> tuple[FloatArray, FloatArray, str]:
    """Posterior and evidence with the student, and why it was left out ("" where it was not)."""
    weight = config.student_weight
    if weight == 0:
        return q, p, "its weight is 0"
    if student is None:
        return q, p, "the checkpoint has none"
    learnt = student.probability([spec.output for spec in specs])
    if learnt is None:
        missing = [spec.output for spec in specs if spec.output not in student.outputs]
        return q, p, f"it has not learnt {', '.join(missing)}"
    mixed = [np.asarray((1 - weight) * one + weight * learnt, np.float32) for one in (q, p)]
    return mixed[0], mixed[1], ""


def finish(
    posterior: FloatArray,
    evidence: FloatArray,
    specs: Sequence[ClassSpec],
    config: RefineConfig,
) -> tuple[UInt8Array, dict[str, dict[str, Any]]]:
    """The last stage: posterior -> mask (H, W) and scores of each class.

    Args:
        posterior: (classes + 1, H, W), from `apply_stages`, perhaps enlarged.
        evidence: Likewise; what the parts of a class are weighed by.
        specs: The classes.
        config: `clean_up`, `min_part` and `ignore_band` are read.

    Returns:
        Mask and scores. With `config.ignore_band` above 0 the mask is 255 where an organ's top
        posterior is under 0.5 + the band and no organ before it lies; the scores are those of the
        mask without it.
    """
    mask = np.zeros(posterior.shape[1:], np.uint8)
    unsure = np.zeros(mask.shape, bool)
    scores: dict[str, dict[str, Any]] = {}
    for name, p in split(posterior, specs).items():
        rows = organs(specs)[name]
        free = mask == 0
        for spec, region in zip(
            (specs[row] for row in rows), _regions(p, evidence, rows, specs, config), strict=True
        ):
            mask[region & (mask == 0)] = spec.id
        if config.ignore_band:
            unsure |= (p.max(0) < 0.5 + config.ignore_band) & free
        for k, row in enumerate(rows):
            region = mask == specs[row].id
            scores[specs[row].name] = {
                "area": round(float(region.mean()), 5),
                "parts": quality.count_parts(region),
                "stability": round(quality.stability(p[1 + k]), 5),
            }
    mask[unsure] = IGNORE
    return mask, {spec.name: scores[spec.name] for spec in specs}


def _regions(
    p: FloatArray,
    evidence: FloatArray,
    rows: Sequence[int],
    specs: Sequence[ClassSpec],
    config: RefineConfig,
) -> list[BoolArray]:
    """Of each class of one organ, where it lies."""
    best = p.argmax(0)
    out = []
    for k, row in enumerate(rows):
        region = best == 1 + k
        if config.clean_up:
            region = quality.clean(
                region,
                n_parts=specs[row].n_parts,
                min_part=config.min_part,
                weight=evidence[1 + row],
            )
            region &= (best == 1 + k) | (best == 0)  # a hole may be another class's place
        out.append(region)
    return out


def run(
    probability: FloatArray,
    image: UInt8Array,
    specs: Sequence[ClassSpec],
    config: RefineConfig,
    aids: Aids | None = None,
    refiner: Refiner | None = None,
) -> Masked:
    """Every stage after the reading; see `apply_stages` and `finish`.

    A class's score "trust" is the IoU predicted by `aids.judge`, None without one.
    """
    posterior = apply_stages(probability, image, specs, config, aids, refiner)
    mask, scores = finish(posterior.probability, posterior.evidence, specs, config)
    made = Masked(label(probability, specs), mask, posterior, scores)
    judged = aids.judge(probability, image, specs, made) if aids and aids.judge else {}
    for name, one in scores.items():
        one |= judged.get(name, {"trust": None})
    return made
