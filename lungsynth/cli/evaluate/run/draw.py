"""`python -m lungsynth evaluate draw`: what it does."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path

import click

from lungsynth.cli.run.values import interval_of, rejection_of
from lungsynth.evaluation.drawing import draw_set
from lungsynth.model.sampling import SampleOptions
from lungsynth.pipeline import Synthesizer


@dataclass(frozen=True, kw_only=True)
class DrawCommand:
    """Its options, as `--help` describes them."""

    out: Path
    n: int
    model: str | None
    steps: int
    guidance: float
    guidance_interval: str | None
    n_redraws: int | None
    verifier_folder: Path | None
    scheduler: str
    precision: str
    seed: int
    batch_size: int
    quiet: bool


def run_draw(command: DrawCommand) -> None:
    """Draw a balanced set of samples with what each prompt asked for. Resumes."""
    options = SampleOptions(
        steps=command.steps,
        guidance=command.guidance,
        guidance_interval=interval_of(command.guidance_interval),
        scheduler=command.scheduler,
        precision=command.precision,
    )
    rejection = rejection_of(command.n_redraws, command.verifier_folder)
    drawn = draw_set(
        Synthesizer(command.model),
        command.out,
        n=command.n,
        options=options,
        seed=command.seed,
        batch=command.batch_size,
        quiet=command.quiet,
        rejection=rejection,
    )
    for _ in drawn:
        pass
    if rejection is not None:
        click.echo(f"verifier {rejection.verifier.name}: {rejection.tally.sentence()}", err=True)
    click.echo(str(command.out))
