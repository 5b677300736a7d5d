"""`python -m lungsynth evaluate …`: what it does."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path
from typing import Any

import click

from lungsynth.errors import OutputError
from lungsynth.evaluation.common import read_films, read_samples, write_report
from lungsynth.evaluation.copies.neighbours import evaluate_neighbours, neighbours_table
from lungsynth.evaluation.fidelity.extractors import load_extractor
from lungsynth.evaluation.fidelity.measure import FidelityOptions, evaluate_fidelity, fidelity_table
from lungsynth.evaluation.words.obedience import evaluate_obedience, obedience_table
from lungsynth.model.encoder import DEFAULT_FOLDER, checksum, load_encoder


def _encoder(folder: Path | None) -> tuple[Any, str]:
    """The encoder, and its name for the report."""

    chosen = folder or DEFAULT_FOLDER
    return load_encoder(chosen), checksum(chosen)


@dataclass(frozen=True, kw_only=True)
class FidelityCommand:
    """Its options, as `--help` describes them."""

    sources: tuple[str, ...]
    synthetic: Path
    image_column: str
    test_split: str
    extractor_name: str
    out: Path
    limit: int | None
    seed: int
    quiet: bool
    train_split: str
    match: bool
    n_subsamples: int
    n_pairs: int


def run_fidelity(command: FidelityCommand) -> None:
    """Frechet and kernel distance, precision, recall, density, coverage and diversity."""
    extractor = load_extractor(command.extractor_name)
    drawn = read_samples(
        command.synthetic, image_column=command.image_column, limit=command.limit, seed=command.seed
    )
    test, train = (
        read_films(
            command.sources,
            split=split,
            image_column=command.image_column,
            seed=command.seed,
            quiet=command.quiet,
        )
        for split in (command.test_split, command.train_split)
    )
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


@dataclass(frozen=True, kw_only=True)
class ObedienceCommand:
    """Its options, as `--help` describes them."""

    sources: tuple[str, ...]
    synthetic: Path
    image_column: str
    test_split: str
    encoder_folder: Path | None
    out: Path
    limit: int | None
    seed: int
    quiet: bool


def run_obedience(command: ObedienceCommand) -> None:
    """Do samples show the age group, view, finding and sex they were asked for?"""
    encoder, name = _encoder(command.encoder_folder)
    drawn = read_samples(
        command.synthetic, image_column=command.image_column, limit=command.limit, seed=command.seed
    )
    test = read_films(
        command.sources,
        split=command.test_split,
        image_column=command.image_column,
        limit=command.limit,
        seed=command.seed,
        quiet=command.quiet,
    )
    report = evaluate_obedience(drawn, test, encoder, seed=command.seed, quiet=command.quiet)
    write_report({**report, "encoder": name}, command.out / "obedience.json")
    click.echo(obedience_table(report))


@dataclass(frozen=True, kw_only=True)
class NeighboursCommand:
    """Its options, as `--help` describes them."""

    sources: tuple[str, ...]
    synthetic: Path
    image_column: str
    test_split: str
    encoder_folder: Path | None
    out: Path
    limit: int | None
    seed: int
    quiet: bool
    train_split: str


def run_neighbours(command: NeighboursCommand) -> None:
    """Nearest training film of every sample, beside those of real test films."""
    encoder, name = _encoder(command.encoder_folder)
    drawn = read_samples(
        command.synthetic, image_column=command.image_column, limit=command.limit, seed=command.seed
    )
    test, train = (
        read_films(
            command.sources,
            split=split,
            image_column=command.image_column,
            seed=command.seed,
            quiet=command.quiet,
        )
        for split in (command.test_split, command.train_split)
    )
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
        try:
            sheet.save(path)
        except OSError as error:
            raise OutputError(f"{path}: cannot be written ({error}).") from error
        click.echo(f"{path}", err=True)
    click.echo(neighbours_table(report))
