"""`python -m lungsynth train encoder …`: what it does."""

from __future__ import annotations

import json
from dataclasses import asdict
from pathlib import Path

import click
import numpy as np
from numpy.typing import NDArray

from lungsynth.cli.run.train import given, preset_of, say_state
from lungsynth.cli.train import TrainEncoderCommand, TrainNearestCommand
from lungsynth.errors import DataError
from lungsynth.evaluation.common import ImageSet, read_films
from lungsynth.evaluation.reports import write_report
from lungsynth.evaluation.words.encoder_training import (
    ENCODER_PRESETS,
    held_out_accuracy,
    report_accuracy,
    train_encoder,
)
from lungsynth.model.checkpoint import NEAREST_FOLDER
from lungsynth.model.encoder import DEFAULT_FOLDER, checksum, embed, load_encoder, save_nearest
from lungsynth.model.precision import resolve_device
from lungsynth.verify.verifier import calibrate, half_of, save_rules


def run_train_encoder(command: TrainEncoderCommand) -> None:
    """Train the encoder that `evaluate` measures with, on real films."""
    options = given(preset_of(ENCODER_PRESETS, command.preset, "cpu"), vars(command))
    if command.dry_run:
        click.echo(json.dumps(asdict(options), indent=2))
        return
    films = _films(command, command.split)
    if command.patients != "all":
        films = films.take(_of_half(films, command.patients))
    held = None
    if command.val_split:
        try:
            held = _films(command, command.val_split)
        except DataError as error:
            click.echo(f"no accuracy while training: {error}", err=True)
    if held is None and command.patients != "all":
        raise DataError(
            f"--patients {command.patients}: a verifier needs held-out films to know what it may judge; "
            "name their split with --val-split."
        )
    done = train_encoder(
        films,
        held,
        command.out,
        options,
        device=resolve_device(command.device),
        quiet=command.quiet,
    )
    if held is not None and command.patients != "all":
        _make_verifier(command.out / "encoder", held, command.patients, options.seed)
    if command.test_split:
        films = _films(command, command.test_split)
        folder = command.out / "encoder"
        report, table = report_accuracy(
            load_encoder(folder), films, seed=options.seed, quiet=command.quiet
        )
        report |= {"encoder": checksum(folder), "split": command.test_split, "steps": options.steps}
        report |= {"patients": command.patients, "seed": options.seed}
        write_report(report, command.out / "report.json")
        click.echo(table)
    say_state(command.out / "encoder", done)


def _films(command: TrainEncoderCommand | TrainNearestCommand, split: str) -> ImageSet:
    """Films of a split; of every one where it is ""."""
    return read_films(
        command.sources,
        split=split or None,
        image_column=command.image_column,
        quiet=command.quiet,
    )


def _of_half(films: ImageSet, half: str) -> NDArray[np.int64]:
    """Indices of the films of half of the patients; a patient of two sources is in one half."""
    names = [f.get("patient") or name for f, name in zip(films.fields, films.names, strict=True)]
    return np.flatnonzero([half_of(name) == half for name in names])


def _make_verifier(folder: Path, held: ImageSet, patients: str, seed: int) -> None:
    encoder = load_encoder(folder)
    accuracy = {
        name.removeprefix("val "): value for name, value in held_out_accuracy(encoder, held).items()
    }
    save_rules(calibrate(encoder, held.images, accuracy, patients=patients, seed=seed), folder)


def run_train_nearest(command: TrainNearestCommand) -> None:
    """Keep features of training films with a checkpoint."""
    films = _films(command, command.split)
    features = embed(load_encoder(DEFAULT_FOLDER), films.images, quiet=command.quiet).features
    names = ", ".join(Path(source).name for source in command.sources)
    save_nearest(
        command.checkpoint,
        features,
        encoder=checksum(DEFAULT_FOLDER),
        sources=f"{len(films)} films, split {command.split or 'all'} of {names}",
    )
    click.echo(f"{command.checkpoint / NEAREST_FOLDER}: features of {len(films)} films")
