"""`python -m lungsynth evaluate reconstruction` and `evaluate sheet`."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import click

from lungsynth.cli.options import asked, sampling_options


@click.command("reconstruction")
@click.option("--data", "sources", multiple=True, required=True, metavar="SOURCE")
@click.option("--model", default=None, metavar="NAME|DIR|HUB_ID", help="Whose autoencoder.")
@click.option(
    "--vae",
    "vae_folder",
    type=click.Path(path_type=Path),
    default=None,
    metavar="DIR",
    help="An autoencoder of `train vae` instead.",
)
@click.option("--adults/--all", default=True, show_default=True, help="Which test films.")
@click.option(
    "--rival-on",
    type=click.Choice(["same", "all"]),
    default="same",
    show_default=True,
    help="Train films PCA is fitted on: those like the test films, or all.",
)
@click.option("--image-column", default="image", show_default=True, metavar="NAME")
@click.option(
    "--out", type=click.Path(path_type=Path, file_okay=False), default=None, metavar="DIR"
)
def reconstruction_command(**options: Any) -> None:
    """PSNR of the autoencoder on real test films, beside PCA of the same compression.

    PCA is fitted on patches of the train split: 16x16 patches with as many components as the
    autoencoder has channels.
    """
    from lungsynth.cli.evaluate.run import model as work  # deferred: a quick --help

    work.run_reconstruction(asked(work.ReconstructionCommand, options))


@click.command("sheet")
@click.option(
    "--out", type=click.Path(path_type=Path, dir_okay=False), required=True, metavar="PNG"
)
@click.option("--model", default=None, metavar="NAME|DIR|HUB_ID")
@click.option("--seeds", type=click.IntRange(min=1, max=32), default=8, show_default=True)
@click.option("--seed", type=click.IntRange(min=0), default=0, show_default=True, help="The first.")
@click.option("--prompt", "prompts", multiple=True, metavar="TEXT", help="[default: eight]")
@sampling_options()
@click.option("--masks", is_flag=True, help="With the refined masks drawn in.")
def sheet_command(**options: Any) -> None:
    """A contact sheet: a row a prompt, a column a seed. Nothing is picked."""
    from lungsynth.cli.evaluate.run import model as work  # deferred: a quick --help

    work.run_sheet(asked(work.SheetCommand, options))
