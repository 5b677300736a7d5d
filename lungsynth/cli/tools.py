"""`python -m lungsynth doctor` and `pack`."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import click

from lungsynth.cli.options import asked


@click.command("doctor")
@click.option("--model", default=None, metavar="NAME|DIR", help="[default: mini, shipped]")
@click.option("--json", "as_json", is_flag=True, help="Machine-readable.")
def doctor_command(**options: Any) -> None:
    """Print versions, devices, checkpoint, memory, and what is wrong with them.

    Exit code 1 when something is wrong.
    """
    from lungsynth.cli.run import tools as work  # deferred: a quick --help

    work.run_doctor(asked(work.DoctorCommand, options))


@click.command("pack")
@click.option(
    "--data",
    "sources",
    metavar="SOURCE",
    multiple=True,
    required=True,
    help="Parquet file, folder, or `datasets` name; repeat for several.",
)
@click.option(
    "--out", type=click.Path(path_type=Path, dir_okay=False), required=True, metavar="FILE"
)
@click.option("--image-column", default="image", show_default=True, metavar="NAME")
@click.option("--text-column", default="text", show_default=True, metavar="NAME")
@click.option("--split", default="", metavar="NAME", help="Only this split.  [default: all]")
@click.option("--short-side", type=click.IntRange(min=32), default=288, show_default=True)
@click.option("--quality", type=click.IntRange(50, 100), default=88, show_default=True)
@click.option(
    "--max-megabytes",
    type=click.FloatRange(min=0),
    default=0.0,
    help="Several files, each below this.",
)
@click.option("--quiet", is_flag=True)
def pack_command(**options: Any) -> None:
    """Pack films and texts (no masks) into one small Parquet file for a machine with a GPU."""
    from lungsynth.cli.run import tools as work  # deferred: a quick --help

    work.run_pack(asked(work.PackCommand, options))
