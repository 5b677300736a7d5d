"""One run of `evaluate masks`: films and rivals in, table, figures and pictures out."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import asdict, replace
from pathlib import Path
from typing import Any

import numpy as np
from PIL import Image

from lungsynth import __version__
from lungsynth.errors import DataError
from lungsynth.evaluation.masks.figures import (
    ALL,
    Spill,
    TruthSpec,
    parse_class_ids,
    split_names,
)
from lungsynth.evaluation.masks.measure import MeasureOptions, measure
from lungsynth.evaluation.masks.measured import Measured
from lungsynth.evaluation.masks.reading import (
    RivalContext,
    check_tokens,
    class_timesteps,
    counted_classes,
    read_masked,
)
from lungsynth.evaluation.masks.report import summarise, table, write_csv
from lungsynth.evaluation.masks.rivals import make_rivals, parse_rivals
from lungsynth.evaluation.options import MasksOptions
from lungsynth.evaluation.reports import write_report, write_sheet
from lungsynth.files import check_writable
from lungsynth.films.data import Record
from lungsynth.images import contact_sheet, overlay
from lungsynth.masks.classes import ClassSpec
from lungsynth.masks.refine import RefineConfig, with_values
from lungsynth.masks.registry import REFINEMENTS
from lungsynth.model.backbone import side_pixels
from lungsynth.pipeline import Synthesizer
from lungsynth.segment import class_prompt

N_TRAIN = 400
"""Films of the train split that rivals may learn from: more do not move the mean mask."""

TRIVIAL = "mean-mask,otsu,ellipses"
"""Rivals measured unless others are named; one that cannot run is then left out with a note."""


def train_films(options: MasksOptions) -> list[Record]:
    """Films rivals may learn from; [] where the split is not to be had.

    Raises:
        DataError: the split was asked for but is the one that is measured.
    """
    if not options.rival_split:
        return []
    if options.rival_split == options.split:
        raise DataError(
            f"--rival-split {options.rival_split} is the split that is measured; name another."
        )
    try:
        return list(_films(options, options.rival_split, limit=N_TRAIN))
    except DataError:
        return []  # rivals that need them say so


def run_masks(options: MasksOptions) -> str:
    """Measure, write the files of `--out`, and return the table.

    Raises:
        LungSynthError: an option does not fit the data or the checkpoint; before anything long.
    """
    truth = TruthSpec(
        foreground=tuple(options.foreground),
        classes=parse_class_ids(options.class_ids),
        ignore=tuple(options.ignore),
    )
    rival_names = parse_rivals(options.rivals)
    methods = list(REFINEMENTS) if options.methods == "all" else split_names(options.methods)
    if options.out:
        check_writable(options.out, make=False)
    synthesizer = Synthesizer(options.model, classes=options.classes)
    check_tokens(synthesizer)
    counted = counted_classes(synthesizer.classes, truth, split_names(options.counted))
    config = with_values(RefineConfig(), options.refine_values)
    if options.student_weight is not None:
        config = replace(config, student_weight=options.student_weight)
    context = _context(options, synthesizer, truth, counted, with_films="mean-mask" in rival_names)
    rivals, missing = make_rivals(
        rival_names, context, required=options.rivals not in ("all", TRIVIAL)
    )
    what = MeasureOptions(
        methods=methods,
        counted=[s.name for s in counted],
        rivals=rivals,
        config=config,
        prompt=class_prompt(synthesizer),
        seed=options.seed,
        n_noise=options.n_noise,
        batch=options.batch_size,
        total=options.limit,
        quiet=options.quiet,
    )
    films = _films(options, options.split or None, limit=options.limit, text=options.text_column)
    with Spill() as spill:
        measured = measure(synthesizer, films, truth, spill, what)
        measured.skipped |= missing
        report = summarise(measured, pixels=context.pixels, seed=options.seed)
        report |= _facts(options, synthesizer, measured, what)
        report["rival_facts"] = context.facts
        if options.out:
            _write(options.out, report, measured, context.pixels)
    return table(report)


def _films(
    options: MasksOptions, split: str | None, *, limit: int | None, text: str = ""
) -> Iterator[Record]:
    """Films with masks of one split, see `read_masked`."""
    return read_masked(
        options.source,
        split=split,
        convention=options.convention,
        limit=limit,
        seed=options.seed,
        image_column=options.image_column,
        mask_column=options.mask_column,
        text_column=text or None,
    )


def _context(
    options: MasksOptions,
    synthesizer: Synthesizer,
    truth: TruthSpec,
    counted: Sequence[ClassSpec],
    *,
    with_films: bool,
) -> RivalContext:
    """What rivals may know."""
    return RivalContext(
        synthesizer,
        side_pixels(synthesizer.pipe),
        truth,
        train_films(options) if with_films else [],
        n_parts=sum(s.n_parts for s in counted),
        word=options.word or (counted[0].word or counted[0].name.split()[-1]),
    )


def _facts(
    options: MasksOptions, synthesizer: Synthesizer, measured: Measured, what: MeasureOptions
) -> dict[str, Any]:
    """What a report says of how its figures came about."""
    truth = measured.spec
    found = sorted({f.get("mask_convention", "") for f in measured.fields})
    return {
        "source": Path(options.source).name,
        "split": options.split,
        "convention": [options.convention] if options.convention and found == [""] else found,
        "truth": asdict(truth) | {"classes": {str(k): v for k, v in truth.classes.items()}},
        "counted": what.counted,
        "timesteps": list(class_timesteps(synthesizer)),
        "model": synthesizer.name,
        "model_hash": synthesizer.model_hash,
        "seed": options.seed,
        "n_noise": options.n_noise,
        "refine": asdict(what.config),
        "code_version": __version__,
    }


def _write(out: Path, report: dict[str, Any], measured: Measured, pixels: int) -> None:
    """The files of `--out`."""
    write_report(report, out / "masks.json")
    write_csv(measured, out / "masks.csv", pixels=pixels)
    draw_sheet(measured, out / "sheet.png")


def draw_sheet(measured: Measured, path: Path, *, n: int = 10) -> None:
    """The `n` worst and `n` median films of the main stage.

    Of each: above, ours and the expert's mask; below, the film and what differs (orange: too much,
    blue: missed).
    """
    scores = np.array(measured.values[measured.main, ALL])[:, 0]
    order = np.argsort(scores, kind="stable")
    middle = max(0, len(order) // 2 - n // 2)
    chosen = [("worst", i) for i in order[:n]]
    chosen += [("median", i) for i in order[middle : middle + n] if i not in order[:n]]
    pictures, lines = [], []
    for kind, index in chosen:
        image, written, labels = measured.spill[int(index)][:3]
        regions, valid = measured.spec.regions(written)
        expert = np.where(valid, regions[ALL] * 3, 255).astype(np.uint8)
        for name, region in regions.items():
            if name != ALL:
                expert[region & valid] = measured.class_ids[name]
        ours = np.isin(labels, list(measured.counted_ids))
        wrong = np.where(ours & ~regions[ALL], 1, np.where(regions[ALL] & ~ours, 2, 0)) * valid
        grey = np.repeat(image[..., None], 3, 2)
        tiles = [
            [overlay(image, labels), overlay(image, expert)],
            [grey, overlay(image, wrong.astype(np.uint8))],
        ]
        pictures.append(Image.fromarray(np.concatenate([np.concatenate(row, 1) for row in tiles])))
        lines.append(f"{kind} {measured.names[index]} IoU {scores[index]:.3f}")
    write_sheet(contact_sheet(pictures, lines, n_columns=5, pixels=384), path)
