"""`python -m lungsynth train all`."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import click

from lungsynth.cli.options import asked


@click.command("all")
@click.option(
    "--config",
    type=click.Path(path_type=Path, dir_okay=False, exists=True),
    required=True,
    metavar="FILE",
    help="Recipe, such as examples/train_all.yaml.",
)
@click.option(
    "--checkpoint",
    type=click.Path(path_type=Path, file_okay=False, exists=True),
    required=True,
    metavar="DIR",
    help="Checkpoint whose tokens, networks and trust are made.",
)
@click.option(
    "--runs",
    type=click.Path(path_type=Path, file_okay=False),
    default=Path("runs/all"),
    show_default=True,
    metavar="DIR",
    help="Where steps work and what is done is noted.",
)
@click.option(
    "--data",
    "sources",
    multiple=True,
    metavar="NAME=SOURCE",
    help="A source the recipe names; repeat for several.",
)
@click.option("--only", default="", metavar="NAME,NAME", help="These steps alone.")
@click.option("--dry-run", is_flag=True, help="Say what would be done, and do nothing.")
@click.option("--force", is_flag=True, help="Do every step, also unchanged ones.")
def train_all_command(**options: Any) -> None:
    """Make everything that hangs on a checkpoint's weights: tokens, student, walk, trust.

    Steps whose command, sources and parts of the checkpoint are unchanged are skipped, so the same
    command again resumes.

    \b
    python -m lungsynth train all --config examples/train_all.yaml --checkpoint DIR \\
        --data kermany=kermany.parquet --data nlm=nlm.parquet
    """
    from lungsynth.cli.run import train_all as work  # deferred: a quick --help

    root = click.get_current_context().find_root().command
    work.run_train_all(
        asked(work.TrainAllCommand, options),
        lambda arguments: root.main(args=arguments, prog_name="lungsynth", standalone_mode=False),
    )
