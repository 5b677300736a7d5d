"""`python -m lungsynth train encoder …`."""

from __future__ import annotations

import json
from dataclasses import asdict
from pathlib import Path
from typing import Any

import click

from lungsynth.cli.options import with_options
from lungsynth.cli.train import LOOP_OPTIONS, _given, _preset, resolve_device

DATA_OPTIONS = [
    click.option(
        "--data",
        "sources",
        metavar="SOURCE",
        multiple=True,
        required=True,
        help="Parquet file, folder, or `datasets` name; repeat for several.",
    ),
    click.option("--image-column", default="image", show_default=True, metavar="NAME"),
    click.option(
        "--split",
        default="train",
        show_default=True,
        metavar="NAME",
        help="Value of the `split` column to train on; '' takes every row.",
    ),
    click.option(
        "--val-split",
        default="val",
        show_default=True,
        metavar="NAME",
        help="Split of the accuracy lines in the metrics; '' for none.",
    ),
    click.option(
        "--test-split",
        default="test",
        show_default=True,
        metavar="NAME",
        help="Split of the final report; '' for none.",
    ),
]


@click.command("encoder")
@with_options(DATA_OPTIONS + LOOP_OPTIONS)
def train_encoder_command(
    sources: tuple[str, ...],
    image_column: str,
    split: str,
    val_split: str,
    test_split: str,
    out: Path,
    preset: str | None,
    threads: int | None,
    device: str,
    quiet: bool,
    dry_run: bool,
    **given: Any,
) -> None:
    """Train the encoder that `evaluate` measures with, on real films.

    \b
    python -m lungsynth train encoder --data films.parquet --out runs/encoder --preset cpu
    """
    import torch

    from lungsynth.errors import DataError
    from lungsynth.evaluation.common import read_films, write_report
    from lungsynth.evaluation.words.encoder_training import (
        ENCODER_PRESETS,
        report_accuracy,
        train_encoder,
    )
    from lungsynth.model.encoder import checksum, load_encoder

    options = _given(_preset(ENCODER_PRESETS, preset, "cpu"), given)
    if dry_run:
        click.echo(json.dumps(asdict(options), indent=2))
        return
    if threads:
        torch.set_num_threads(threads)
    films = read_films(sources, split=split or None, image_column=image_column, quiet=quiet)
    held = None
    if val_split:
        try:
            held = read_films(sources, split=val_split, image_column=image_column, quiet=quiet)
        except DataError as error:
            click.echo(f"no accuracy while training: {error}", err=True)
    done = train_encoder(films, held, out, options, device=resolve_device(device), quiet=quiet)
    if test_split:
        films = read_films(sources, split=test_split, image_column=image_column, quiet=quiet)
        folder = out / "encoder"
        report, table = report_accuracy(load_encoder(folder), films, seed=options.seed, quiet=quiet)
        report |= {"encoder": checksum(folder), "split": test_split, "steps": options.steps}
        write_report(report, out / "report.json")
        click.echo(table)
    state = "complete" if done else "stopped, run the same command to resume"
    click.echo(f"{out / 'encoder'}: {state}", err=True)


@click.command("nearest")
@click.option(
    "--data",
    "sources",
    metavar="SOURCE",
    multiple=True,
    required=True,
    help="Every film the checkpoint was trained on; repeat for several.",
)
@click.option("--image-column", default="image", show_default=True, metavar="NAME")
@click.option(
    "--split",
    default="train",
    show_default=True,
    metavar="NAME",
    help="Value of the `split` column it was trained on; '' takes every row.",
)
@click.option(
    "--checkpoint",
    type=click.Path(path_type=Path, exists=True, file_okay=False),
    required=True,
    metavar="DIR",
    help="Writes nearest/ into it.",
)
@click.option("--quiet", is_flag=True, help="No progress bar.")
def train_nearest_command(
    sources: tuple[str, ...], image_column: str, split: str, checkpoint: Path, quiet: bool
) -> None:
    """Keep features of training films with a checkpoint.

    Every picture it draws then states its distance to the nearest of them.

    \b
    python -m lungsynth train nearest --data films.parquet --checkpoint runs/diffusion/checkpoint
    """
    from lungsynth.evaluation.common import read_films
    from lungsynth.model.checkpoint import NEAREST_FOLDER
    from lungsynth.model.encoder import DEFAULT_FOLDER, checksum, embed, load_encoder
    from lungsynth.model.nearest import save_nearest

    films = read_films(sources, split=split or None, image_column=image_column, quiet=quiet)
    features = embed(load_encoder(DEFAULT_FOLDER), films.images, quiet=quiet).features
    names = ", ".join(Path(source).name for source in sources)
    save_nearest(
        checkpoint,
        features,
        encoder=checksum(DEFAULT_FOLDER),
        sources=f"{len(films)} films, split {split or 'all'} of {names}",
    )
    click.echo(f"{checkpoint / NEAREST_FOLDER}: features of {len(films)} films")
