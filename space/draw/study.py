"""A drawn picture with what its mask is made from, kept for its visitor: masks are remade from it.

    attention -> threshold -> affinity walk -> CRF -> student -> parts kept, holes filled

Drawing takes seconds, this a fraction of one. The walk and the CRF's candidates are kept, since most
sliders move only one of them.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace
from dataclasses import field as per_study
from typing import TYPE_CHECKING, Any

from lungsynth.arrays import IGNORE, FloatArray, UInt8Array
from lungsynth.images import class_colour, overlay
from lungsynth.masks import chain
from lungsynth.masks.chain import Aids, Judge, Masked, run
from lungsynth.masks.fusion import keeping
from lungsynth.masks.reading import label
from lungsynth.masks.refine import RefineConfig, check_affinity, refine
from space.draw.tuning import Tuning

if TYPE_CHECKING:
    from lungsynth.masks.classes import ClassSpec
    from lungsynth.masks.student import StudentMaps
    from lungsynth.masks.walk import AffinityField
    from lungsynth.pipeline import Result, Synthesizer
    from space.draw.watch import Formation

Stage = tuple[str, str, UInt8Array]
"""Name, what it does in a sentence, and (H, W) class ids after it."""

STAGES = {
    "Threshold": "The most probable class of each pixel.",
    "Walk": "AffinityNet carries each class on to where the picture looks the same.",
    "CRF": "DenseCRF draws the border to where the grey value changes.",
    "CRF, nearest the walk": "Of the DenseCRF's candidates, the one that agrees best with the walk.",
    "Student": "A small segmentation network, taught by the chain, has its share.",
    "Mask": "Small parts are dropped and holes filled: the mask that is handed out.",
}
"""What each stage of a mask does."""


@dataclass(frozen=True, slots=True)
class Region:
    """A class in a mask."""

    id: int
    name: str
    colour: tuple[int, int, int]  # RGB, 0-255
    area: float  # share of the picture, [0, 1]
    coarse_area: float  # the same before refinement
    n_parts: int  # connected parts
    stability: float  # [0, 1], 1 = a sure border
    trust: float | None  # IoU it is likely to have, [0, 1]; None where the checkpoint cannot say


@dataclass(slots=True)
class Study:
    """A drawn picture, how it formed, and what its mask is made from."""

    prompt: str
    seed: int
    steps: int
    guidance: float
    image: UInt8Array  # (H, W)
    probability: FloatArray  # (classes + 1, H, W), of attention alone
    specs: list[ClassSpec]
    field: AffinityField | None
    base: RefineConfig  # the program's defaults for this checkpoint
    record: dict[str, Any]
    heats: dict[str, FloatArray]  # word -> (H, W) in [0, 1]; empty once `map_files` is written
    size: str = ""  # of the picture as a link has it; "" = the checkpoint's side
    formation: Formation | None = None  # how the maps formed
    made: Made | None = None  # the mask as it was last made
    map_files: dict[str, bytes] = per_study(default_factory=dict)  # PNG; see `files_of`
    student: StudentMaps | None = None
    judge: Judge | None = None  # gives a mask its trust
    # mask -> widths in proportion, such as the cardiothoracic
    ratios_of: Callable[[UInt8Array], dict[str, float | None]] | None = None
    # organ -> what its last mask was made of; see `lungsynth.masks.fusion`
    cache: dict[str, dict[str, tuple[Any, Any]]] = per_study(default_factory=dict)

    @property
    def aids(self) -> Aids:
        """What the stages of `lungsynth.masks.chain` need beside the attention."""
        return Aids(self.field, self.student, self.judge)


@dataclass(frozen=True, slots=True)
class Made:
    """A mask, and the stages it went through."""

    config: RefineConfig
    mask: UInt8Array  # (H, W) class ids, 255 = ignore
    coarse: UInt8Array
    stages: tuple[Stage, ...]  # those in use, in their order
    regions: tuple[Region, ...]
    ignored: float  # share of the picture
    scores: dict[str, Any]
    used: dict[str, Any]  # class -> stages, see `lungsynth.masks.chain.Posterior`
    ratios: dict[str, float | None]


def make_study(
    model: Synthesizer,
    result: Result,
    tuning: Tuning,
    *,
    size: str = "",
    formation: Formation | None = None,
) -> Study:
    """Keep what is needed of a result and of how its maps formed, and make its mask.

    Raises:
        ConfigError: the tuning is not valid.
    """
    options = result.record["options"]
    aids = model.aids(result.image, RefineConfig(method="none"), seen=result.seen)
    study = Study(
        result.prompt.text,
        result.seed,
        int(options["steps"]),
        float(options["guidance"]),
        result.image,
        result.probability,
        model.class_specs(result.prompt),
        model.affinity_field(result.image) if model.affinity_field else None,
        RefineConfig(),
        result.record,
        dict(result.maps),
        size,
        formation,
        student=aids.student,
        judge=aids.judge,
        ratios_of=model.measured_ratios,
    )
    make(study, tuning)
    return study


def make(study: Study, tuning: Tuning) -> Made:
    """Make the mask of a study anew; it is kept in `study.made`.

    Raises:
        ConfigError: a value is not valid, or a method needs the affinity network that is not there.
    """
    config = tuning.config(study.base)
    if study.made is not None and study.made.config == config:
        return study.made
    check_affinity(config, study.field)
    done = _run(study, config)
    mask, coarse, scores = done.mask, done.coarse, done.scores
    study.made = Made(
        config,
        mask,
        coarse,
        _stages(study, config, done),
        regions_of(study.specs, mask, scores, coarse),
        float((mask == IGNORE).mean()),
        scores,
        done.posterior.stages,
        study.ratios_of(mask) if study.ratios_of else {},
    )
    return study.made


def _stages(study: Study, config: RefineConfig, done: Masked) -> tuple[Stage, ...]:
    """The stages that were used for one class at least, in their order."""
    used = {name for one in done.posterior.stages.values() for name in one["used"]}
    stages: list[Stage] = [("Threshold", STAGES["Threshold"], done.coarse)]
    if chain.WALK in used:
        walked = _labels(study, replace(config, method="affinity"))
        stages.append(("Walk", STAGES["Walk"], walked))
    if chain.CRF in used:
        said = STAGES["CRF, nearest the walk"] if config.method == "cross" else STAGES["CRF"]
        stages.append(("CRF", said, _labels(study, config)))
    if chain.STUDENT in used:
        after = label(done.posterior.probability, study.specs)
        stages.append(("Student", STAGES["Student"], after))
    return (*stages, ("Mask", STAGES["Mask"], done.mask))


def regions_of(
    specs: Sequence[ClassSpec],
    mask: UInt8Array,
    scores: dict[str, Any],
    coarse: UInt8Array | None = None,
) -> tuple[Region, ...]:
    """The classes of a mask with their figures."""
    return tuple(
        Region(
            spec.id,
            spec.name,
            class_colour(spec.id),
            float((mask == spec.id).mean()),
            0.0 if coarse is None else float((coarse == spec.id).mean()),
            int(scores[spec.name]["parts"]),
            float(scores[spec.name]["stability"]),
            scores[spec.name].get("trust"),
        )
        for spec in specs
    )


def final_overlay(study: Study) -> UInt8Array:
    """(H, W, 3): the mask over the X-ray."""
    assert study.made is not None
    return overlay(study.image, study.made.mask)


def files_of(study: Study) -> dict[str, bytes]:
    """PNG files of the maps, as the command line writes them.

    Written when first asked for, which is after the picture was seen: it takes a third of a second.
    """
    from lungsynth.output import map_files  # deferred: imports torch

    if study.heats:
        study.map_files, study.heats = map_files(study.heats, study.image), {}
    return study.map_files


def by_rule(study: Study, tuning: Tuning, methods: Sequence[str]) -> list[tuple[str, UInt8Array]]:
    """The mask by several refinements: name and (H, W) class ids.

    Raises:
        ConfigError: a value is not valid.
    """
    found = []
    for method in methods:
        config = replace(tuning, method=method).config(study.base)
        found.append((method, _run(study, config).mask))
    return found


def _run(study: Study, config: RefineConfig) -> Masked:
    """`lungsynth.masks.chain.run`; results that the next mask may share are kept, organ by organ."""

    def refiner(organ: str, p: FloatArray, own: RefineConfig) -> FloatArray:
        with keeping(study.cache.setdefault(organ, {})):
            return refine(p, study.image, own, study.field)

    return run(study.probability, study.image, study.specs, config, study.aids, refiner)


def _labels(study: Study, config: RefineConfig) -> UInt8Array:
    """(H, W) class ids after walk and CRF, without student and clean-up."""
    done = _run(study, replace(config, student_weight=0.0))
    return label(done.posterior.probability, study.specs)
