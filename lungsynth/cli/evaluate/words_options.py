"""Options of the commands that ask a checkpoint about its words, on real films or samples."""

from __future__ import annotations

from pathlib import Path

import click

from lungsynth.cli.options import (
    GUIDANCE_INTERVAL,
    precision_option,
    sampling_options,
    scheduler_option,
)

FILM_OPTIONS = [
    click.option(
        "--data",
        "sources",
        metavar="SOURCE",
        multiple=True,
        required=True,
        help="Real films: Parquet file, folder, or `datasets` name; repeat for several.",
    ),
    click.option(
        "--image-column",
        default="image",
        show_default=True,
        metavar="NAME",
        help="Column of the image in every Parquet file.",
    ),
    click.option(
        "--split",
        default="test",
        show_default=True,
        metavar="NAME",
        help="Value of the `split` column of films the model has not seen; '' takes every row.",
    ),
    click.option(
        "--limit",
        type=click.IntRange(min=1),
        default=None,
        metavar="N",
        help="At most N films, drawn with the seed.",
    ),
    click.option(
        "--out",
        type=click.Path(path_type=Path, file_okay=False),
        required=True,
        metavar="DIR",
        help="Where the report goes.",
    ),
    click.option(
        "--seed",
        type=click.IntRange(min=0),
        default=0,
        show_default=True,
        help="Of every draw and resampling.",
    ),
    click.option("--quiet", is_flag=True, help="No progress bar."),
]

CHECKPOINT_OPTIONS = [
    click.option(
        "--checkpoint",
        "--model",
        "model",
        default=None,
        metavar="NAME|DIR|HUB_ID",
        help="[default: the shipped one]",
    ),
    precision_option(),
    click.option("--threads", type=click.IntRange(min=1), default=None, help="CPU threads."),
]

DRAWING_OPTIONS = [sampling_options(), scheduler_option(), GUIDANCE_INTERVAL]
