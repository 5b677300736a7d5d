"""`python -m lungsynth evaluate memorisation`: what it does."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path

import click

from lungsynth.errors import OutputError
from lungsynth.evaluation.common import read_films, read_samples, write_report
from lungsynth.evaluation.copies.memorisation import evaluate_memorisation, memorisation_table
from lungsynth.files import check_writable
from lungsynth.model.encoder import DEFAULT_FOLDER, checksum, load_encoder


@dataclass(frozen=True, kw_only=True)
class MemorisationCommand:
    """Its options, as `--help` describes them."""

    sources: tuple[str, ...]
    synthetic: Path
    image_column: str
    train_split: str
    calibration_split: str
    test_split: str
    n_planted: int
    encoder_folder: Path | None
    limit: int | None
    seed: int
    out: Path
    gate: bool
    quiet: bool


def run_memorisation(command: MemorisationCommand) -> None:
    """Copies of training films among synthetic pictures: the release gate."""
    check_writable(command.out)
    encoder = load_encoder(command.encoder_folder or DEFAULT_FOLDER)
    inside = command.synthetic / "data"  # of a published folder, which also holds a preview
    place = inside if any(inside.glob("*.parquet")) else command.synthetic
    drawn = read_samples(
        place, image_column=command.image_column, limit=command.limit, seed=command.seed
    )
    train, calibration, test = (
        read_films(
            command.sources,
            split=split,
            image_column=command.image_column,
            seed=command.seed,
            quiet=command.quiet,
            limit=None if split == command.train_split else command.limit,
        )
        for split in (command.train_split, command.calibration_split, command.test_split)
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
        "encoder": checksum(command.encoder_folder or DEFAULT_FOLDER),
        "synthetic": command.synthetic.name,
        "sources": [Path(source).name for source in command.sources],
    }
    write_report({**report, **about}, command.out / "memorisation.json")
    try:
        sheet.save(command.out / "closest.png")
    except OSError as error:
        raise OutputError(f"{command.out / 'closest.png'}: cannot be written ({error}).") from error
    click.echo(memorisation_table(report))
    if command.gate and not report["passed"]:
        click.get_current_context().exit(1)
