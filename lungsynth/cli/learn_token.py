"""`python -m lungsynth learn-token`."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import click

from lungsynth.cli.options import asked


@click.command("learn-token")
@click.option(
    "--data",
    "sources",
    metavar="SOURCE",
    multiple=True,
    required=True,
    help="Source with an image and a mask column; repeat for several.",
)
@click.option("--class", "name", default=None, metavar="NAME", help="Name of the class.")
@click.option(
    "--id",
    "class_id",
    type=click.IntRange(1, 254),
    default=None,
    help="Value of the class in masks.",
)
@click.option(
    "--k",
    type=click.IntRange(min=1),
    default=1,
    show_default=True,
    help="Annotated films used, spread evenly over the sources.",
)
@click.option(
    "--side",
    type=click.Choice(["both", "left", "right"]),
    default="both",
    show_default=True,
    help="Take one (the patient's) side of a paired organ's mask.",
)
@click.option(
    "--checkpoint",
    type=click.Path(path_type=Path, file_okay=False, exists=True),
    required=True,
    metavar="DIR",
    help="Checkpoint the token is learnt on and written to.",
)
@click.option("--image-column", default="image", show_default=True, metavar="NAME")
@click.option("--mask-column", default="mask", show_default=True, metavar="NAME")
@click.option(
    "--split", default="train", show_default=True, metavar="NAME", help="'' takes every row."
)
@click.option("--foreground", type=click.IntRange(0, 255), default=255, show_default=True)
@click.option("--ignore", type=click.IntRange(0, 255), default=127, show_default=True)
@click.option(
    "--n-parts",
    type=click.IntRange(min=1),
    default=1,
    show_default=True,
    help="Connected parts the class may have.",
)
@click.option(
    "--films",
    "wanted",
    default=None,
    metavar="ID,ID…",
    help="Use the films with these ids instead of choosing K by the seed.",
)
@click.option(
    "--convention",
    default="",
    metavar="NAME",
    help="By whose rule the masks are drawn, such as v7; a second one of a checkpoint goes "
    "to classes-NAME.json.",
)
@click.option(
    "--classes",
    "set_name",
    default="",
    metavar="NAME",
    help="Set of classes it is entered in, classes-NAME.json.  [default: that of the convention]",
)
@click.option(
    "--like",
    default="",
    metavar="NAME",
    help="A new set of --classes begins with the classes of this one.",
)
@click.option(
    "--ratio",
    default="",
    metavar="NAME=CLASS/CLASS+CLASS",
    help='Widths the record puts in proportion, as "cardiothoracic=heart/left lung+right lung".',
)
@click.option(
    "--out",
    type=click.Path(path_type=Path, dir_okay=False),
    default=None,
    metavar="FILE",
    help="Write the token to this safetensors file and leave the checkpoint as it is.",
)
@click.option(
    "--prior",
    "prior_file",
    type=click.Path(path_type=Path, dir_okay=False, exists=True),
    default=None,
    metavar="FILE",
    help="Label-free: read no mask; label K films by this file's prior of the class.",
)
@click.option(
    "--suggest",
    is_flag=True,
    help="Learn nothing: print the ids of the K films that are most worth annotating.",
)
@click.option("--seed", type=click.IntRange(min=0), default=0, show_default=True)
@click.option("--quiet", is_flag=True)
def learn_token_command(**options: Any) -> None:
    """Learn a class token from K annotated films, on a frozen checkpoint.

    \b
    python -m lungsynth learn-token --data films.parquet --k 5 --suggest --checkpoint CHECKPOINT
    python -m lungsynth learn-token --data films.parquet --class "left lung" --side left --id 1 \\
        --k 5 --checkpoint CHECKPOINT
    """
    from lungsynth.cli.run import learn_token as work  # deferred: a quick --help

    work.run_learn_token(asked(work.LearnTokenCommand, options))
