"""`python -m lungsynth evaluate memorisation`."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import click

from lungsynth.cli.options import asked


@click.command("memorisation")
@click.option(
    "--data",
    "sources",
    metavar="SOURCE",
    multiple=True,
    required=True,
    help="Real films: every one the model was trained on, and others; repeat for several.",
)
@click.option(
    "--synthetic",
    type=click.Path(path_type=Path),
    required=True,
    metavar="DIR|PARQUET",
    help="What is to be released: folder with records, or Parquet.",
)
@click.option("--image-column", default="image", show_default=True, metavar="NAME")
@click.option(
    "--train-split",
    default="train",
    show_default=True,
    metavar="NAME",
    help="Films the model was trained on.",
)
@click.option(
    "--calibration-split",
    default="val",
    show_default=True,
    metavar="NAME",
    help="Unseen films that set the threshold.",
)
@click.option(
    "--test-split",
    default="test",
    show_default=True,
    metavar="NAME",
    help="Unseen films that say how good the threshold is.",
)
@click.option(
    "--planted",
    "n_planted",
    type=click.IntRange(min=1),
    default=800,
    show_default=True,
    metavar="N",
    help="Copies planted: half set the threshold, half are stated.",
)
@click.option(
    "--encoder",
    "encoder_folder",
    type=click.Path(path_type=Path),
    default=None,
    metavar="DIR",
    help="Encoder of `train encoder`.  [default: the shipped one]",
)
@click.option(
    "--limit",
    type=click.IntRange(min=2),
    default=None,
    metavar="N",
    help="At most N synthetic pictures and N films of each unseen split.",
)
@click.option("--seed", type=click.IntRange(min=0), default=0, show_default=True)
@click.option(
    "--out",
    type=click.Path(path_type=Path, file_okay=False),
    required=True,
    metavar="DIR",
    help="Writes memorisation.json and closest.png.",
)
@click.option("--gate", is_flag=True, help="Exit code 1 where the gate is not passed.")
@click.option("--quiet", is_flag=True, help="No progress bar.")
def memorisation_command(**options: Any) -> None:
    """Copies of training films among synthetic pictures: the release gate.

    Every picture is laid over the training films, flipped and turned and cropped, and scored by how
    alike ribs and vessels are. The threshold is set on unseen real films and on planted copies, and
    stated on others. Also lists duplicates inside the set.

    \b
    python -m lungsynth evaluate memorisation --data films.parquet --synthetic drawn --out out/copies
    """
    from lungsynth.cli.evaluate.run import memorisation as work  # deferred: a quick --help

    work.run_memorisation(asked(work.MemorisationCommand, options))
