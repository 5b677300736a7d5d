"""`python -m lungsynth evaluate film-check`."""

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
    "--split",
    default="test",
    show_default=True,
    metavar="NAME",
    help="Value of the `split` column; '' takes every row.",
)
@click.option(
    "--limit",
    type=click.IntRange(min=1),
    default=None,
    metavar="N",
    help="At most N films of each --data.",
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
    "--n-moved",
    type=click.IntRange(min=0),
    default=None,
    metavar="N",
    help="Films of each --data that are shown turned and inverted too.  [default: all]",
)
@click.option(
    "--n-other",
    type=click.IntRange(min=1),
    default=100,
    show_default=True,
    metavar="N",
    help="Pictures of each kind that is no film.",
)
@click.option(
    "--film-check",
    "folder",
    type=click.Path(path_type=Path, file_okay=False, exists=True),
    default=None,
    metavar="DIR",
    help="A network of `train film-check`.  [default: shipped]",
)
@click.option(
    "--out",
    type=click.Path(path_type=Path, file_okay=False),
    required=True,
    metavar="DIR",
    help="Where the report goes.",
)
@click.option("--seed", type=click.IntRange(min=0), default=0, show_default=True)
@click.option("--threads", type=click.IntRange(min=1), default=None, help="CPU threads.")
@click.option("--quiet", is_flag=True, help="No progress bar.")
def film_check_command(**options: Any) -> None:
    """Count how often the film check is wrong, both ways: false alarms and what it misses.

    \b
    python -m lungsynth evaluate film-check --data films.parquet --out runs/film-check-report

    Every film is shown as it is, inverted, turned by 90, 180 and 270 degrees, both, and mirrored;
    then drawn pictures, pictures that training did not see, and films taken apart.
    """
    from lungsynth.cli.evaluate.run import film_check as work  # deferred: a quick --help

    work.run_film_check(asked(work.FilmCheckCommand, options))
