"""`python -m lungsynth segment`: what it does."""

from __future__ import annotations

import json
import sys
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import click
import torch
from tqdm import tqdm

from lungsynth.errors import LungSynthError, OutputError
from lungsynth.files import check_writable, write_files
from lungsynth.films.film import Film, find_films, folder_names, pixels_sha256, read_film
from lungsynth.masks.refine import RefineConfig, with_values
from lungsynth.pipeline import Synthesizer
from lungsynth.segment import (
    file_names,
    segment_files,
    segment_films,
    segment_settings,
    settings_sha256,
)


@dataclass(frozen=True, kw_only=True)
class SegmentCommand:
    """Its options, as `--help` describes them."""

    images: tuple[str, ...]
    out: Path
    model: str | None
    classes: str | None
    prompt: str | None
    method: str | None
    refine_values: tuple[str, ...]
    n_noise: int
    seed: int
    probability: bool
    overwrite: bool
    batch_size: int
    threads: int | None
    device: str
    quiet: bool


def run_segment(command: SegmentCommand) -> None:
    """Outline the organs on your own real X-rays, of any size."""
    if command.threads:
        torch.set_num_threads(command.threads)
    paths = find_films(command.images, exclude=[command.out])
    check_writable(command.out, make=False)
    config = with_values(
        RefineConfig() if command.method is None else RefineConfig(method=command.method),
        command.refine_values,
    )
    synthesizer = Synthesizer(command.model, device=command.device, classes=command.classes)
    options: dict[str, Any] = {
        "prompt": command.prompt,
        "seed": command.seed,
        "n_noise": command.n_noise,
        "config": config,
    }
    settings = segment_settings(synthesizer, **options)
    wanted = settings_sha256(settings)
    names = file_names(settings, probability=command.probability)
    bar = tqdm(total=len(paths), unit="film", disable=command.quiet)
    failed: list[tuple[Path, str]] = []
    n_done = n_skipped = 0

    def say(text: str) -> None:
        if not command.quiet:
            tqdm.write(text, file=sys.stderr)

    def finish(batch: Sequence[tuple[Path, Film, Path]]) -> int:
        """Segment and write a batch; a film that fails alone does not take the others with it."""
        try:
            results = segment_films(synthesizer, [film.image for _, film, _ in batch], **options)
        except LungSynthError as error:
            if len(batch) > 1:
                return sum(finish([one]) for one in batch)
            failed.append((batch[0][0], str(error)))
            bar.update()
            return 0
        for (_, film, folder), result in zip(batch, results, strict=True):
            write_files(segment_files(film, result, probability=command.probability), folder)
            tqdm.write(str(folder), file=sys.stdout)
            bar.update()
        return len(batch)

    waiting: list[tuple[Path, Film, Path]] = []
    try:
        for path, name in zip(paths, folder_names(paths), strict=True):
            folder = command.out / name
            try:
                film = read_film(path)
                state = _state(folder, pixels_sha256(film.image), wanted, names)
                if state == "foreign":
                    raise OutputError(
                        f"{folder} is not a folder of `segment`. Choose another --out."
                    )
                if state == "other" and not command.overwrite:
                    raise OutputError(
                        f"{folder} holds the mask of another film. Choose another --out, or --overwrite."
                    )
            except LungSynthError as error:
                failed.append((path, str(error)))
                bar.update()
                continue
            if state == "done" and not command.overwrite:
                n_skipped += 1
                bar.update()
                continue
            for note in film.warnings:
                say(f"warning: {path}: {note}")
            waiting.append((path, film, folder))
            if len(waiting) == command.batch_size:
                n_done += finish(waiting)
                waiting = []
        if waiting:
            n_done += finish(waiting)
    finally:
        bar.close()
    for path, reason in failed:
        click.echo(f"failed: {reason if str(path) in reason else f'{path}: {reason}'}", err=True)
    if not command.quiet:
        click.echo(
            f"{n_done} done, {n_skipped} skipped, {len(failed)} failed; masks in {command.out}",
            err=True,
        )
    if failed:
        sys.exit(1)


def _state(folder: Path, pixels: str, settings: str, names: Sequence[str]) -> str:
    """What a film's folder holds: nothing, "foreign" files, an "other" film, "stale" or "done"."""
    if not folder.exists():
        return ""
    try:
        record = json.loads((folder / "record.json").read_text(encoding="utf-8"))
        of_film, of_settings = record["pixels_sha256"], record["settings_sha256"]
    except (OSError, ValueError, KeyError, TypeError):
        return "foreign"
    if of_film != pixels:
        return "other"
    whole = all((folder / name).is_file() for name in names)
    return "done" if whole and of_settings == settings else "stale"
