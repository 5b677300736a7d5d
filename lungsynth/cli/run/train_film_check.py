"""`python -m lungsynth train film-check`: what it does."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import click
import torch

from lungsynth.cli.run.train import given
from lungsynth.training.film_check.data import gather_pictures
from lungsynth.training.film_check.train import FOLDER, FilmCheckOptions, train_film_check


@dataclass(frozen=True, kw_only=True)
class TrainFilmCheckCommand:
    """Its options, as `--help` describes them."""

    sources: tuple[str, ...]
    chests: tuple[Path, ...]
    others: tuple[Path, ...]
    folders: tuple[Path, ...]
    out: Path
    split: str
    limit: int
    n_other: int
    seed: int
    threads: int | None
    quiet: bool
    shared: Mapping[str, Any]  # of options that several commands have


def run_train_film_check(command: TrainFilmCheckCommand) -> None:
    """Train the network that tells upright frontal chest films from everything else."""
    options = given(FilmCheckOptions(seed=command.seed), command.shared)
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
