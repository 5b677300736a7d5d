"""`python -m lungsynth train …`: what it does."""

from __future__ import annotations

import json
from collections.abc import Mapping
from dataclasses import asdict, fields, replace
from pathlib import Path
from typing import Any

import click
import numpy as np
import pyarrow.parquet as pq

from lungsynth.about.sources import (
    UNKNOWN,
    Source,
    read_sources,
    sources_of_data,
    write_sources,
)
from lungsynth.cli.train import TrainDiffusionCommand, TrainVaeCommand
from lungsynth.errors import CheckpointError, ConfigError, DataError
from lungsynth.films.data import read_many
from lungsynth.films.framing import whole
from lungsynth.masks.student import load_student
from lungsynth.model.autoencoder import PatchAutoencoderKL
from lungsynth.model.checkpoint import resolve
from lungsynth.model.precision import resolve_device
from lungsynth.training.diffusion.parts import (
    DiffusionOptions,
    build_parts,
    learn_words,
    load_parts,
)
from lungsynth.training.diffusion.train import train_diffusion
from lungsynth.training.frames import Frames, Places, cut_frames, load_frames, save_frames
from lungsynth.training.presets import DIFFUSION_PRESETS, TEXT_TOO, VAE_PRESETS
from lungsynth.training.vae import train_vae
from lungsynth.training.words.regions import find_places, read_boxes


def given(options: Any, values: Mapping[str, Any]) -> Any:
    """Preset with the options that were given on the command line in their place."""
    known = {field.name for field in fields(options)}
    return replace(options, **{k: v for k, v in values.items() if v is not None and k in known})


def preset_of(presets: dict[str, Any], name: str | None, default: str) -> Any:
    chosen = name or default
    if chosen not in presets:
        raise ConfigError(f"--preset {chosen}: unknown; there are {', '.join(sorted(presets))}.")
    return presets[chosen]


def say_state(folder: Path, done: bool) -> None:
    """Print whether the run that fills a folder is complete."""
    state = "complete" if done else "stopped, run the same command to resume"
    click.echo(f"{folder}: {state}", err=True)


def run_train_vae(command: TrainVaeCommand) -> None:
    """Train the autoencoder, starting at PCA."""
    options = given(preset_of(VAE_PRESETS, command.preset, "cpu"), vars(command))
    if command.dry_run:
        click.echo(json.dumps(asdict(options), indent=2))
        return
    how: dict[str, Any] = {"image_column": command.image_column, "text_column": None}
    frames = cut_frames(
        read_many(command.sources, split=command.split or None, **how),
        pixels=command.pixels,
        seed=options.seed,
        quiet=command.quiet,
    )
    held = frames.images[:: max(1, len(frames.images) // 48)][:48]
    if command.split == "train":
        try:
            films = read_many(command.sources, split="val", limit=24, **how)
            held = np.stack([whole(film.image, pixels=command.pixels) for film in films])
        except DataError as error:  # a source without such films
            click.echo(f"no held-out films ({error}); PSNR is on training films", err=True)
    done = train_vae(
        frames,
        held,
        command.out,
        options,
        quiet=command.quiet,
        device=resolve_device(command.device),
    )
    say_state(command.out / "vae", done)


def run_train_diffusion(command: TrainDiffusionCommand) -> None:
    """Train the text-to-image model, from scratch or from a Stable Diffusion checkpoint."""
    if (command.vae_folder is None) == (command.init_from is None):
        raise ConfigError(
            "Give exactly one of --vae (train from scratch) and --init-from (fine-tune)."
        )
    train_text_encoder = command.train_text_encoder
    if train_text_encoder is None:
        train_text_encoder = command.init_from is None or command.preset in TEXT_TOO
    options = given(
        preset_of(
            DIFFUSION_PRESETS, command.preset, "cpu" if command.init_from is None else "finetune"
        ),
        {**vars(command), "train_text_encoder": train_text_encoder},
    )
    if command.dry_run:
        click.echo(json.dumps(asdict(options), indent=2))
        return
    parts = load_parts(command.init_from) if command.init_from is not None else None
    vae = parts.vae if parts else load_vae(command.vae_folder)
    stride = 2 ** (len(vae.config.block_out_channels) - 1)
    side = command.pixels or (
        parts.unet.config.sample_size * stride if parts else vae.config.sample_size
    )
    if side % stride:
        raise ConfigError(
            f"--pixels {side} is not a multiple of the autoencoder's stride {stride}."
        )
    frames = frames_of(command, options, side)
    if parts is None:
        parts = build_parts(vae, frames, options)
    elif options.train_text_encoder:
        learn_words(parts, frames, options)
    done = train_diffusion(
        parts,
        frames,
        command.out,
        options,
        device=resolve_device(command.device),
        quiet=command.quiet,
        sample_prompts=command.sample_prompts,
    )
    write_training_sources(command)
    say_state(command.out, done)


def frames_of(command: TrainDiffusionCommand, options: DiffusionOptions, side: int) -> Frames:
    """The run's frames: from its folder, or cut from the sources and kept there."""
    cached = command.out / "frames.safetensors"
    if cached.is_file():
        return load_frames(cached)
    records = read_many(
        command.sources,
        image_column=command.image_column,
        text_column=command.text_column,
        split=command.split or None,
    )
    frames = cut_frames(
        records,
        pixels=side,
        seed=options.seed,
        per_child=options.per_child,
        per_adult=options.per_adult,
        per_healthy=options.per_healthy,
        places=places_of(command),
        quiet=command.quiet,
    )
    save_frames(frames, cached)
    return frames


def places_of(command: TrainDiffusionCommand) -> Places | None:
    """Film -> regions and words for the place of its finding; None without a student.

    Raises:
        ConfigError: boxes without a student.
    """
    if command.regions_from is None:
        if command.boxes is not None:
            raise ConfigError("--boxes also needs --regions-from: a place is named by the lungs.")
        return None
    rows = pq.read_table(command.boxes).to_pylist() if command.boxes is not None else []
    kept = [row for row in rows if not command.split or row.get("split") == command.split]
    return find_places(load_student(command.regions_from), read_boxes(kept))


def write_training_sources(command: TrainDiffusionCommand) -> None:
    """Say in what was written what it was trained on, and what its base was."""
    written = [f for f in (command.out / "pipeline", command.out / "lora") if f.is_dir()]
    if not written:
        return
    split = command.split or None
    found: list[Source] = []
    if command.init_from is not None:
        found += read_sources(Path(resolve(command.init_from)))
        found = found or [Source(Path(command.init_from).name, UNKNOWN, "", "base weights")]
    for source in command.sources:
        found += sources_of_data(source, split=split)
    if command.boxes is not None:
        found += sources_of_data(str(command.boxes), used_for="boxes", split=split)
    if command.regions_from is not None:
        found += read_sources(command.regions_from.parent)
    for folder in written:
        write_sources(folder, found)


def load_vae(folder: Path | None) -> Any:
    """The autoencoder in a folder.

    Raises:
        CheckpointError: the folder holds none.
    """
    try:
        return PatchAutoencoderKL.from_pretrained(folder, use_safetensors=True)
    except Exception as error:
        raise CheckpointError(
            f"--vae {folder}: no autoencoder of `train vae` ({error})."
        ) from error
