"""`python -m lungsynth segment`."""

from __future__ import annotations

import json
import sys
from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

import click

from lungsynth.cli.options import RefinementOption

if TYPE_CHECKING:
    from lungsynth.films.film import Film


@click.command("segment")
@click.argument("images", nargs=-1, required=True, metavar="IMAGE…")
@click.option(
    "--out",
    type=click.Path(path_type=Path, file_okay=False),
    default=Path("segmented"),
    show_default=True,
    metavar="DIR",
    help="One folder a film is made in here.",
)
@click.option(
    "--model",
    default=None,
    metavar="NAME|DIR",
    help="A checkpoint with class tokens.  [default: mini, shipped]",
)
@click.option(
    "--classes",
    default=None,
    metavar="NAME",
    help="Convention of the masks, where the checkpoint has several, such as nlm.",
)
@click.option(
    "--prompt",
    default=None,
    metavar="TEXT",
    help="Text the films are read with.  [default: the one the tokens were learnt with]",
)
@click.option(
    "--refine",
    "method",
    cls=RefinementOption,
    default=None,
    metavar="NAME",
    help="How the mask is refined: NAMES.  [default: as `sample`]",
)
@click.option(
    "--set",
    "refine_values",
    multiple=True,
    metavar="NAME=VALUE",
    help="A parameter of the refinement, such as beta=16, crf.theta_beta=8, ignore_band=0.1 "
    "or clean_up=false; repeat for several.",
)
@click.option(
    "--noise",
    "n_noise",
    type=click.IntRange(min=1, max=64),
    default=1,
    show_default=True,
    help="Noise draws averaged; more are steadier and slower.",
)
@click.option(
    "--seed",
    type=click.IntRange(min=0, max=2**63 - 65),
    default=0,
    show_default=True,
    help="Seed of the noise.",
)
@click.option(
    "--probability", is_flag=True, help="Also write each class's probability as a picture."
)
@click.option(
    "--overwrite",
    is_flag=True,
    help="Segment again what is done, and replace masks of other films of the same name.",
)
@click.option(
    "--batch-size",
    type=click.IntRange(min=1),
    default=4,
    show_default=True,
    help="Films read together.",
)
@click.option("--threads", type=click.IntRange(min=1), default=None, help="CPU threads.")
@click.option("--device", default="auto", show_default=True, help="auto, cpu, cuda …")
@click.option("--quiet", is_flag=True, help="No progress bar, no warnings, no last line.")
def segment_command(
    images: tuple[str, ...],
    out: Path,
    model: str | None,
    classes: str | None,
    prompt: str | None,
    method: str | None,
    refine_values: tuple[str, ...],
    n_noise: int,
    seed: int,
    probability: bool,
    overwrite: bool,
    batch_size: int,
    threads: int | None,
    device: str,
    quiet: bool,
) -> None:
    """Outline the organs on your own real X-rays, of any size.

    \b
    python -m lungsynth segment film.png --out segmented/
    python -m lungsynth segment films/ more/*.dcm --out segmented/

    IMAGE is a PNG, JPEG, TIFF, BMP or DICOM file, a folder (searched to any depth), or a pattern.
    Per film: mask.png (class ids, the film's own size), overlay.png, record.json. Folders are
    printed on stdout as they are finished. Films that are done are skipped, so the same command
    resumes. Films that cannot be read are listed at the end; exit code 1. Nothing about the
    patient is read from DICOM files. Research only; not for diagnosis.
    """
    import torch
    from tqdm import tqdm

    from lungsynth.errors import LungSynthError, OutputError
    from lungsynth.files import check_writable, write_files
    from lungsynth.films.film import find_films, folder_names, pixels_sha256, read_film
    from lungsynth.masks.refine import RefineConfig, with_values
    from lungsynth.pipeline import Synthesizer
    from lungsynth.segment import (
        file_names,
        segment_files,
        segment_films,
        segment_settings,
        settings_sha256,
    )

    if threads:
        torch.set_num_threads(threads)
    paths = find_films(images, exclude=[out])
    check_writable(out)
    config = with_values(
        RefineConfig() if method is None else RefineConfig(method=method), refine_values
    )
    synthesizer = Synthesizer(model, device=device, classes=classes)
    options: dict[str, Any] = {"prompt": prompt, "seed": seed, "n_noise": n_noise, "config": config}
    settings = segment_settings(synthesizer, **options)
    wanted = settings_sha256(settings)
    names = file_names(settings, probability=probability)
    bar = tqdm(total=len(paths), unit="film", disable=quiet)
    failed: list[tuple[Path, str]] = []
    n_done = n_skipped = 0

    def say(text: str) -> None:
        if not quiet:
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
            write_files(segment_files(film, result, probability=probability), folder)
            tqdm.write(str(folder), file=sys.stdout)
            bar.update()
        return len(batch)

    waiting: list[tuple[Path, Film, Path]] = []
    try:
        for path, name in zip(paths, folder_names(paths), strict=True):
            folder = out / name
            try:
                film = read_film(path)
                state = _state(folder, pixels_sha256(film.image), wanted, names)
                if state == "foreign":
                    raise OutputError(
                        f"{folder} is not a folder of `segment`. Choose another --out."
                    )
                if state == "other" and not overwrite:
                    raise OutputError(
                        f"{folder} holds the mask of another film. Choose another --out, or --overwrite."
                    )
            except LungSynthError as error:
                failed.append((path, str(error)))
                bar.update()
                continue
            if state == "done" and not overwrite:
                n_skipped += 1
                bar.update()
                continue
            for note in film.warnings:
                say(f"warning: {path}: {note}")
            waiting.append((path, film, folder))
            if len(waiting) == batch_size:
                n_done += finish(waiting)
                waiting = []
        if waiting:
            n_done += finish(waiting)
    finally:
        bar.close()
    for path, reason in failed:
        click.echo(f"failed: {reason if str(path) in reason else f'{path}: {reason}'}", err=True)
    if not quiet:
        click.echo(
            f"{n_done} done, {n_skipped} skipped, {len(failed)} failed; masks in {out}", err=True
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
