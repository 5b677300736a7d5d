"""Masks of real films against expert masks: every stage and every rival, film by film.

film -> the model's square -> one reading of the class tokens -> probability of each class
     -> thresholds, refinements -> figures; a map's best global threshold needs all films first,
        so maps wait on disk and memory does not grow with the number of films
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, field, replace
from typing import Any

import numpy as np
from numpy.typing import NDArray
from tqdm import tqdm

from lungsynth.arrays import BoolArray, FloatArray, UInt8Array
from lungsynth.errors import DataError, MaskError
from lungsynth.evaluation.masks.figures import (
    ALL,
    Spill,
    TruthSpec,
    auroc,
    compare,
    iou_by_level,
    side_swapped,
)
from lungsynth.evaluation.masks.reading import (
    Batch,
    Rival,
    batches,
    check_tokens,
    counted_classes,
    side_of,
    usable_methods,
)
from lungsynth.films.data import Record
from lungsynth.films.framing import whole
from lungsynth.masks.chain import Aids, Masked, apply_stages, run
from lungsynth.masks.classes import ClassSpec
from lungsynth.masks.coarse import THRESHOLDS, coarse_mask
from lungsynth.masks.quality import overall_trust, ratio
from lungsynth.masks.reading import label, no_word, read, split
from lungsynth.masks.refine import RefineConfig
from lungsynth.masks.registry import REFINEMENTS
from lungsynth.model.backbone import embed_prompts, encode_images
from lungsynth.pipeline import Read, Synthesizer

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


def measure(
    synthesizer: Synthesizer,
    films: Iterable[Record],
    truth: TruthSpec,
    spill: Spill,
    *,
    methods: Sequence[str] | None = None,
    counted: Sequence[str] | None = None,
    rivals: Mapping[str, Rival] | None = None,
    config: RefineConfig | None = None,
    prompt: str = "",
    seed: int = 0,
    n_noise: int = 1,
    batch: int = 8,
    total: int | None = None,
    quiet: bool = False,
) -> Measured:
    """Segment films by the checkpoint's class tokens and compare every stage with expert masks.

    Each batch is encoded once and its tokens are read once, under the noise of the same seed, as
    `lungsynth.segment` does; the refinements of a film share its probability and affinity field.

    Args:
        synthesizer: A checkpoint with class tokens.
        films: Films with masks; read one batch at a time.
        truth: What the mask values mean.
        spill: Where maps wait; open.
        methods: Keys of REFINEMENTS; None is all of them.
        counted: Classes that make up the region "all"; None is those of `truth`, else every class.
        rivals: Title -> rival, see `lungsynth.evaluation.masks.rivals`.
        config: How masks are refined; its method is the main stage, where it is among `methods`.
        prompt: Read with films that have no text.
        seed: Of the noise.
        n_noise: Noise draws (seeds `seed`, `seed + 1`, …) whose logits are averaged.
        batch: Films a pass.
        total: Number of films, for the progress bar.
        quiet: No progress bar.

    Raises:
        DataError: no class token, no film, or no counted pixel in any mask.
        ConfigError: unknown method or class.
    """
    check_tokens(synthesizer)
    config = config or RefineConfig()
    pipe: Any = synthesizer.pipe
    pixels, specs = side_of(synthesizer), synthesizer.classes
    chosen = counted_classes(specs, truth, counted)
    out: Measured | None = None
    with tqdm(total=total, desc="segmenting", unit="film", disable=quiet, mininterval=2) as bar:
        for part in batches(films, batch):
            images = np.stack([whole(r.image, pixels=pixels) for r in part])
            if out is None:
                usable, skipped = usable_methods(
                    synthesizer, REFINEMENTS if methods is None else methods, config
                )
                main = config.method if config.method in usable else (usable or ["argmax"])[-1]
                out = Measured(
                    spill,
                    truth,
                    {s.name: s.id for s in specs},
                    tuple(s.id for s in chosen),
                    stage_name(
                        replace(config, method=main), student=_has_student(synthesizer, config)
                    )
                    if usable
                    else f"{RAW}: argmax",
                    skipped=skipped,
                )
            texts = [r.text or prompt for r in part]
            latents, embeddings = encode_images(pipe, images), embed_prompts(pipe, texts)
            logits: dict[int, Any] = {}
            each: list[dict[int, Any]] = []
            for n in range(n_noise):
                found = synthesizer.read_tokens(
                    latents, embeddings, [seed + n] * len(part), each=each
                )
                logits = {k: logits.get(k, 0) + v / n_noise for k, v in found.items()}
            theirs = Batch(images, texts, latents, seed)
            drawn = {name: rival(theirs) for name, rival in (rivals or {}).items()}
            for index, record in enumerate(part):
                rival_maps = {name: masks[index] for name, masks in drawn.items()}
                _measure_film(
                    out,
                    synthesizer,
                    record,
                    images[index],
                    Read(logits, each),
                    index,
                    rival_maps,
                    chosen,
                    usable,
                    config,
                )
            bar.update(len(part))
    if out is None:
        raise DataError(
            "There is no film with a mask to measure on; check --split and --mask-column."
        )
    _choose_levels(out)
    return out


def _has_student(synthesizer: Synthesizer, config: RefineConfig) -> bool:
    return synthesizer.student is not None and config.student_weight > 0


def _made(
    probability: FloatArray,
    image: UInt8Array,
    specs: Sequence[ClassSpec],
    config: RefineConfig,
    aids: Aids,
) -> dict[str, Masked]:
    """Stage -> mask: with the student, where there is one, and by attention and refinement alone."""
    without = apply_stages(probability, image, specs, replace(config, student_weight=0.0), aids)
    kept = split(without.probability, specs)
    found = {}
    for student in ([True] if aids.student is not None else []) + [False]:
        one = config if student else replace(config, student_weight=0.0)
        found[stage_name(config, student=student)] = run(
            probability, image, specs, one, aids, lambda name, p, own: kept[name]
        )
    return found


def _measure_film(
    out: Measured,
    synthesizer: Synthesizer,
    record: Record,
    image: UInt8Array,
    reading: Read,
    index: int,
    rival_maps: Mapping[str, NDArray[Any]],
    chosen: Sequence[ClassSpec],
    methods: Sequence[str],
    config: RefineConfig,
) -> None:
    """Add one film: figures of every mask, and its maps to the spill."""
    if record.mask is None:
        raise DataError(f"Film {record.fields.get('id', len(out.names))} has no mask.")
    specs = synthesizer.classes
    written = whole(record.mask, pixels=len(image), nearest=True)
    regions, valid = out.spec.regions(written)
    ids = {
        name: [s.id for s in chosen] if name == ALL else [out.class_ids[name]] for name in regions
    }

    def add(stage: str, region: str, mask: BoolArray) -> None:
        out.values.setdefault((stage, region), []).append(compare(mask, regions[region], valid))

    def add_labels(stage: str, labels: UInt8Array) -> None:
        for region in regions:
            add(stage, region, np.isin(labels, ids[region]))

    def probability_at(threshold: str) -> FloatArray:
        return read(specs, reading.mean, index, no_word, replace(config, threshold=threshold))

    plain = probability_at("auto")
    maps: dict[tuple[str, str], FloatArray] = {}
    for region in regions:
        rows = [1 + k for k, s in enumerate(specs) if s.id in ids[region]]
        maps[RAW, region] = plain[rows].sum(0)
    main = label(plain, specs)
    add_labels(f"{RAW}: argmax", main)
    for name in sorted(set(THRESHOLDS) - {"half"}):  # a token's argmax is its half
        try:
            labels = label(probability_at(name), specs)
        except MaskError:  # a flat map has no threshold: no mask
            labels = np.zeros_like(image)
        add_labels(f"{RAW}: {name}", labels)
    probability = probability_at(config.threshold)
    aids = synthesizer.aids(image, config, methods, synthesizer.seen(reading.each, index, image))
    if _has_student(synthesizer, config):
        alone = replace(config, method="none", student_weight=1.0, clean_up=False)
        main = run(probability, image, specs, alone, aids).mask
        add_labels(STUDENT, main)
    for method in methods:
        for stage, made in _made(
            probability, image, specs, replace(config, method=method), aids
        ).items():
            add_labels(stage, made.mask)
            value = overall_trust({s.name: made.scores[s.name] for s in chosen})
            out.trust.setdefault(stage, []).append(float("nan") if value is None else value)
            main = made.mask if stage == out.main else main
    for name, drawn in rival_maps.items():
        if drawn.dtype == bool:
            add(name, ALL, drawn)
            continue
        maps[name, ALL] = drawn
        for threshold in sorted(set(THRESHOLDS) - {"half"}):
            try:
                add(f"{name}: {threshold}", ALL, coarse_mask(drawn, threshold))
            except MaskError:
                add(f"{name}: {threshold}", ALL, np.zeros_like(valid))
    for (name, region), heat in maps.items():
        out.auroc.setdefault((name, region), []).append(auroc(heat, regions[region], valid))
    if not out.stages:
        _name_stages(out, list(maps), list(rival_maps))
    heats = [(np.clip(heat, 0, 1) * 255).round().astype(np.uint8) for heat in maps.values()]
    out.spill.append(np.stack([image, written, main, *heats]))
    out.names.append(record.fields.get("id") or str(len(out.names)))
    out.fields.append(dict(record.fields))
    out.swapped.append(side_swapped(main, out.class_ids))
    _measure_ratios(out, synthesizer, main, written)


def _measure_ratios(
    out: Measured, synthesizer: Synthesizer, mask: UInt8Array, written: UInt8Array
) -> None:
    """Add a film's ratios, ours and the expert's, of those whose classes the truth tells apart."""
    values = {name: value for value, name in out.spec.classes.items()}
    ours = synthesizer.measured_ratios(mask)
    for one in synthesizer.ratios:
        if not {*one.of, *one.within} <= set(values):
            continue
        theirs = ratio(written, [values[n] for n in one.of], [[values[n]] for n in one.within])
        pair = (ours[one.name], theirs)
        out.ratios.setdefault(one.name, []).append(
            (
                float("nan") if pair[0] is None else pair[0],
                float("nan") if pair[1] is None else pair[1],
            )
        )


def _name_stages(out: Measured, maps: Sequence[tuple[str, str]], rivals: Sequence[str]) -> None:
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


def _choose_levels(out: Measured) -> None:
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
