"""`python -m lungsynth doctor` and `pack`: what it does."""

from __future__ import annotations

import json
import sys

import click

from lungsynth.cli.films import PackCommand
from lungsynth.cli.sample import DoctorCommand
from lungsynth.doctor import examine
from lungsynth.films.data import read_many
from lungsynth.films.packing import pack


def run_doctor(command: DoctorCommand) -> None:
    """Print versions, devices, checkpoint, memory, and what is wrong with them."""
    facts, problems = examine(command.model)
    if command.as_json:
        click.echo(json.dumps({**facts, "problems": problems}, indent=2))
    else:
        for key, value in facts.items():
            if isinstance(value, dict):
                click.echo(f"{key}:")
                for inner, what in value.items():
                    shown = f"{what / 2**30:.1f} GiB" if key == "memory" else what
                    click.echo(f"  {inner}: {shown if shown != '' else 'MISSING'}")
            elif key == "disk_free":
                click.echo(f"{key}: {value / 2**30:.1f} GiB")
            else:
                click.echo(f"{key}: {value}")
        click.echo("problems: none" if not problems else "problems:")
        for problem in problems:
            click.echo(f"  - {problem}")
    if problems:
        sys.exit(1)


def run_pack(command: PackCommand) -> None:
    """Pack films and texts (no masks) into one small Parquet file for a machine with a GPU."""
    records = read_many(
        command.sources,
        image_column=command.image_column,
        text_column=command.text_column,
        split=command.split or None,
    )
    for path in pack(
        records,
        command.out,
        short_side=command.short_side,
        quality=command.quality,
        max_megabytes=command.max_megabytes,
        quiet=command.quiet,
    ):
        click.echo(f"{path}  {path.stat().st_size / 1e6:.1f} MB")
