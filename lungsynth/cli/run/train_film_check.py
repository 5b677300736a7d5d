"""`python -m lungsynth train film-check`: what it does."""

from __future__ import annotations

from pathlib import Path

import click
import torch

from lungsynth.cli.run.train import given
from lungsynth.cli.train_masks import TrainFilmCheckCommand
from lungsynth.training.film_check.data import gather_pictures
from lungsynth.training.film_check.train import FOLDER, FilmCheckOptions, train_film_check


def run_train_film_check(command: TrainFilmCheckCommand) -> None:
    """Train the network that tells upright frontal chest films from everything else."""
    options = given(FilmCheckOptions(), vars(command))
    if command.threads:
        torch.set_num_threads(command.threads)
    pictures, weights = gather_pictures(
        command.sources,
        command.chests,
        command.others,
        command.folders,
        split=command.split or None,
        limit=command.limit,
        n_other=command.n_other,
        seed=command.seed,
    )
    click.echo(
        f"{len(pictures[0])} films, {len(pictures[1])} lateral views, {len(pictures[2])} other pictures",
        err=True,
    )
    info = {
        "data": [Path(source).stem for source in command.sources],
        "volumes": [path.name for path in (*command.chests, *command.others)],
    }
    model = train_film_check(
        pictures, command.out, options, film_weights=weights, info=info, quiet=command.quiet
    )
    state = "complete" if model is not None else "stopped, run the same command to resume"
    click.echo(f"{command.out / FOLDER}: {state}", err=True)
