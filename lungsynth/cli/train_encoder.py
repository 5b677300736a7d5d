"""`python -m lungsynth train encoder …`."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import click

from lungsynth.cli.options import asked, with_options
from lungsynth.cli.train import LOOP_OPTIONS

DATA_OPTIONS = [
    click.option(
        "--data",
        "sources",
        metavar="SOURCE",
        multiple=True,
        required=True,
        help="Parquet file, folder, or `datasets` name; repeat for several.",
    ),
    click.option("--image-column", default="image", show_default=True, metavar="NAME"),
    click.option(
        "--split",
        default="train",
        show_default=True,
        metavar="NAME",
        help="Value of the `split` column to train on; '' takes every row.",
    ),
    click.option(
        "--val-split",
        default="val",
        show_default=True,
        metavar="NAME",
        help="Split of the accuracy lines in the metrics; '' for none.",
    ),
    click.option(
        "--test-split",
        default="test",
        show_default=True,
        metavar="NAME",
        help="Split of the final report; '' for none.",
    ),
]


@click.command("encoder")
@with_options(DATA_OPTIONS + LOOP_OPTIONS)
@click.option(
    "--patients",
    type=click.Choice(["all", "half-a", "half-b"]),
    default="all",
    show_default=True,
    help="Train on half of the patients, by a hash of their names. The encoder is then also a "
    "verifier, for --verifier; another should measure what it chose.",
)
def train_encoder_command(**options: Any) -> None:
    """Train the encoder that `evaluate` measures with, on real films.

    \b
    python -m lungsynth train encoder --data films.parquet --out runs/encoder --preset cpu
    python -m lungsynth train encoder … --patients half-b --seed 1 --out runs/verifier
    """
    from lungsynth.cli.run import train_encoder as work  # deferred: a quick --help

    work.run_train_encoder(asked(work.TrainEncoderCommand, options))


@click.command("nearest")
@click.option(
    "--data",
    "sources",
    metavar="SOURCE",
    multiple=True,
    required=True,
    help="Every film the checkpoint was trained on; repeat for several.",
)
@click.option("--image-column", default="image", show_default=True, metavar="NAME")
@click.option(
    "--split",
    default="train",
    show_default=True,
    metavar="NAME",
    help="Value of the `split` column it was trained on; '' takes every row.",
)
@click.option(
    "--checkpoint",
    type=click.Path(path_type=Path, exists=True, file_okay=False),
    required=True,
    metavar="DIR",
    help="Writes nearest/ into it.",
)
@click.option("--quiet", is_flag=True, help="No progress bar.")
def train_nearest_command(**options: Any) -> None:
    """Keep features of training films with a checkpoint.

    Every picture it draws then states its distance to the nearest of them.

    \b
    python -m lungsynth train nearest --data films.parquet --checkpoint runs/diffusion/checkpoint
    """
    from lungsynth.cli.run import train_encoder as work  # deferred: a quick --help

    work.run_train_nearest(asked(work.TrainNearestCommand, options))
