"""`python -m lungsynth train trust`: what it does."""

from __future__ import annotations

import json
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import click
import torch

from lungsynth.cli.run.train_masks import install
from lungsynth.files import check_writable
from lungsynth.model.tensor_files import write_folder
from lungsynth.pipeline import Synthesizer
from lungsynth.training.trust.films import TrustFilms, gather_for_trust
from lungsynth.training.trust.fit import fit_trust
from lungsynth.training.trust.samples import sample_rows
from lungsynth.trust.score import TRUST_FOLDER, save_trust


@dataclass(frozen=True, kw_only=True)
class TrainTrustCommand:
    """Its options, as `--help` describes them."""

    checkpoint: Path
    out: Path
    threads: int | None
    install: bool
    quiet: bool
    shared: Mapping[str, Any]  # of `TrustFilms`


def run_train_trust(command: TrainTrustCommand) -> None:
    """Fit trust, the IoU a mask is likely to have, on films with expert masks."""
    if command.threads:
        torch.set_num_threads(command.threads)
    check_writable(command.out)
    films = TrustFilms(**command.shared)
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
