"""`python -m lungsynth doctor` and `pack`."""

from __future__ import annotations

import json
import sys
from pathlib import Path

import click


@click.command("doctor")
@click.option("--model", default=None, metavar="NAME|DIR", help="[default: mini, shipped]")
@click.option("--json", "as_json", is_flag=True, help="Machine-readable.")
def doctor_command(model: str | None, as_json: bool) -> None:
    """Print versions, devices, checkpoint, memory, and what is wrong with them.

    Exit code 1 when something is wrong.
    """
    from lungsynth.doctor import examine

    facts, problems = examine(model)
    if as_json:
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
def pack_command(
    sources: tuple[str, ...],
    out: Path,
    image_column: str,
    text_column: str,
    split: str,
    short_side: int,
    quality: int,
    max_megabytes: float,
    quiet: bool,
) -> None:
    """Pack films and texts (no masks) into one small Parquet file for a machine with a GPU."""
    from lungsynth.films.data import read_records
    from lungsynth.films.packing import pack

    records = (
        record
        for source in sources
        for record in read_records(
            source, image_column=image_column, text_column=text_column, split=split or None
        )
    )
    for path in pack(
        records,
        out,
        short_side=short_side,
        quality=quality,
        max_megabytes=max_megabytes,
        quiet=quiet,
    ):
        click.echo(f"{path}  {path.stat().st_size / 1e6:.1f} MB")
