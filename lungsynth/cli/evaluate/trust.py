"""`python -m lungsynth evaluate trust`."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import click


@click.command("trust")
@click.option(
    "--annotated",
    metavar="[CLASSES=]SOURCE[@K]",
    multiple=True,
    required=True,
    help="Films with expert masks that trust was not fitted on; repeat for several.",
)
@click.option(
    "--model", default=None, metavar="NAME|DIR", help="Checkpoint.  [default: the shipped one]"
)
@click.option(
    "--split", default="test", show_default=True, metavar="NAME", help="'' takes every row."
)
@click.option(
    "--broken",
    "n_broken",
    type=click.IntRange(min=0),
    default=30,
    show_default=True,
    metavar="N",
    help="Films of each source also inverted, upside down and turned.",
)
@click.option(
    "--no-films",
    "n_no_films",
    type=click.IntRange(min=0),
    default=40,
    show_default=True,
    metavar="N",
    help="Pictures that are no films.",
)
@click.option("--seed", type=click.IntRange(min=0), default=0, show_default=True)
@click.option(
    "--out",
    type=click.Path(path_type=Path, file_okay=False),
    default=None,
    metavar="DIR",
    help="Writes trust.json and calibration.png.",
)
@click.option("--quiet", is_flag=True, help="No progress bar.")
def trust_command(**options: Any) -> None:
    """Does trust predict the IoU of masks, and is it low where the picture is no upright film?

    \b
    python -m lungsynth evaluate trust --annotated v7=kermany.parquet@100 \\
        --annotated nlm=shenzhen.parquet --out runs/trust-test
    """
    from lungsynth.evaluation.masks import trust as work  # deferred: a quick --help

    click.echo(work.run_trust(work.TrustOptions(**options)))
