"""`python -m lungsynth report`: what it does."""

from __future__ import annotations

import time

import click

from lungsynth.cli.sample import ReportCommand
from lungsynth.report.blocks import write_into
from lungsynth.report.files import keep
from lungsynth.report.kept import keep_with_checkpoint
from lungsynth.report.page import write_page


def run_report(command: ReportCommand) -> None:
    """One page of every figure below a folder, each with its plot, command, n, seeds and intervals."""
    ways = (command.out, command.kept, command.into, command.checkpoint)
    if sum(option is not None for option in ways) > 1:
        raise click.UsageError("Give one of --out, --keep, --into and --checkpoint.")
    begun = time.perf_counter()
    if command.kept is not None:
        written = keep(command.folder, command.kept)
        n = len(written)
        for path in written:
            click.echo(str(path))
    elif command.checkpoint is not None:
        figures = keep_with_checkpoint(command.folder, command.checkpoint)
        n = len(figures)
        for one in figures:
            click.echo(f"{one.kind}: {one.name}: {one.text()}")
    elif command.into is not None:
        changed, pictures, unused = write_into(command.into, command.folder)
        n = len(list(command.folder.glob("*.json")))
        for path in pictures:
            click.echo(str(path))
        click.echo(f"{command.into}: {'rewritten' if changed else 'unchanged'}")
        for name in unused:
            click.echo(f"no block shows {name}", err=True)
    else:
        sections, left_out = write_page(command.folder, command.out)
        n = len(sections)
        for section in sections:
            click.echo(f"{section.place}: {section.result.title}")
        for why in left_out:
            click.echo(f"left out: {why}", err=True)
        click.echo(str((command.out or command.folder) / "report.html"))
    click.echo(f"{n} result(s), wall time {time.perf_counter() - begun:.1f} s", err=True)
