"""`python -m lungsynth evaluate downstream`."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import click


@click.command("downstream")
@click.option(
    "--synthetic",
    multiple=True,
    required=True,
    metavar="[NAME=]DIR|PARQUET",
    help="Pictures with masks: a published folder, `publish build`, `sample`, or Parquet. Repeat "
    "to compare sets; the same NAME twice makes one set.",
)
@click.option(
    "--real",
    multiple=True,
    required=True,
    metavar="SOURCE",
    help="Real films with expert masks to train on; repeat for several.",
)
@click.option(
    "--test",
    "tests",
    multiple=True,
    required=True,
    metavar="SOURCE",
    help="Real films with expert masks to test on: any Parquet with image and mask; repeat.",
)
@click.option(
    "--out",
    type=click.Path(path_type=Path, file_okay=False),
    required=True,
    metavar="DIR",
    help="Writes downstream.json, .md and .png, and a file a finished cell; resumes.",
)
@click.option(
    "--preset",
    type=click.Choice(["tiny", "quick", "cpu", "gpu"]),
    default="quick",
    show_default=True,
    help="Size and steps: quick is minutes on two cores, cpu hours.",
)
@click.option(
    "--arms",
    default="all",
    show_default=True,
    metavar="all|NAME,NAME",
    help="real, synthetic, synthetic+real, synthetic-to-real (its share falls to none), "
    "pretrain-then-real.",
)
@click.option(
    "--n",
    default="",
    metavar="1,5,all",
    help="How many real films.  [default: the preset's, and all]",
)
@click.option("--seeds", type=click.IntRange(min=1), default=3, show_default=True)
@click.option(
    "--models",
    default="all",
    show_default=True,
    metavar="all|NAME,NAME",
    help="unet, segformer (a transformer with a convolutional head); both from scratch.",
)
@click.option(
    "--filters",
    default="none",
    show_default=True,
    metavar="all|NAME,NAME",
    help="Of synthetic pictures: none, trust, noise-learning (agreement of 3 folds).",
)
@click.option(
    "--keep",
    type=click.FloatRange(0, 1, min_open=True),
    default=0.5,
    show_default=True,
    help="Share that a filter keeps.",
)
@click.option(
    "--augmentations",
    default="standard",
    show_default=True,
    metavar="all|NAME,NAME",
    help="none, standard, splicing.",
)
@click.option(
    "--real-share",
    type=click.FloatRange(0, 1, min_open=True, max_open=True),
    default=0.5,
    show_default=True,
    help="Of real films in a batch of synthetic+real.",
)
@click.option(
    "--steps", type=click.IntRange(min=2), default=None, help="Optimiser steps of every arm."
)
@click.option("--pixels", type=click.IntRange(min=32), default=None, help="Side, a multiple of 32.")
@click.option(
    "--limit-test",
    type=click.IntRange(min=2),
    default=None,
    metavar="N",
    help="Films of each test set.",
)
@click.option(
    "--limit-synthetic",
    type=click.IntRange(min=8),
    default=None,
    metavar="N",
    help="Pictures of each synthetic set.",
)
@click.option("--train-split", default="train", show_default=True, metavar="NAME")
@click.option(
    "--test-split",
    default="test",
    show_default=True,
    metavar="NAME",
    help="'' takes every row; so does a source without splits.",
)
@click.option(
    "--convention",
    default="",
    metavar="TEXT",
    help="Only real masks whose `mask_convention` begins so; that of sources that say none.",
)
@click.option(
    "--synthetic-convention",
    default="",
    metavar="TEXT",
    help="Of the synthetic masks.  [default: --convention]",
)
@click.option(
    "--mixed-conventions", is_flag=True, help="Measure across conventions; the report says so."
)
@click.option(
    "--foreground",
    type=click.IntRange(0, 255),
    multiple=True,
    default=(255,),
    show_default=True,
    help="Value that counts in real masks; repeat for several.",
)
@click.option(
    "--ignore",
    type=click.IntRange(0, 255),
    multiple=True,
    default=(127,),
    show_default=True,
    help="Value that counts neither way; repeat for several.",
)
@click.option(
    "--mask-ids",
    default="",
    metavar="1,2",
    help="Values that count in synthetic masks.  [default: all but 0 and 255]",
)
@click.option("--image-column", default="image", show_default=True, metavar="NAME")
@click.option("--mask-column", default="mask", show_default=True, metavar="NAME")
@click.option("--device", default="auto", show_default=True, help="auto, cpu, cuda …")
@click.option("--quiet", is_flag=True, help="No progress bar.")
def downstream_command(**options: Any) -> None:
    """Train segmentation models on synthetic and real pairs; test them on unseen real films.

    Every arm has the same optimiser steps. Films that are trained on must not be tested on: the same
    patient or the same pixels in both is an error. So are masks of unknown or several conventions.

    \b
    python -m lungsynth evaluate downstream --synthetic dist/dataset --real films.parquet \\
        --test films.parquet --test other-hospital.parquet --convention v7 --out runs/downstream
    """
    from lungsynth.evaluation.downstream import run as work  # deferred: a quick --help

    click.echo(work.run_downstream(work.DownstreamOptions(**options)), nl=False)
