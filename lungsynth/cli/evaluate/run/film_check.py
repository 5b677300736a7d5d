"""`python -m lungsynth evaluate film-check`: what it does."""

from __future__ import annotations

import click
import torch

from lungsynth.cli.evaluate.model import FilmCheckCommand
from lungsynth.evaluation.common import write_report
from lungsynth.evaluation.film_check import (
    measure_films,
    measure_others,
    other_pictures,
    read_test_films,
    report,
    totals,
)
from lungsynth.training.film_check.no_films import (
    folder_pictures,
    packaged_pictures,
    split_pictures,
)


def run_film_check(command: FilmCheckCommand) -> None:
    """Count how often the film check is wrong, both ways: false alarms and what it misses."""
    if command.threads:
        torch.set_num_threads(command.threads)
    films = read_test_films(
        command.sources, split=command.split or None, limit=command.limit, seed=command.seed
    )
    held = split_pictures(packaged_pictures())[1]
    for one in command.folders:
        held |= folder_pictures(one)
    sets = measure_films(films, n_moved=command.n_moved, folder=command.folder, quiet=command.quiet)
    every = [image for some in films.values() for image in some]
    others = measure_others(
        other_pictures(held, every, n=command.n_other, seed=command.seed), folder=command.folder
    )
    write_report(
        {
            "films": sets,
            "all_films": totals(sets),
            "others": others,
            "split": command.split,
            "seed": command.seed,
        },
        command.out / "film-check.json",
    )
    click.echo(report(sets, others), nl=False)
