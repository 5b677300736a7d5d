"""`python -m benchmarks compare`: two runs of `evaluate masks` on the same films, film by film."""

from __future__ import annotations

import csv
from pathlib import Path

import click
import numpy as np

COLUMNS = ("iou", "dice", "hd95_percent", "mean_distance_percent")


def read_stage(path: Path, stage: str) -> dict[str, list[float]]:
    """Film -> its figures at a stage, for all counted classes together."""
    with path.open(newline="", encoding="utf-8") as handle:
        return {
            row["film"]: [float(row[c]) for c in COLUMNS]
            for row in csv.DictReader(handle)
            if row["stage"] == stage and row["region"] == "all"
        }


@click.command("compare")
@click.argument("one", type=click.Path(path_type=Path, exists=True))
@click.argument("other", type=click.Path(path_type=Path, exists=True))
@click.option("--stage", default="crf + clean-up", show_default=True)
@click.option("--other-stage", default=None, help="[default: the same]")
@click.option("--seed", type=int, default=0, show_default=True)
def compare_command(one: Path, other: Path, stage: str, other_stage: str | None, seed: int) -> None:
    """ONE minus OTHER (each a masks.csv), with a paired 95 % bootstrap interval over films."""
    a, b = read_stage(one, stage), read_stage(other, other_stage or stage)
    films = sorted(a.keys() & b.keys())
    if not films:
        raise click.ClickException(f"no film of both has the stage {stage!r}")
    picks = np.random.default_rng(seed).integers(0, len(films), (2000, len(films)))
    click.echo(f"{len(films)} films: {one} [{stage}] minus {other} [{other_stage or stage}]")
    for k, name in enumerate(COLUMNS):
        mine, theirs = (np.array([side[f][k] for f in films]) for side in (a, b))
        gap = mine - theirs
        low, high = np.percentile(gap[picks].mean(1), [2.5, 97.5])
        click.echo(
            f"{name:22} {mine.mean():7.4f} {theirs.mean():7.4f}   {gap.mean():+.4f} "
            f"[{low:+.4f}, {high:+.4f}]"
        )
