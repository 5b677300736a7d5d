"""The command line of publish."""

from __future__ import annotations

import json
import sys
from pathlib import Path

import click

from lungsynth import __version__
from lungsynth.errors import LungSynthError


@click.group(context_settings={"help_option_names": ["-h", "--help"], "max_content_width": 100})
@click.version_option(__version__, prog_name="publish")
def cli() -> None:
    """Datasets of synthetic chest X-rays with masks. Research only; not for diagnosis."""


@cli.command("build")
@click.option("--n", "n", type=click.IntRange(min=1), required=True, metavar="N", help="Rows.")
@click.option("--out", type=click.Path(path_type=Path, file_okay=False), default=Path("dist"),
              show_default=True, metavar="DIR", help="The dataset repository is made in here.")
@click.option("--seed", type=click.IntRange(min=0, max=2**53 - 1), default=0, show_default=True,
              help="Decides every prompt and every picture.")
@click.option("--shard-rows", type=click.IntRange(min=1), default=256, show_default=True,
              metavar="N", help="Rows a Parquet file.")
@click.option("--model", default=None, metavar="NAME|DIR",
              help="Checkpoint with a classes.json.  [default: mini, shipped]")
@click.option("--steps", type=click.IntRange(min=1, max=1000), default=20, show_default=True)
@click.option("--guidance", type=click.FloatRange(min=1.0, max=50.0), default=1.5,
              show_default=True, help="How strictly the prompt is followed; 1 = off.")
@click.option("--prompts", "prompts_file", default=None, metavar="FILE",
              type=click.Path(path_type=Path, dir_okay=False, exists=True),
              help="One prompt a line, taken in turn.  [default: prompts made from the seed]")
@click.option("--batch-size", type=click.IntRange(min=1), default=1, show_default=True,
              help="Pictures drawn together.")
@click.option("--device", default="auto", show_default=True, help="auto, cpu, cuda …")
@click.option("--quiet", is_flag=True, help="No progress bar.")
@click.option("--dry-run", is_flag=True, help="Print what would be built and stop.")
def build_command(
    n: int, out: Path, seed: int, shard_rows: int, model: str | None, steps: int, guidance: float,
    prompts_file: Path | None, batch_size: int, device: str, quiet: bool, dry_run: bool,
) -> None:  # fmt: skip
    """Draw a dataset: Parquet shards, manifest and card.

    \b
    python -m publish build --n 1000 --seed 0 --out dist/

    The same command again resumes: finished shards are checked by their hash and kept.
    """
    from publish.build import build, plan

    the_plan = plan(
        n=n, seed=seed, shard_rows=shard_rows, model=model, steps=steps, guidance=guidance,
        prompts_file=prompts_file, batch_size=batch_size, device=device,
    )  # fmt: skip
    if dry_run:
        click.echo(json.dumps(the_plan.preview(), indent=2, ensure_ascii=False))
        return
    manifest = build(the_plan, out, quiet=quiet)
    click.echo(f"{out}: {manifest.n_rows} rows in {len(manifest.shards)} shards", err=True)
    click.echo(str(out / "manifest.json"))


def main() -> None:
    """Run the command line; our own errors become one line and exit code 1."""
    try:
        cli(standalone_mode=True)
    except LungSynthError as error:
        click.echo(f"{type(error).__name__}: {error}", err=True)
        sys.exit(1)
