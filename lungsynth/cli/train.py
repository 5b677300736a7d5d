"""`python -m lungsynth train …`."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import click

from lungsynth.cli.options import asked, precision_option, with_options

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
    click.option("--text-column", default="text", show_default=True, metavar="NAME"),
    click.option(
        "--split",
        default="train",
        show_default=True,
        metavar="NAME",
        help="Value of the `split` column to train on; '' takes every row.",
    ),
]
LOOP_OPTIONS = [
    click.option(
        "--out",
        type=click.Path(path_type=Path, file_okay=False),
        required=True,
        metavar="DIR",
        help="Run folder. The same command again resumes.",
    ),
    click.option("--preset", default=None, metavar="NAME", help="A named set of options."),
    click.option("--steps", type=click.IntRange(min=1), default=None, metavar="N"),
    click.option("--batch-size", type=click.IntRange(min=1), default=None, metavar="N"),
    click.option("--lr", type=click.FloatRange(min=0, min_open=True), default=None),
    click.option("--seed", type=click.IntRange(min=0), default=None),
    precision_option("the network", None),
    click.option(
        "--max-minutes",
        type=click.FloatRange(min=0),
        default=None,
        help="Stop, resumable, after so long.",
    ),
    click.option(
        "--save-minutes",
        type=click.FloatRange(min=0),
        default=None,
        help="Wall time between states on disk, which a kill can lose.",
    ),
    click.option("--sample-every", type=click.IntRange(min=0), default=None, metavar="STEPS"),
    click.option("--threads", type=click.IntRange(min=1), default=None, help="CPU threads."),
    click.option("--device", default="auto", show_default=True, help="auto, cpu, cuda, cuda:1 …"),
    click.option("--quiet", is_flag=True, help="No progress bar."),
    click.option("-n", "--dry-run", is_flag=True, help="Print the resolved options and stop."),
]


@click.group()
def train() -> None:
    """Train the parts of a checkpoint. Every run resumes with the same command."""


@train.command("vae")
@with_options(DATA_OPTIONS)
@with_options(LOOP_OPTIONS)
@click.option("--pixels", type=click.IntRange(min=32), default=256, show_default=True)
@click.option("--latent-channels", type=click.IntRange(min=1), default=None)
def train_vae_command(**options: Any) -> None:
    """Train the autoencoder, starting at PCA.

    \b
    python -m lungsynth train vae --data films.parquet --out runs/vae --preset cpu
    """
    from lungsynth.cli.run import train as work  # deferred: a quick --help

    work.run_train_vae(asked(work.TrainVaeCommand, options))


@train.command("diffusion")
@with_options(DATA_OPTIONS)
@with_options(LOOP_OPTIONS)
@click.option(
    "--vae",
    "vae_folder",
    type=click.Path(path_type=Path),
    default=None,
    metavar="DIR",
    help="Autoencoder of `train vae`; needed unless --init-from.",
)
@click.option(
    "--init-from",
    default=None,
    metavar="DIR|HUB_ID",
    help="Fine-tune this Stable Diffusion 1.x/2.x checkpoint (text encoder frozen).",
)
@click.option(
    "--lora-rank",
    type=click.IntRange(min=0),
    default=None,
    metavar="R",
    help="Train LoRA adapters of this rank instead of the whole U-Net.",
)
@click.option(
    "--max-shard-size",
    default=None,
    metavar="SIZE",
    help="Largest fp16 weight file written, such as 16MB.",
)
@click.option(
    "--train-text-encoder/--freeze-text-encoder",
    default=None,
    help="Default: trained from scratch, frozen with --init-from.",
)
@click.option(
    "--pixels",
    type=click.IntRange(min=32),
    default=None,
    help="Side of the pictures.  [default: the checkpoint's]",
)
@click.option(
    "--boxes",
    type=click.Path(path_type=Path, exists=True, dir_okay=False),
    default=None,
    metavar="PARQUET",
    help="Boxes of findings: id, finding, box, width, height, split. Captions then name their place.",
)
@click.option(
    "--regions-from",
    type=click.Path(path_type=Path, exists=True, file_okay=False),
    default=None,
    metavar="DIR",
    help="Folder of the student that says where lungs and heart are, for the grounding loss.",
)
@click.option(
    "--sample-prompt",
    "sample_prompts",
    multiple=True,
    metavar="TEXT",
    help="Prompt of the pictures drawn while training; repeat.",
)
def train_diffusion_command(**options: Any) -> None:
    """Train the text-to-image model, from scratch or from a Stable Diffusion checkpoint.

    \b
    python -m lungsynth train diffusion --data films.parquet --vae runs/vae/vae --out runs/diffusion
    python -m lungsynth train diffusion --data films.parquet --init-from ORG/SD15 --lora-rank 8 \\
        --out runs/lora
    """
    from lungsynth.cli.run import train as work  # deferred: a quick --help

    work.run_train_diffusion(asked(work.TrainDiffusionCommand, options))
