"""`python -m lungsynth annotate`: its options."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path

from lungsynth.model.options import argument, option


@dataclass(frozen=True, kw_only=True)
class AnnotateCommand:
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

    files: tuple[str, ...] = argument(metavar="FILE…")
    importing: bool = option(
        "--import", help="FILEs are annotations (labelme or COCO polygons): turn them into masks."
    )
    out: Path = option(
        default=Path("annotations"),
        metavar="DIR|FILE.parquet",
        help="Where the page, or what --import makes, is written.",
    )
    named: tuple[str, ...] = option(
        "--class",
        metavar="NAME=ID",
        help="A class and its id in masks; repeat.  [default: those of --model]",
    )
    model: str | None = option(
        default=None,
        metavar="NAME|DIR",
        help="Checkpoint whose classes are used without --class.  [default: mini, shipped]",
    )
    images: Path | None = option(
        default=None,
        path="dir",
        metavar="DIR",
        help="With --import: where the films are.  [default: beside each annotation]",
    )
    source_set: str | None = option(
        default=None,
        metavar="NAME",
        help="With --import to a Parquet file: the set the films are of, as other files call it.",
    )
    image_licence: str | None = option(
        default=None, metavar="TEXT", help="Likewise: the terms of the films."
    )
    mask_licence: str | None = option(
        default=None,
        metavar="TEXT",
        help="Likewise: the terms of the outlines. What is trained on them states all three.",
    )
