"""`python -m lungsynth report`."""

from __future__ import annotations

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
def report_command(folder: Path, out: Path | None) -> None:
    """One page of every figure below a folder, each with its plot and its command.

    Takes downstream, masks, judge, fidelity, obedience, memorisation, neighbours and reconstruction
    results at any depth. The HTML page needs no other file.

    \b
    python -m lungsynth report runs/eval
    """
    from lungsynth.report import write_page

    sections, left_out = write_page(folder, out)
    for section in sections:
        click.echo(f"{section.place}: {section.title}")
    for why in left_out:
        click.echo(f"left out: {why}", err=True)
    click.echo(str((out or folder) / "report.html"))
