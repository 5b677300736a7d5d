"""`python -m lungsynth report`."""

from __future__ import annotations

import time
from pathlib import Path

import click


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
def report_command(folder: Path, out: Path | None, kept: Path | None, into: Path | None) -> None:
    """One page of every figure below a folder, each with its plot, command, n, seeds and intervals.

    Takes the JSON of `evaluate` downstream, masks, judge, fidelity, obedience, sides, memorisation,
    neighbours and reconstruction, and of `benchmarks` latency and refine, at any depth. The HTML
    page needs no other file.

    \b
    python -m lungsynth report runs/eval
    python -m lungsynth report runs/masks --keep docs/results
    python -m lungsynth report docs/results --into docs/RESULTS.md

    A block of --into stands between <!-- figures: masks-shenzhen --> and <!-- end figures -->, each
    on its own line. After "figures:" come names of kept results; several of masks are set side by
    side; "targets NAME …" shows headline figures beside their targets, "plot NAME" the plot.
    """
    from lungsynth.report.blocks import write_into
    from lungsynth.report.files import keep
    from lungsynth.report.page import write_page

    if sum(option is not None for option in (out, kept, into)) > 1:
        raise click.UsageError("Give one of --out, --keep and --into.")
    begun = time.perf_counter()
    if kept is not None:
        written = keep(folder, kept)
        n = len(written)
        for path in written:
            click.echo(str(path))
    elif into is not None:
        changed, pictures, unused = write_into(into, folder)
        n = len(list(folder.glob("*.json")))
        for path in pictures:
            click.echo(str(path))
        click.echo(f"{into}: {'rewritten' if changed else 'unchanged'}")
        for name in unused:
            click.echo(f"no block shows {name}", err=True)
    else:
        sections, left_out = write_page(folder, out)
        n = len(sections)
        for section in sections:
            click.echo(f"{section.place}: {section.title}")
        for why in left_out:
            click.echo(f"left out: {why}", err=True)
        click.echo(str((out or folder) / "report.html"))
    click.echo(f"{n} result(s), wall time {time.perf_counter() - begun:.1f} s", err=True)
