"""`python -m lungsynth evaluate hearing`."""

from __future__ import annotations

from typing import Any

import click

from lungsynth.cli.evaluate.words_options import CHECKPOINT_OPTIONS, FILM_OPTIONS
from lungsynth.cli.options import asked, with_options


@click.command("hearing")
@with_options(FILM_OPTIONS)
@with_options(CHECKPOINT_OPTIONS)
@click.option(
    "--per-fact",
    type=click.IntRange(min=2),
    default=None,
    metavar="N",
    help="At most N films a fact, half of either truth.  [default: all]",
)
@click.option(
    "--timesteps",
    default="400,600,750,900",
    show_default=True,
    metavar="T,T…",
    help="Where films are noised.",
)
@click.option(
    "--noises",
    "n_seeds",
    type=click.IntRange(min=1),
    default=2,
    show_default=True,
    metavar="N",
    help="Noises a film and timestep.",
)
@click.option(
    "--batch-size",
    type=click.IntRange(min=1),
    default=32,
    show_default=True,
    help="Passes at a time.",
)
def hearing_command(**options: Any) -> None:
    """Does the network hear the prompt? Loss on real films, right caption against a wrong one.

    The wrong caption differs in one fact: sex, view, finding, age by 30 years, or side. The share of
    films whose right caption has the lower loss is told for each fact; 50 % is chance.

    \b
    python -m lungsynth evaluate hearing --data nih.parquet --data kermany.parquet --out out/hearing
    python -m lungsynth evaluate hearing … --checkpoint runs/diffusion/pipeline --per-fact 60
    """
    from lungsynth.cli.evaluate.run import words as work  # deferred: a quick --help

    work.run_hearing(asked(work.HearingCommand, options))
