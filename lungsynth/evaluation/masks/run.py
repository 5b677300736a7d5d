"""One run of `evaluate masks`: films and rivals in, table, figures and pictures out."""

from __future__ import annotations

from dataclasses import asdict, replace
from pathlib import Path

from lungsynth import __version__
from lungsynth.errors import DataError
from lungsynth.evaluation.common import write_report
from lungsynth.evaluation.masks.figures import Spill, TruthSpec, parse_class_ids
from lungsynth.evaluation.masks.measure import measure
from lungsynth.evaluation.masks.reading import (
    check_tokens,
    class_timesteps,
    counted_classes,
    read_masked,
    side_of,
)
from lungsynth.evaluation.masks.registry import RivalContext
from lungsynth.evaluation.masks.report import draw_plot, draw_sheet, summarise, table, write_csv
from lungsynth.evaluation.masks.rivals import make_rivals, parse_rivals
from lungsynth.evaluation.options import MasksOptions
from lungsynth.files import check_writable
from lungsynth.films.data import Record
from lungsynth.masks.refine import RefineConfig, with_values
from lungsynth.masks.registry import REFINEMENTS
from lungsynth.pipeline import Synthesizer
from lungsynth.segment import class_prompt

N_TRAIN = 400
"""Films of the train split that rivals may learn from: more do not move the mean mask."""

TRIVIAL = "mean-mask,otsu,ellipses"
"""Rivals measured unless others are named; one that cannot run is then left out with a note."""


def split_names(text: str) -> list[str]:
    """`a, b` -> ["a", "b"]."""
    return [part.strip() for part in text.split(",") if part.strip()]


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
        return list(
            read_masked(
                options.source,
                split=options.rival_split,
                convention=options.convention,
                limit=N_TRAIN,
                seed=options.seed,
                image_column=options.image_column,
                mask_column=options.mask_column,
            )
        )
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
    pixels, config = side_of(synthesizer), with_values(RefineConfig(), options.refine_values)
    if options.student_weight is not None:
        config = replace(config, student_weight=options.student_weight)
    context = RivalContext(
        synthesizer,
        pixels,
        truth,
        train_films(options) if rival_names else [],
        n_parts=sum(s.n_parts for s in counted),
        word=options.word or (counted[0].word or counted[0].name.split()[-1]),
        shots=options.shots,
        steps=options.rival_steps,
        seed=options.seed,
        quiet=options.quiet,
    )
    rivals, missing = make_rivals(
        rival_names, context, required=options.rivals not in ("all", TRIVIAL)
    )
    films = read_masked(
        options.source,
        split=options.split or None,
        convention=options.convention,
        limit=options.limit,
        seed=options.seed,
        image_column=options.image_column,
        mask_column=options.mask_column,
        text_column=options.text_column or None,
    )
    with Spill() as spill:
        measured = measure(
            synthesizer,
            films,
            truth,
            spill,
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
        measured.skipped |= missing
        report = summarise(measured, pixels=pixels, seed=options.seed) | {
            "source": Path(options.source).name,
            "split": options.split,
            "convention": sorted({f.get("mask_convention", "") for f in measured.fields}),
            "truth": asdict(truth) | {"classes": {str(k): v for k, v in truth.classes.items()}},
            "counted": [s.name for s in counted],
            "timesteps": list(class_timesteps(synthesizer)),
            "model": synthesizer.name,
            "model_hash": synthesizer.model_hash,
            "seed": options.seed,
            "n_noise": options.n_noise,
            "refine": asdict(config),
            "rival_facts": context.facts,
            "code_version": __version__,
        }
        if options.convention and report["convention"] == [""]:
            report["convention"] = [options.convention]
        if options.out:
            write_report(report, options.out / "masks.json")
            write_csv(measured, options.out / "masks.csv", pixels=pixels)
            title = " ".join([str(report["source"]), options.split, options.convention]).strip()
            draw_plot(report, measured, options.out / "plot.png", title=title)
            draw_sheet(measured, options.out / "sheet.png")
    return table(report)
