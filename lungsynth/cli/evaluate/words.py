"""`python -m lungsynth evaluate words`."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import click

from lungsynth.cli.evaluate.words_options import CHECKPOINT_OPTIONS, DRAWING_OPTIONS, FILM_OPTIONS
from lungsynth.cli.options import asked, with_options


@click.command("words")
@with_options([*FILM_OPTIONS[:3], *FILM_OPTIONS[4:]])
@with_options(CHECKPOINT_OPTIONS)
@click.option(
    "--boxes",
    default=None,
    metavar="PARQUET",
    help="Boxes of findings, a row each: id, image, width, height, box = [x1, y1, x2, y2].",
)
@click.option(
    "--outlines",
    type=click.Path(path_type=Path, exists=True, file_okay=False),
    default=None,
    metavar="DIR",
    help="Films outlined by hand, such as examples/annotations/held-out; named by their ids.",
)
@click.option(
    "--limit",
    type=click.IntRange(min=1),
    default=100,
    show_default=True,
    metavar="N",
    help="At most N films of a mask convention, drawn with the seed.",
)
@click.option(
    "--timesteps",
    default="300,500,700",
    show_default=True,
    metavar="T,T…",
    help="Where films are noised; maps of the passes are averaged.",
)
@click.option(
    "--finding-word",
    "finding_words",
    multiple=True,
    default=("pneumonia", "opacity", "consolidation", "infiltration"),
    show_default=True,
    metavar="WORD",
    help="Compared with the boxes; repeat.",
)
@click.option(
    "--samples",
    "n_samples",
    type=click.IntRange(min=0),
    default=24,
    show_default=True,
    metavar="N",
    help="Pictures drawn and compared with their own masks; 0 = none.",
)
@with_options(DRAWING_OPTIONS)
@click.option("--classes", default=None, metavar="NAME", help="Convention of the samples' masks.")
@click.option(
    "--into-checkpoint",
    is_flag=True,
    help="Also write words.json into the checkpoint, for the page and the cards.",
)
def words_maps_command(**options: Any) -> None:
    """Do words look where they should? Maps of plain words, in the attention that draws.

    On real films (noised, one pass) against experts' masks and boxes of findings; on samples against
    their own masks. AUC, IoU at the best level, energy inside ÷ share of area, pointing game, each
    beside what the mean of other films' maps, of other films' regions, and a blob in the middle get.

    \b
    python -m lungsynth evaluate words --data kermany.parquet --data shenzhen.parquet \\
        --boxes boxes.parquet --out out/words
    """
    from lungsynth.cli.evaluate.run import words as work  # deferred: a quick --help

    work.run_words_maps(asked(work.WordsMapsCommand, options))
