"""`python -m lungsynth train film-check`."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import click

from lungsynth.cli.options import asked


@click.command("film-check")
@click.option(
    "--data",
    "sources",
    metavar="SOURCE",
    multiple=True,
    required=True,
    help="Frontal films, upright and of usual polarity; repeat for several.",
)
@click.option(
    "--chest-ct",
    "chests",
    type=click.Path(path_type=Path, dir_okay=False, exists=True),
    multiple=True,
    metavar="FILE",
    help="NIfTI volume of a chest: lateral views are drawn from it; repeat for several.",
)
@click.option(
    "--other-ct",
    "others",
    type=click.Path(path_type=Path, dir_okay=False, exists=True),
    multiple=True,
    metavar="FILE",
    help="NIfTI volume of another part of the body.",
)
@click.option(
    "--pictures",
    "folders",
    type=click.Path(path_type=Path, file_okay=False, exists=True),
    multiple=True,
    metavar="DIR",
    help="More pictures that are no chest films.",
)
@click.option(
    "--out",
    type=click.Path(path_type=Path, file_okay=False),
    required=True,
    metavar="DIR",
    help="Run folder. The same command again resumes.",
)
@click.option(
    "--split",
    default="train",
    show_default=True,
    metavar="NAME",
    help="Value of the `split` column to train on; '' takes every row.",
)
@click.option(
    "--limit",
    type=click.IntRange(min=1),
    default=2000,
    show_default=True,
    metavar="N",
    help="At most N films of each --data.",
)
@click.option(
    "--n-other",
    type=click.IntRange(min=1),
    default=6000,
    show_default=True,
    metavar="N",
    help="Pictures that are no films.",
)
@click.option("--steps", type=click.IntRange(min=1), default=None, metavar="N")
@click.option("--batch-size", type=click.IntRange(min=1), default=None, metavar="N")
@click.option("--lr", type=click.FloatRange(min=0, min_open=True), default=None)
@click.option("--seed", type=click.IntRange(min=0), default=0, show_default=True)
@click.option(
    "--max-minutes",
    type=click.FloatRange(min=0),
    default=None,
    help="Stop, resumable, after so long.",
)
@click.option("--threads", type=click.IntRange(min=1), default=None, help="CPU threads.")
@click.option("--quiet", is_flag=True, help="No progress bar.")
def train_film_check_command(**options: Any) -> None:
    """Train the network that tells upright frontal chest films from everything else.

    \b
    python -m lungsynth train film-check --data films.parquet --data more.parquet \\
        --chest-ct chest.nii.gz --other-ct abdomen.nii.gz --out runs/film-check

    Beside the films it sees drawn pictures, what comes with scikit-image, scikit-learn, Matplotlib
    and pydicom, and films taken apart.
    """
    from lungsynth.cli.run import train_film_check as work  # deferred: a quick --help

    work.run_train_film_check(asked(work.TrainFilmCheckCommand, options))
