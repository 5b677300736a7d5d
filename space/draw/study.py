"""A drawn picture with what its mask is made from, kept for its visitor: masks are remade from it.

    attention -> threshold -> affinity walk -> CRF -> student -> parts kept, holes filled

Drawing takes seconds, this a fraction of one. The walk and the CRF's candidates are kept, since most
sliders move only one of them.
"""

from __future__ import annotations

from dataclasses import dataclass, field, replace
from typing import TYPE_CHECKING, Any

import numpy as np

from lungsynth.arrays import FloatArray, UInt8Array
from lungsynth.images import OKABE_ITO, heat_to_uint8, overlay
from space.draw.tuning import Tuning

if TYPE_CHECKING:
    from lungsynth.masks.chain import Aids, Masked
    from lungsynth.masks.classes import ClassSpec
    from lungsynth.masks.refine import RefineConfig
    from lungsynth.masks.student import StudentMaps
    from lungsynth.masks.walk import AffinityField
    from lungsynth.pipeline import Result, Synthesizer
    from space.draw.watch import Formation


@dataclass(frozen=True, slots=True)
class Region:
    """A class in a mask."""

    name: str
    colour: tuple[int, int, int]  # RGB, 0-255
    area: float  # share of the picture, [0, 1]
    coarse_area: float  # the same before refinement
    n_parts: int  # connected parts
    stability: float  # [0, 1], 1 = a sure border
    trust: float  # [0, 1], low = look at it


@dataclass(slots=True)
class Study:
    """A drawn picture, its maps, and what its mask is made from."""

    prompt: str
    seed: int
    steps: int
    guidance: float
    image: UInt8Array  # (H, W)
    maps: dict[str, UInt8Array]  # word -> (H, W)
    probability: FloatArray  # (classes + 1, H, W), of attention alone
    specs: list[ClassSpec]
    field: AffinityField | None
    base: RefineConfig  # the program's defaults for this checkpoint
    record: dict[str, Any]
    heats: dict[str, FloatArray]  # word -> (H, W) in [0, 1]; empty once `map_files` is written
    size: str = ""  # of the picture as a link has it; "" = the checkpoint's side
    formation: Formation | None = None  # how the maps formed
    made: Made | None = None  # the mask as it was last made
    map_files: dict[str, bytes] = field(
        default_factory=dict
    )  # PNG files of the maps; see `files_of`
    student: StudentMaps | None = None
    # organ -> what its last mask was made of; see `lungsynth.masks.kept`
    cache: dict[str, dict[str, tuple[Any, Any]]] = field(default_factory=dict)

    @property
    def aids(self) -> Aids:
        """What the stages of `lungsynth.masks.chain` need beside the attention."""
        from lungsynth.masks.chain import Aids

        return Aids(self.field, self.student)


@dataclass(frozen=True, slots=True)
class Fusions:
    """The final mask by each of the two fusions, (H, W, 3) over the X-ray."""

    sequential: UInt8Array
    cross: UInt8Array
    gamma: float  # the level "cross" chose


@dataclass(frozen=True, slots=True)
class Made:
    """A mask, and the stages it went through; pictures are (H, W, 3) over the X-ray."""

    config: RefineConfig
    method: str
    mask: UInt8Array  # (H, W) class ids, 255 = ignore
    coarse: UInt8Array
    stages: tuple[tuple[str, UInt8Array], ...]  # title, picture
    regions: tuple[Region, ...]
    ignored: float  # share of the picture
    scores: dict[str, Any]
    used: dict[str, Any]  # class -> stages, see `lungsynth.masks.chain.Posterior`

    @property
    def final(self) -> UInt8Array:
        """The mask over the X-ray."""
        return self.stages[-1][1]


def make_study(
    model: Synthesizer,
    result: Result,
    tuning: Tuning,
    *,
    size: str = "",
    formation: Formation | None = None,
) -> Study:
    """Keep what is needed of a result, and make its mask.

    Args:
        model: Has drawn it.
        result: What was drawn.
        tuning: How its mask is made.
        size: Of the picture, "" for the checkpoint's side.
        formation: How its maps formed.

    Raises:
        ConfigError: the tuning is not valid.
    """
    from lungsynth.masks.refine import RefineConfig

    options = result.record["options"]
    study = Study(
        result.prompt.text,
        result.seed,
        int(options["steps"]),
        float(options["guidance"]),
        result.image,
        {word: heat_to_uint8(heat) for word, heat in result.maps.items()},
        result.probability,
        model.class_specs(result.prompt),
        model.affinity_field(result.image) if model.affinity_field else None,
        RefineConfig(),
        result.record,
        dict(result.maps),
        size,
        formation,
        student=model.aids(result.image, RefineConfig(method="none")).student,
    )
    make(study, tuning)
    return study


def make(study: Study, tuning: Tuning) -> Made:
    """Make the mask of a study anew; it is kept in `study.made`.

    Raises:
        ConfigError: a value is not valid, or a method needs the affinity network that is not there.
    """
    from lungsynth.masks.reading import label
    from lungsynth.masks.refine import REFINEMENTS, check_affinity

    config = tuning.config(study.base)
    if study.made is not None and study.made.config == config:
        return study.made
    check_affinity(config, study.field)
    image, method = study.image, REFINEMENTS[config.method]
    done = _run(study, config)
    mask, coarse, scores = done.mask, done.coarse, done.scores
    stages = [
        ("1 Attention", _soft(image, study.probability)),
        ("2 Threshold", overlay(image, coarse)),
    ]
    if study.field is not None:
        used = "" if method.needs_affinity else f" (unused by {config.method})"
        walked = _labels(study, replace(config, method="affinity"))
        stages.append((f"3 Affinity walk{used}", overlay(image, walked)))
    if method.stage:
        refined = overlay(image, _labels(study, config))
        stages.append((f"{len(stages) + 1} {method.stage}", refined))
    if any("student" in one["used"] for one in done.posterior.stages.values()):
        after = label(done.posterior.probability, study.specs)
        stages.append((f"{len(stages) + 1} Student", overlay(image, after)))
    stages.append((f"{len(stages) + 1} Final", overlay(image, mask)))
    regions = tuple(
        Region(
            spec.name,
            OKABE_ITO[(spec.id - 1) % len(OKABE_ITO)],
            float((mask == spec.id).mean()),
            float((coarse == spec.id).mean()),
            int(scores[spec.name]["parts"]),
            float(scores[spec.name]["stability"]),
            float(scores[spec.name].get("trust", scores[spec.name]["stability"])),
        )
        for spec in study.specs
    )
    study.made = Made(
        config,
        config.method,
        mask,
        coarse,
        tuple(stages),
        regions,
        float((mask == 255).mean()),
        scores,
        done.posterior.stages,
    )
    return study.made


def files_of(study: Study) -> dict[str, bytes]:
    """PNG files of the maps, as the command line writes them.

    Written when first asked for, which is after the picture was seen: it takes a third of a second.
    """
    from lungsynth.output import map_files

    if study.heats:
        study.map_files, study.heats = map_files(study.heats, study.image), {}
    return study.map_files


def fuse(study: Study, tuning: Tuning) -> Fusions | None:
    """The mask by both fusions, whatever the method; None without an affinity network.

    Raises:
        ConfigError: a value is not valid.
    """
    if study.field is None:
        return None
    masks = []
    for method in ("sequential", "cross"):
        config = replace(tuning, method=method).config(study.base)
        masks.append(_run(study, config).mask)
    pictures = [overlay(study.image, mask) for mask in masks]
    return Fusions(pictures[0], pictures[1], _level(study, config))


def _level(study: Study, config: RefineConfig) -> float:
    """The level γ that "cross" chose for the first organ; what it compared is kept from its mask."""
    from lungsynth.masks import fusion
    from lungsynth.masks.chain import with_levels
    from lungsynth.masks.kept import keeping
    from lungsynth.masks.reading import organs, split

    assert study.field is not None
    organ, rows = next(iter(organs(study.specs).items()))
    levels = with_levels(config, [study.specs[row] for row in rows]).gammas
    assert levels is not None
    p = split(study.probability, study.specs)[organ]
    with keeping(study.cache.setdefault(organ, {})):
        walked = fusion.affinity(p, study.field, beta=config.beta, n_steps=config.n_steps)
        candidates = fusion.propose(p, study.image, levels, crf=config.crf)
    return float(levels[fusion.choose(candidates, walked, levels)])


def _run(study: Study, config: RefineConfig) -> Masked:
    """`lungsynth.masks.chain.run`; results that the next mask may share are kept, organ by organ."""
    from lungsynth.masks.chain import run
    from lungsynth.masks.kept import keeping
    from lungsynth.masks.refine import refine

    def refiner(organ: str, p: FloatArray, own: RefineConfig) -> FloatArray:
        with keeping(study.cache.setdefault(organ, {})):
            return refine(p, study.image, own, study.field)

    return run(study.probability, study.image, study.specs, config, study.aids, refiner)


def _labels(study: Study, config: RefineConfig) -> UInt8Array:
    """(H, W) class ids after walk and CRF, without student and clean-up."""
    from lungsynth.masks.reading import label

    done = _run(study, replace(config, student_weight=0.0))
    return label(done.posterior.probability, study.specs)


def _soft(image: UInt8Array, probability: FloatArray) -> UInt8Array:
    """(H, W, 3): each class's probability as a veil of its colour."""
    out = np.repeat(image[..., None], 3, 2).astype(float)
    for index, heat in enumerate(probability[1:]):
        colour = np.array(OKABE_ITO[index % len(OKABE_ITO)], float)
        alpha = 0.6 * heat[..., None]
        out = out * (1 - alpha) + colour * alpha
    return out.round().astype(np.uint8)
