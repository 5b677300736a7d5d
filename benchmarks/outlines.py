"""`python -m benchmarks outlines`: areas and the cardiothoracic ratio of hand-drawn outlines."""

from __future__ import annotations

import csv
import io
from collections.abc import Mapping
from pathlib import Path

import click
import numpy as np
from numpy.typing import NDArray

from lungsynth.masks.quality import widest

CLASSES = {"left lung": 1, "right lung": 2, "heart": 3}
MEASURED = ("left_lung", "right_lung", "heart", "heart_width", "chest_width", "ctr")
"""Columns this command fills: areas and widths in pixels of the film, and their ratio."""


def cardiothoracic(masks: Mapping[str, NDArray[np.bool_]]) -> tuple[int, int]:
    """Widest heart and widest inner chest, as the cardiothoracic ratio is read from a film.

    The heart is as wide as its whole extent: farthest point to the patient's right plus farthest to
    the left, at whatever height each lies. The chest is the widest row from the outer border of the
    right lung to that of the left, among rows that hold both lungs.

    Args:
        masks: (H, W) bool of "left lung", "right lung" and "heart".

    Returns:
        The two widths in pixels.

    Raises:
        ValueError: one of the three covers no pixel, or no row holds both lungs.
    """
    heart, left, right = (masks[name] for name in ("heart", "left lung", "right lung"))
    rows = left.any(1) & right.any(1)
    if not heart.any() or not rows.any():
        raise ValueError("A heart and a row that holds both lungs are needed.")
    return widest(heart, by_row=False), widest((left | right)[rows], by_row=True)


def measure(path: Path) -> dict[str, str]:
    """The measured columns of one annotation file, as text.

    Raises:
        DataError: the file is no annotation, or a polygon of it does not fit.
    """
    from lungsynth.films.annotation import rasterise, read_labelme

    drawn = read_labelme(path)
    mask = rasterise(drawn.shapes, drawn.height, drawn.width, CLASSES)
    masks = {name: mask == class_id for name, class_id in CLASSES.items()}
    heart, chest = cardiothoracic(masks)
    areas = {name.replace(" ", "_"): str(int(one.sum())) for name, one in masks.items()}
    widths = {"heart_width": str(heart), "chest_width": str(chest), "ctr": f"{heart / chest:.3f}"}
    return {**areas, **widths}


def place(folder: Path, row: Mapping[str, str]) -> Path:
    """Where the annotation of a row of the index lies; held-out films have a folder of their own."""
    return (folder / "held-out" if row["use"] == "held out" else folder) / f"{row['film']}.json"


def measured_index(folder: Path) -> str:
    """The text of FOLDER/index.csv with its measured columns made anew from the polygons."""
    with (folder / "index.csv").open(newline="", encoding="utf-8") as file:
        rows = list(csv.DictReader(file))
    out = io.StringIO()
    told = [name for name in rows[0] if name not in MEASURED]
    writer = csv.DictWriter(out, [*told, *MEASURED], lineterminator="\n")
    writer.writeheader()
    for row in rows:
        kept = {name: row[name] for name in told}
        writer.writerow({**kept, **measure(place(folder, row))})
    return out.getvalue()


@click.command("outlines")
@click.argument("folder", type=click.Path(path_type=Path, exists=True, file_okay=False))
def outlines(folder: Path) -> None:
    """Fill the measured columns of FOLDER/index.csv: areas, heart and chest width, their ratio."""
    text = measured_index(folder)
    (folder / "index.csv").write_text(text, encoding="utf-8")
    rows = list(csv.DictReader(io.StringIO(text)))
    ratios = np.array([float(row["ctr"]) for row in rows])
    low, middle, high = np.quantile(ratios, [0, 0.5, 1])
    click.echo(
        f"{len(rows)} films; cardiothoracic ratio {low:.3f} to {high:.3f}, median {middle:.3f}; "
        f"above 0.5: {int((ratios > 0.5).sum())}"
    )
