"""`python -m lungsynth annotate`."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import click

from lungsynth.cli.options import asked


@click.command("annotate")
@click.argument("files", nargs=-1, required=True, metavar="FILE…")
@click.option(
    "--import",
    "importing",
    is_flag=True,
    help="FILEs are annotations (labelme or COCO polygons): turn them into masks.",
)
@click.option(
    "--out",
    type=click.Path(path_type=Path),
    default=Path("annotations"),
    show_default=True,
    metavar="DIR|FILE.parquet",
    help="Where the page, or what --import makes, is written.",
)
@click.option(
    "--class",
    "named",
    multiple=True,
    metavar="NAME=ID",
    help="A class and its id in masks; repeat.  [default: those of --model]",
)
@click.option(
    "--model",
    default=None,
    metavar="NAME|DIR",
    help="Checkpoint whose classes are used without --class.  [default: mini, shipped]",
)
@click.option(
    "--images",
    type=click.Path(path_type=Path, file_okay=False),
    default=None,
    metavar="DIR",
    help="With --import: where the films are.  [default: beside each annotation]",
)
def annotate_command(**options: Any) -> None:
    """Outline organs on films by hand, in your browser, and turn the outlines into masks.

    \b
    python -m lungsynth annotate film1.png film2.dcm --class "left lung=1" --class "right lung=2"
    python -m lungsynth annotate --import annotations/*.json --images films/ --out masks.parquet \\
        --class "left lung=1" --class "right lung=2"

    The first command writes one page that needs no network and sends nothing. Outlines are saved
    from it as labelme JSON. The second reads such files, labelme's own, or COCO polygons, and
    writes what `learn-token --data` reads, with an overlay of each film to check by eye. Where
    outlines overlap the later one wins; the label `background` cuts a hole, `ignore` marks 255.
    """
    from lungsynth.cli.run import annotate as work  # deferred: a quick --help

    work.run_annotate(asked(work.AnnotateCommand, options))
