"""`evaluate fidelity`, `detail`, `obedience`, `neighbours`, `memorisation` and `age`: what they do."""

from __future__ import annotations

from pathlib import Path

import click

from lungsynth.cli.evaluate.samples import (
    AgeCommand,
    DetailCommand,
    FidelityCommand,
    MemorisationCommand,
    NeighboursCommand,
    ObedienceCommand,
)
from lungsynth.cli.options import Compared, Encoded
from lungsynth.errors import ConfigError
from lungsynth.evaluation.common import ImageSet, chosen_by, read_films, read_samples
from lungsynth.evaluation.copies.memorisation import evaluate_memorisation, memorisation_table
from lungsynth.evaluation.copies.neighbours import evaluate_neighbours, neighbours_table
from lungsynth.evaluation.fidelity.detail import DETAIL_LIMIT, detail_table, evaluate_detail
from lungsynth.evaluation.fidelity.extractors import load_extractor
from lungsynth.evaluation.fidelity.measure import FidelityOptions, evaluate_fidelity, fidelity_table
from lungsynth.evaluation.reports import write_report, write_sheet
from lungsynth.evaluation.words.age import age_table, evaluate_age
from lungsynth.evaluation.words.obedience import evaluate_obedience, obedience_table
from lungsynth.files import check_writable
from lungsynth.model.checkpoint import load_pipeline, name_and_hash
from lungsynth.model.encoder import DEFAULT_FOLDER, Encoder, checksum, load_encoder


def encoder_of(command: Encoded) -> tuple[Encoder, str]:
    """The encoder, and its name for the report."""
    chosen = command.encoder_folder or DEFAULT_FOLDER
    return load_encoder(chosen), checksum(chosen)


def samples_of(command: Compared) -> ImageSet:
    """Samples with what was asked for; the place of the report is tried first.

    Raises:
        OutputError: it cannot be written.
        DataError: see `read_samples`.
    """
    check_writable(command.out)
    return read_samples(
        command.synthetic, image_column=command.image_column, limit=command.limit, seed=command.seed
    )


def films_of(command: Compared, split: str) -> ImageSet:
    """Every real film of a split; see `read_films`."""
    return read_films(
        command.sources,
        split=split,
        image_column=command.image_column,
        seed=command.seed,
        quiet=command.quiet,
    )


def run_fidelity(command: FidelityCommand) -> None:
    """Frechet and kernel distance, precision, recall, density, coverage and diversity."""
    extractor = load_extractor(command.extractor_name)
    drawn = samples_of(command)
    test, train = (films_of(command, split) for split in (command.test_split, command.train_split))
    report = evaluate_fidelity(
        drawn,
        train,
        test.limited(command.limit, command.seed),
        extractor,
        FidelityOptions(
            match=command.match,
            n_subsamples=command.n_subsamples,
            n_pairs=command.n_pairs,
            seed=command.seed,
            quiet=command.quiet,
        ),
    )
    write_report({**report, "encoder": extractor.checksum}, command.out / "fidelity.json")
    click.echo(fidelity_table(report))


def run_obedience(command: ObedienceCommand) -> None:
    """Do samples show the age group, view, finding and sex they were asked for?"""
    encoder, name = encoder_of(command)
    drawn = samples_of(command)
    if chosen_by(drawn) == name:
        raise ConfigError(
            f"{command.synthetic}: chosen by the encoder {name}, which is to measure here. Name another "
            "with --encoder."
        )
    test = films_of(command, command.test_split).limited(command.limit, command.seed)
    report = evaluate_obedience(drawn, test, encoder, seed=command.seed, quiet=command.quiet)
    write_report({**report, "encoder": name}, command.out / "obedience.json")
    click.echo(obedience_table(report))


def run_detail(command: DetailCommand) -> None:
    """Power by band of frequency, and radiomics, beside the autoencoder's reconstructions."""
    check_writable(command.out)
    samples = read_samples(command.synthetic, image_column=command.image_column)
    train, test = (films_of(command, split) for split in (command.train_split, command.test_split))
    pipe, _ = load_pipeline(command.model)
    report = evaluate_detail(
        pipe,
        samples,
        train,
        test,
        n_subsamples=command.n_subsamples,
        limit=command.limit or DETAIL_LIMIT,
        seed=command.seed,
        quiet=command.quiet,
    )
    write_report({**report, **name_and_hash(command.model)}, command.out / "detail.json")
    click.echo(detail_table(report))


def run_neighbours(command: NeighboursCommand) -> None:
    """Nearest training film of every sample, beside those of real test films."""
    encoder, name = encoder_of(command)
    drawn = samples_of(command)
    test, train = (films_of(command, split) for split in (command.test_split, command.train_split))
    report, sheets = evaluate_neighbours(
        drawn,
        train,
        test.limited(command.limit, command.seed),
        encoder,
        seed=command.seed,
        quiet=command.quiet,
    )
    write_report({**report, "encoder": name}, command.out / "neighbours.json")
    for measure, sheet in sheets.items():
        path = command.out / f"closest_{measure}.png"
        write_sheet(sheet, path)
        click.echo(f"{path}", err=True)
    click.echo(neighbours_table(report))


def run_memorisation(command: MemorisationCommand) -> None:
    """Copies of training films among synthetic pictures: the release gate."""
    encoder, name = encoder_of(command)
    drawn = samples_of(command)
    train = films_of(command, command.train_split)
    calibration, test = (
        films_of(command, split).limited(command.limit, command.seed)
        for split in (command.calibration_split, command.test_split)
    )
    report, sheet = evaluate_memorisation(
        drawn,
        train,
        calibration,
        test,
        encoder,
        n_planted=command.n_planted,
        seed=command.seed,
        quiet=command.quiet,
    )
    about = {
        "encoder": name,
        "synthetic": command.synthetic.name,
        "sources": [Path(source).name for source in command.sources],
    }
    write_report({**report, **about}, command.out / "memorisation.json")
    write_sheet(sheet, command.out / "closest.png")
    click.echo(memorisation_table(report))
    if command.gate and not report["passed"]:
        click.get_current_context().exit(1)


def run_age(command: AgeCommand) -> None:
    """Age asked against age judged."""
    encoder, name = encoder_of(command)
    samples = samples_of(command)
    train, test = (films_of(command, split) for split in (command.train_split, command.test_split))
    report = evaluate_age(samples, train, test, encoder, seed=command.seed, quiet=command.quiet)
    write_report({**report, "encoder": name}, command.out / "age.json")
    click.echo(age_table(report))
