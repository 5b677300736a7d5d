"""`python -m lungsynth train vae`, `diffusion`, `encoder` and `nearest`: their options."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path

from lungsynth.cli.options import (
    Loop,
    TrainingFilms,
    checkpoint_option,
    data_option,
    given_path,
)
from lungsynth.model.options import option


@dataclass(frozen=True, kw_only=True)
class TrainVaeCommand(Loop, TrainingFilms):
    """Train the autoencoder, starting at PCA.

    \b
    python -m lungsynth train vae --data films.parquet --out runs/vae --preset cpu
    """

    text_column: str = option(default="text", metavar="NAME")
    pixels: int = option(default=256, min=32)
    latent_channels: int | None = option(default=None, min=1)


@dataclass(frozen=True, kw_only=True)
class TrainDiffusionCommand(Loop, TrainingFilms):
    """Train the text-to-image model, from scratch or from a Stable Diffusion checkpoint.

    \b
    python -m lungsynth train diffusion --data films.parquet --vae runs/vae/vae --out runs/diffusion
    python -m lungsynth train diffusion --data films.parquet --init-from ORG/SD15 --lora-rank 8 \\
        --out runs/lora
    """

    text_column: str = option(default="text", metavar="NAME")
    vae_folder: Path | None = option(
        "--vae",
        default=None,
        metavar="DIR",
        help="Autoencoder of `train vae`; needed unless --init-from.",
    )
    init_from: str | None = option(
        default=None,
        metavar="DIR|HUB_ID",
        help="Fine-tune this Stable Diffusion 1.x/2.x checkpoint (text encoder frozen).",
    )
    lora_rank: int | None = option(
        default=None,
        min=0,
        metavar="R",
        help="Train LoRA adapters of this rank instead of the whole U-Net.",
    )
    max_shard_size: str | None = option(
        default=None, metavar="SIZE", help="Largest fp16 weight file written, such as 16MB."
    )
    train_text_encoder: bool | None = option(
        "--train-text-encoder/--freeze-text-encoder",
        default=None,
        help="Default: trained from scratch, frozen with --init-from.",
    )
    pixels: int | None = option(
        default=None, min=32, help="Side of the pictures.  [default: the checkpoint's]"
    )
    boxes: Path | None = given_path(
        "file",
        "Boxes of findings: id, finding, box, width, height, split. Captions then name their place.",
        metavar="PARQUET",
    )
    regions_from: Path | None = given_path(
        "dir",
        "Folder of the student that says where lungs and heart are, for the grounding loss.",
    )
    workers: int | None = option(
        default=None,
        min=1,
        max=64,
        help="Threads that share a step, each as many pictures as its core gets through: quicker where "
        "cores are shared with others. Changes the rounding only.  [default: 1]",
    )
    sample_prompts: tuple[str, ...] = option(
        "--sample-prompt",
        metavar="TEXT",
        help="Prompt of the pictures drawn while training; repeat.",
    )


@dataclass(frozen=True, kw_only=True)
class TrainEncoderCommand(Loop, TrainingFilms):
    """Train the encoder that `evaluate` measures with, on real films.

    \b
    python -m lungsynth train encoder --data films.parquet --out runs/encoder --preset cpu
    python -m lungsynth train encoder … --patients half-b --seed 1 --out runs/verifier
    """

    val_split: str = option(
        default="val",
        metavar="NAME",
        help="Split of the accuracy lines in the metrics; '' for none.",
    )
    test_split: str = option(
        default="test", metavar="NAME", help="Split of the final report; '' for none."
    )
    patients: str = option(
        default="all",
        choices=("all", "half-a", "half-b"),
        help="Train on half of the patients, by a hash of their names. The encoder is then also a "
        "verifier, for --verifier; another should measure what it chose.",
    )


@dataclass(frozen=True, kw_only=True)
class TrainNearestCommand:
    """Keep features of training films with a checkpoint.

    Every picture it draws then states its distance to the nearest of them.

    \b
    python -m lungsynth train nearest --data films.parquet --checkpoint runs/diffusion/checkpoint
    """

    sources: tuple[str, ...] = data_option(
        "Every film the checkpoint was trained on; repeat for several."
    )
    image_column: str = option(default="image", metavar="NAME")
    split: str = option(
        default="train",
        metavar="NAME",
        help="Value of the `split` column it was trained on; '' takes every row.",
    )
    checkpoint: Path = checkpoint_option("Writes nearest/ into it.")
    quiet: bool = option(help="No progress bar.")
