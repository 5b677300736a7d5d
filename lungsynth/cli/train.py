"""`python -m lungsynth train …`."""

from __future__ import annotations

import json
from dataclasses import asdict, fields, replace
from pathlib import Path
from typing import Any

import click

from lungsynth.cli.options import precision_option, with_options

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


def _given(options: Any, values: dict[str, Any]) -> Any:
    """Preset with the options that were given on the command line in their place."""
    known = {field.name for field in fields(options)}
    return replace(options, **{k: v for k, v in values.items() if v is not None and k in known})


def _preset(presets: dict[str, Any], name: str | None, default: str) -> Any:
    from lungsynth.errors import ConfigError

    chosen = name or default
    if chosen not in presets:
        raise ConfigError(f"--preset {chosen}: unknown; there are {', '.join(sorted(presets))}.")
    return presets[chosen]


def resolve_device(name: str) -> str:
    """`auto` -> cuda when there is one, else cpu."""
    import torch

    if name != "auto":
        try:
            torch.empty(1, device=name)
        except (RuntimeError, AssertionError) as error:
            from lungsynth.errors import ConfigError

            first = str(error).splitlines()[0]
            raise ConfigError(f"--device {name}: cannot be used ({first}). Try cpu.") from error
        return name
    return "cuda" if torch.cuda.is_available() else "cpu"


@click.group()
def train() -> None:
    """Train the parts of a checkpoint. Every run resumes with the same command."""


@train.command("vae")
@with_options(DATA_OPTIONS)
@with_options(LOOP_OPTIONS)
@click.option("--pixels", type=click.IntRange(min=32), default=256, show_default=True)
@click.option("--latent-channels", type=click.IntRange(min=1), default=None)
def train_vae_command(
    sources: tuple[str, ...],
    image_column: str,
    text_column: str,
    split: str,
    out: Path,
    preset: str | None,
    threads: int | None,
    device: str,
    quiet: bool,
    dry_run: bool,
    pixels: int,
    **given: Any,
) -> None:
    """Train the autoencoder, starting at PCA.

    \b
    python -m lungsynth train vae --data films.parquet --out runs/vae --preset cpu
    """
    import torch

    from lungsynth.films.data import read_records
    from lungsynth.films.framing import whole
    from lungsynth.training.frames import cut_frames
    from lungsynth.training.presets import VAE_PRESETS
    from lungsynth.training.vae import train_vae

    options = _given(_preset(VAE_PRESETS, preset, "cpu"), given)
    if dry_run:
        click.echo(json.dumps(asdict(options), indent=2))
        return
    if threads:
        torch.set_num_threads(threads)

    def records(name: str | None) -> Any:
        for source in sources:
            yield from read_records(source, image_column=image_column, text_column=None, split=name)

    import numpy as np

    frames = cut_frames(records(split or None), pixels=pixels, seed=options.seed, quiet=quiet)
    held = frames.images[:: max(1, len(frames.images) // 48)][:48]
    if split == "train":
        try:
            films = [
                r
                for s in sources
                for r in read_records(
                    s, image_column=image_column, text_column=None, split="val", limit=24
                )
            ]
            held = np.stack([whole(r.image, pixels=pixels) for r in films])
        except Exception as error:  # noqa: BLE001 - a source without a val split
            click.echo(f"no held-out films ({error}); PSNR is on training films", err=True)
    done = train_vae(frames, held, out, options, quiet=quiet, device=resolve_device(device))
    state = "complete" if done else "stopped, run the same command to resume"
    click.echo(f"{out / 'vae'}: {state}", err=True)


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
    "--sample-prompt",
    "sample_prompts",
    multiple=True,
    metavar="TEXT",
    help="Prompt of the pictures drawn while training; repeat.",
)
def train_diffusion_command(
    sources: tuple[str, ...],
    image_column: str,
    text_column: str,
    split: str,
    out: Path,
    preset: str | None,
    threads: int | None,
    device: str,
    quiet: bool,
    dry_run: bool,
    vae_folder: Path | None,
    init_from: str | None,
    pixels: int | None,
    sample_prompts: tuple[str, ...],
    train_text_encoder: bool | None,
    **given: Any,
) -> None:
    """Train the text-to-image model, from scratch or from a Stable Diffusion checkpoint.

    \b
    python -m lungsynth train diffusion --data films.parquet --vae runs/vae/vae --out runs/diffusion
    python -m lungsynth train diffusion --data films.parquet --init-from ORG/SD15 --lora-rank 8 \\
        --out runs/lora
    """
    import torch

    from lungsynth.errors import ConfigError
    from lungsynth.films.data import read_records
    from lungsynth.training.diffusion import build_parts, load_parts, train_diffusion
    from lungsynth.training.frames import cut_frames
    from lungsynth.training.presets import DIFFUSION_PRESETS

    if (vae_folder is None) == (init_from is None):
        raise ConfigError(
            "Give exactly one of --vae (train from scratch) and --init-from (fine-tune)."
        )
    if train_text_encoder is None:
        train_text_encoder = init_from is None
    options = _given(
        _preset(DIFFUSION_PRESETS, preset, "cpu" if init_from is None else "finetune"),
        {**given, "train_text_encoder": train_text_encoder},
    )
    if dry_run:
        click.echo(json.dumps(asdict(options), indent=2))
        return
    if threads:
        torch.set_num_threads(threads)
    parts = load_parts(init_from) if init_from is not None else None
    vae = parts.vae if parts else load_vae(vae_folder)
    stride = 2 ** (len(vae.config.block_out_channels) - 1)
    side = pixels or (parts.unet.config.sample_size * stride if parts else vae.config.sample_size)
    if side % stride:
        raise ConfigError(
            f"--pixels {side} is not a multiple of the autoencoder's stride {stride}."
        )
    records = (
        record
        for source in sources
        for record in read_records(
            source, image_column=image_column, text_column=text_column, split=split or None
        )
    )
    frames = cut_frames(
        records,
        pixels=side,
        seed=options.seed,
        per_child=options.per_child,
        per_adult=options.per_adult,
        quiet=quiet,
    )
    if parts is None:
        parts = build_parts(vae, frames, options)
    done = train_diffusion(
        parts,
        frames,
        out,
        options,
        device=resolve_device(device),
        quiet=quiet,
        sample_prompts=sample_prompts,
    )
    state = "complete" if done else "stopped, run the same command to resume"
    click.echo(f"{out}: {state}", err=True)


def load_vae(folder: Path | None) -> Any:
    """The autoencoder in a folder.

    Raises:
        CheckpointError: the folder holds none.
    """
    from lungsynth.errors import CheckpointError
    from lungsynth.model.autoencoder import PatchAutoencoderKL

    try:
        return PatchAutoencoderKL.from_pretrained(folder, use_safetensors=True)
    except Exception as error:
        raise CheckpointError(
            f"--vae {folder}: no autoencoder of `train vae` ({error})."
        ) from error
