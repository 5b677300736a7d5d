"""`python -m lungsynth train student` and `train affinity`."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import click

from lungsynth.cli.options import asked, precision_option, with_options

LOOP_OPTIONS = [
    click.option(
        "--checkpoint",
        type=click.Path(path_type=Path, file_okay=False, exists=True),
        required=True,
        metavar="DIR",
        help="Checkpoint whose class tokens label the films.",
    ),
    click.option(
        "--out",
        type=click.Path(path_type=Path, file_okay=False),
        required=True,
        metavar="DIR",
        help="Run folder. The same command again resumes.",
    ),
    click.option(
        "--split",
        default="train",
        show_default=True,
        metavar="NAME",
        help="Value of the `split` column to train on; '' takes every row.",
    ),
    click.option(
        "--limit",
        type=click.IntRange(min=1),
        default=600,
        show_default=True,
        metavar="N",
        help="At most N films of each --data.",
    ),
    click.option("--steps", type=click.IntRange(min=1), default=None, metavar="N"),
    click.option("--batch-size", type=click.IntRange(min=1), default=None, metavar="N"),
    click.option("--lr", type=click.FloatRange(min=0, min_open=True), default=None),
    click.option("--seed", type=click.IntRange(min=0), default=0, show_default=True),
    precision_option("the network"),
    click.option(
        "--max-minutes",
        type=click.FloatRange(min=0),
        default=None,
        help="Stop, resumable, after so long.",
    ),
    click.option("--threads", type=click.IntRange(min=1), default=None, help="CPU threads."),
    click.option("--device", default="auto", show_default=True, help="auto, cpu, cuda, cuda:1 …"),
    click.option("--install", is_flag=True, help="Copy the result into the checkpoint."),
    click.option("--quiet", is_flag=True, help="No progress bar."),
]


@click.command("student")
@with_options(LOOP_OPTIONS)
@click.option(
    "--data",
    "sources",
    metavar="SOURCE",
    multiple=True,
    help="Films without masks, to be labelled by the chain; repeat for several.",
)
@click.option(
    "--annotated",
    metavar="[CONVENTION=]SOURCE[@K]",
    multiple=True,
    help="Films with expert masks, all or K of them; repeat for several.",
)
@click.option(
    "--teacher",
    type=click.Path(path_type=Path, file_okay=False, exists=True),
    default=None,
    metavar="DIR",
    help="An earlier student that labels beside the tokens.",
)
@click.option(
    "--teacher-weight",
    type=click.FloatRange(0, 1),
    default=0.7,
    show_default=True,
    help="What the teacher counts beside the tokens.",
)
def train_student_command(**options: Any) -> None:
    """Train a small network on the masks the chain makes of many films.

    \b
    python -m lungsynth train student --data films.parquet --checkpoint runs/diffusion/pipeline \\
        --out runs/student --install
    python -m lungsynth train student --annotated masks.parquet@24 --data films.parquet …
    """
    from lungsynth.cli.run import train_masks as work  # deferred: a quick --help

    work.run_train_student(asked(work.TrainStudentCommand, options))


@click.command("affinity")
@with_options(LOOP_OPTIONS)
@click.option(
    "--data",
    "sources",
    metavar="SOURCE",
    multiple=True,
    required=True,
    help="Films; their masks, if they have any, are not read. Repeat for several.",
)
@click.option("--classes", default=None, metavar="NAME", help="Convention of the classes.")
@click.option(
    "--install-as",
    default=None,
    metavar="FOLDER",
    help="Name that --install gives it.  [default: affinity, or affinity-NAME of a second set]",
)
@click.option(
    "--student-weight",
    type=click.FloatRange(0, 1),
    default=0.0,
    show_default=True,
    help="What the checkpoint's student counts in the maps that label; 0 = attention and CRF alone.",
)
def train_affinity_command(**options: Any) -> None:
    """Train AffinityNet, without pixel labels, on places attention and CRF alone are certain of.

    \b
    python -m lungsynth train affinity --data films.parquet --checkpoint runs/diffusion/pipeline \\
        --out runs/affinity --install
    """
    from lungsynth.cli.run import train_masks as work  # deferred: a quick --help

    work.run_train_affinity(asked(work.TrainAffinityCommand, options))
