"""`python -m lungsynth report`."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import click

from lungsynth.cli.options import asked


@click.command("report")
@click.argument("folder", type=click.Path(path_type=Path, file_okay=False), metavar="DIR")
@click.option(
    "--out",
    type=click.Path(path_type=Path, file_okay=False),
    default=None,
    metavar="DIR",
    help="Where report.html and report.md go.  [default: DIR]",
)
@click.option(
    "--keep",
    "kept",
    type=click.Path(path_type=Path, file_okay=False),
    default=None,
    metavar="DIR",
    help="No page: small copies of the results, such as masks-NAME.json, without film-by-film lists.",
)
@click.option(
    "--into",
    type=click.Path(path_type=Path, dir_okay=False),
    default=None,
    metavar="FILE.md",
    help="No page: fill this file's blocks from the kept results in DIR; other text stays.",
)
@click.option(
    "--checkpoint",
    type=click.Path(path_type=Path, file_okay=False),
    default=None,
    metavar="DIR",
    help="No page: write obedience, masks and copies of the kept results in DIR into figures.json of this "
    "checkpoint, for the cards of all it draws.",
)
def report_command(**options: Any) -> None:
    """One page of every figure below a folder, each with its plot, command, n, seeds and intervals.

    Takes the JSON of `evaluate` downstream, masks, judge, fidelity, obedience, sides, memorisation,
    neighbours and reconstruction, and of `benchmarks` latency and refine, at any depth. The HTML
    page needs no other file.

    \b
    python -m lungsynth report runs/eval
    python -m lungsynth report runs/masks --keep docs/results
    python -m lungsynth report docs/results --into docs/RESULTS.md
    python -m lungsynth report docs/results --checkpoint lungsynth/checkpoints/mini

    A block of --into stands between <!-- figures: masks-shenzhen --> and <!-- end figures -->, each
    on its own line. After "figures:" come names of kept results; several of masks are set side by
    side; "targets NAME …" shows headline figures beside their targets, "plot NAME" the plot.
    """
    from lungsynth.cli.run import report as work  # deferred: a quick --help

    work.run_report(asked(work.ReportCommand, options))
