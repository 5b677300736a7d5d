"""`python -m lungsynth evaluate hearing`."""

from __future__ import annotations

from pathlib import Path

import click

from lungsynth.cli.evaluate.words_options import CHECKPOINT_OPTIONS, FILM_OPTIONS, numbers
from lungsynth.cli.options import with_options


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
def hearing_command(
    sources: tuple[str, ...],
    image_column: str,
    split: str,
    limit: int | None,
    out: Path,
    seed: int,
    quiet: bool,
    model: str | None,
    precision: str,
    threads: int | None,
    per_fact: int | None,
    timesteps: str,
    n_seeds: int,
    batch_size: int,
) -> None:
    """Does the network hear the prompt? Loss on real films, right caption against a wrong one.

    The wrong caption differs in one fact: sex, view, finding, age by 30 years, or side. The share of
    films whose right caption has the lower loss is told for each fact; 50 % is chance.

    \b
    python -m lungsynth evaluate hearing --data nih.parquet --data kermany.parquet --out out/hearing
    python -m lungsynth evaluate hearing … --checkpoint runs/diffusion/pipeline --per-fact 60
    """
    import torch

    from lungsynth.evaluation.common import read_films, write_report
    from lungsynth.evaluation.words.hearing import hearing, hearing_table
    from lungsynth.model.checkpoint import load_pipeline, name_and_hash

    if threads:
        torch.set_num_threads(threads)
    steps = numbers(timesteps, "--timesteps", low=0, high=999)
    pipe, _ = load_pipeline(model)
    films = read_films(
        sources, split=split or None, image_column=image_column, limit=limit, seed=seed, quiet=quiet
    )
    report = hearing(
        pipe,
        films,
        timesteps=steps,
        n_seeds=n_seeds,
        per_fact=per_fact,
        seed=seed,
        precision=precision,
        batch=batch_size,
        quiet=quiet,
    )
    write_report({**report, **name_and_hash(model), "split": split}, out / "hearing.json")
    click.echo(hearing_table(report))
