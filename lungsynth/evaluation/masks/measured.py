"""The figures of measured masks: what is kept of each film, and what all films together decide."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field

import numpy as np

from lungsynth.arrays import BoolArray, FloatArray, UInt8Array
from lungsynth.errors import DataError
from lungsynth.evaluation.masks.figures import ALL, Spill, TruthSpec, compare, iou_by_level
from lungsynth.films.data import Record
from lungsynth.films.framing import whole
from lungsynth.masks.refine import RefineConfig

RAW = "raw"
BEST = "best threshold"
STUDENT = "student alone"


@dataclass
class Measured:
    """Figures of every film; entry i of each list belongs to film i."""

    spill: Spill  # planes: image, truth as written, refined labels, maps
    spec: TruthSpec
    class_ids: dict[str, int]  # class name -> id in the refined labels
    counted_ids: tuple[int, ...]  # class ids that make up the region "all"
    main: str  # the stage whose labels are kept: the configured refinement
    names: list[str] = field(default_factory=list)
    fields: list[Mapping[str, str]] = field(default_factory=list)
    values: dict[tuple[str, str], list[tuple[float, ...]]] = field(
        default_factory=dict
    )  # (stage, region)
    levels: dict[tuple[str, str], float] = field(default_factory=dict)  # chosen global thresholds
    auroc: dict[tuple[str, str], list[float]] = field(default_factory=dict)  # (map, region)
    trust: dict[str, list[float]] = field(default_factory=dict)  # refinement stage
    # ratio of widths -> ours and the expert's of each film, NaN where one cannot be had
    ratios: dict[str, list[tuple[float, float]]] = field(default_factory=dict)
    swapped: list[bool] = field(default_factory=list)
    skipped: dict[str, str] = field(default_factory=dict)  # what was left out, and why
    stages: list[str] = field(default_factory=list)  # in the order of the table
    rivals: list[str] = field(default_factory=list)  # those of `stages` that are rivals


def stage_name(config: RefineConfig, *, student: bool = False) -> str:
    """How a refinement is called in tables."""
    parts = [config.method, *(["student"] if student else [])]
    return " + ".join([*parts, *(["clean-up"] if config.clean_up else [])])


class FilmTruth:
    """A film's expert mask; what is compared with it is added to the figures.

    Args:
        out: The figures.
        record: The film, with its mask.
        pixels: Side of the square it is measured at.

    Raises:
        DataError: it has no mask.
    """

    def __init__(self, out: Measured, record: Record, pixels: int) -> None:
        if record.mask is None:
            raise DataError(f"Film {record.fields.get('id', len(out.names))} has no mask.")
        self.out = out
        self.written: UInt8Array = whole(record.mask, pixels=pixels, nearest=True)
        self.regions, self.valid = out.spec.regions(self.written)
        self.ids = {
            name: list(out.counted_ids) if name == ALL else [out.class_ids[name]]
            for name in self.regions
        }
        self.maps: dict[tuple[str, str], FloatArray] = {}  # (map, region) -> (P, P) in [0, 1]

    def add(self, stage: str, region: str, mask: BoolArray) -> None:
        """A stage's mask (P, P) of one region."""
        figures = compare(mask, self.regions[region], self.valid)
        self.out.values.setdefault((stage, region), []).append(figures)

    def add_labels(self, stage: str, labels: UInt8Array) -> None:
        """A stage's class ids (P, P): every region of it."""
        for region in self.regions:
            self.add(stage, region, np.isin(labels, self.ids[region]))


def name_stages(out: Measured, maps: Sequence[tuple[str, str]], rivals: Sequence[str]) -> None:
    """Put the stages in the order of the table: a map at its best threshold, then its others."""
    known = list(dict.fromkeys(stage for stage, _ in out.values))
    for owner in [RAW, *rivals]:
        if (owner, ALL) in maps:
            out.stages.append(f"{owner}: {BEST}")
        out.stages += [s for s in known if s == owner or s.startswith(f"{owner}: ")]
        if owner == RAW:
            out.stages += [s for s in known if s == STUDENT]
            out.stages += list(out.trust)
    out.rivals = [s for s in out.stages if any(s == r or s.startswith(f"{r}: ") for r in rivals)]


def choose_levels(out: Measured) -> None:
    """Find each map's threshold of best mean IoU over all films, then the figures at it."""
    keys = list(out.auroc)
    totals = np.zeros((len(keys), 255))
    n_truth = 0
    for planes in out.spill:
        regions, valid = out.spec.regions(planes[1])
        n_truth += int(regions[ALL].sum())
        for k, (_, region) in enumerate(keys):
            totals[k] += iou_by_level(planes[3 + k], regions[region], valid)
    if not n_truth:
        raise DataError(
            f"No pixel of value {', '.join(map(str, out.spec.values))} in {len(out.names)} masks; the "
            f"first holds {', '.join(map(str, np.unique(out.spill[0][1])))}. Set --foreground or "
            "--class-ids."
        )
    best = totals.argmax(1)
    for k, (name, region) in enumerate(keys):
        # half a step on: where rounding to 8 bits parted the pixels
        out.levels[f"{name}: {BEST}", region] = float((best[k] + 0.5) / 255)
    for planes in out.spill:
        regions, valid = out.spec.regions(planes[1])
        for k, (name, region) in enumerate(keys):
            figures = compare(planes[3 + k] > best[k], regions[region], valid)
            out.values.setdefault((f"{name}: {BEST}", region), []).append(figures)
