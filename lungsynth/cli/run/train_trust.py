"""`python -m lungsynth train trust`: what it does."""

from __future__ import annotations

import json
from pathlib import Path

import click
import torch

from lungsynth.cli.run.train import given
from lungsynth.cli.run.train_masks import install
from lungsynth.cli.train_masks import TrainTrustCommand
from lungsynth.files import check_writable
from lungsynth.model.tensor_files import write_folder
from lungsynth.pipeline import Synthesizer
from lungsynth.training.trust.films import TrustFilms, gather_for_trust
from lungsynth.training.trust.fit import fit_trust
from lungsynth.training.trust.samples import sample_rows
from lungsynth.trust.score import TRUST_FOLDER, save_trust


def run_train_trust(command: TrainTrustCommand) -> None:
    """Fit trust, the IoU a mask is likely to have, on films with expert masks."""
    if command.threads:
        torch.set_num_threads(command.threads)
    check_writable(command.out)
    films = given(TrustFilms(annotated=command.annotated), vars(command))
    samples, shapes = gather_for_trust(
        Synthesizer(str(command.checkpoint)), command.checkpoint, films, quiet=command.quiet
    )
    info = {"annotated": [Path(text.partition("=")[2] or text).name for text in films.annotated]}
    model = fit_trust(samples, shapes, info=info)
    rows = json.dumps(sample_rows(samples), indent=1) + "\n"
    (command.out / "samples.json").write_text(rows, encoding="utf-8")
    write_folder(command.out / TRUST_FOLDER, lambda folder: save_trust(model, folder))
    for name, weight in model.weights.items():
        click.echo(f"{name:20} {weight:+.3f}", err=True)
    click.echo(f"{command.out / TRUST_FOLDER}: {len(samples)} samples", err=True)
    if command.install:
        at = install(command.out / TRUST_FOLDER, command.checkpoint, TRUST_FOLDER)
        click.echo(f"{at}: installed", err=True)
