"""`python -m lungsynth evaluate changes` and `evaluate age`."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import click

from lungsynth.cli.evaluate.group import REAL_OPTIONS, TRAIN_SPLIT
from lungsynth.cli.evaluate.words_options import CHECKPOINT_OPTIONS, DRAWING_OPTIONS, FILM_OPTIONS
from lungsynth.cli.options import asked, with_options


@click.command("changes")
@click.option(
    "--data",
    "sources",
    metavar="SOURCE",
    multiple=True,
    help="Real test films, for what the judge reaches there; repeat for several.",
)
@with_options(FILM_OPTIONS[1:])
@with_options(CHECKPOINT_OPTIONS)
@click.option(
    "--encoder",
    "encoder_folder",
    type=click.Path(path_type=Path),
    default=None,
    metavar="DIR",
    help="The judge, of `train encoder`.  [default: the shipped one]",
)
@click.option(
    "--pairs",
    "n_pairs",
    type=click.IntRange(min=2),
    default=24,
    show_default=True,
    metavar="N",
    help="Pairs of each change; a pair is two pictures.",
)
@with_options(DRAWING_OPTIONS)
@click.option(
    "--batch-size",
    type=click.IntRange(min=1),
    default=8,
    show_default=True,
    help="Pictures drawn together.",
)
def changes_command(**options: Any) -> None:
    """Same seed, one word changed: AUC of the encoder between the two pictures.

    Man for woman, normal for pneumonia (adults, children), PA for AP. 0.5 is chance.

    \b
    python -m lungsynth evaluate changes --data nih.parquet --data kermany.parquet --out out/changes
    """
    from lungsynth.cli.evaluate.run import words as work  # deferred: a quick --help

    work.run_changes(asked(work.ChangesCommand, options))


@click.command("age")
@with_options(REAL_OPTIONS)
@with_options([TRAIN_SPLIT])
def age_command(**options: Any) -> None:
    """Is the age obeyed? Age asked against age judged on samples, beside real films.

    The judge is a ridge regression of adults' ages on the encoder's features, fitted to the train
    split; its error on the test split is told.

    \b
    python -m lungsynth evaluate age --data nih.parquet --synthetic drawn --out out/age
    """
    from lungsynth.cli.evaluate.run import words as work  # deferred: a quick --help

    work.run_age(asked(work.AgeCommand, options))
