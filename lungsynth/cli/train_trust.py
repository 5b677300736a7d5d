"""`python -m lungsynth train trust`."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import click

from lungsynth.cli.options import asked


@click.command("trust")
@click.option(
    "--checkpoint",
    type=click.Path(path_type=Path, file_okay=False, exists=True),
    required=True,
    metavar="DIR",
    help="Checkpoint whose masks are judged.",
)
@click.option(
    "--out",
    type=click.Path(path_type=Path, file_okay=False),
    required=True,
    metavar="DIR",
    help="Run folder: samples, the fitted trust, report.",
)
@click.option(
    "--annotated",
    metavar="[CLASSES=]SOURCE[@K]",
    multiple=True,
    required=True,
    help="Films with expert masks, all or K of them; repeat for several. Those that the student "
    "was not trained on are taken first.",
)
@click.option(
    "--data",
    "sources",
    metavar="SOURCE",
    multiple=True,
    help="Training films without masks, for the shapes that are usual; repeat for several.",
)
@click.option(
    "--limit",
    type=click.IntRange(min=0),
    default=120,
    show_default=True,
    metavar="N",
    help="At most N films of each --data.",
)
@click.option(
    "--broken",
    "n_broken",
    type=click.IntRange(min=0),
    default=20,
    show_default=True,
    metavar="N",
    help="Films of each set of classes also inverted, upside down and turned.",
)
@click.option(
    "--no-films",
    "n_no_films",
    type=click.IntRange(min=0),
    default=48,
    show_default=True,
    metavar="N",
    help="Pictures that are no films.",
)
@click.option(
    "--split",
    default="train",
    show_default=True,
    metavar="NAME",
    help="Value of the `split` column; '' takes every row.",
)
@click.option("--seed", type=click.IntRange(min=0), default=0, show_default=True)
@click.option("--threads", type=click.IntRange(min=1), default=None, help="CPU threads.")
@click.option("--install", is_flag=True, help="Copy the result into the checkpoint.")
@click.option("--quiet", is_flag=True, help="No progress bar.")
def train_trust_command(**options: Any) -> None:
    """Fit trust, the IoU a mask is likely to have, on films with expert masks.

    \b
    python -m lungsynth train trust --checkpoint DIR --annotated v7=kermany.parquet@110 \\
        --annotated nlm=nlm.parquet --data nih.parquet --out runs/trust --install
    """
    from lungsynth.cli.run import train_trust as work  # deferred: a quick --help

    work.run_train_trust(asked(work.TrainTrustCommand, options))
