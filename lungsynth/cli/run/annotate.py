"""`python -m lungsynth annotate`: what it does."""

from __future__ import annotations

import json
import shlex
from collections.abc import Mapping
from pathlib import Path

import click

from lungsynth.cli.films import AnnotateCommand
from lungsynth.errors import ConfigError
from lungsynth.files import check_writable, write_whole
from lungsynth.films.annotation import parse_class_options
from lungsynth.films.annotation_files import (
    annotation_page,
    import_annotations,
    overlays_of,
    shares,
    write_films,
    write_image_folder,
)
from lungsynth.films.finding import find_films
from lungsynth.masks.classes import classes_path
from lungsynth.model.checkpoint import resolve

PAGE_NAME = "annotate.html"
TERMS = ("source_set", "image_licence", "mask_licence")
"""Options that become columns: what training states of where its films came from."""


def run_annotate(command: AnnotateCommand) -> None:
    """Outline organs on films by hand, in your browser, and turn the outlines into masks."""
    classes = parse_class_options(command.named) or _classes_of(command.model)
    told = {name: getattr(command, name) for name in TERMS}
    terms = {name: text.strip() for name, text in told.items() if text and text.strip()}
    if terms and not (command.importing and command.out.suffix == ".parquet"):
        raise ConfigError(
            f"--{min(terms).replace('_', '-')} is a column of a Parquet file; it goes with --import "
            "and --out FILE.parquet."
        )
    if command.importing:
        _import(command, classes, terms)
    else:
        _page(command.files, classes, command.images, command.out)


def _page(
    files: tuple[str, ...], classes: Mapping[str, int], images: Path | None, out: Path
) -> None:
    if images is not None:
        raise ConfigError("--images goes with --import; name the films themselves.")
    if any(file.lower().endswith(".json") for file in files):
        raise ConfigError("A JSON file is an annotation, not a film; add --import to read it.")
    if out.suffix == ".parquet":
        raise ConfigError("--out of the page is a folder; a Parquet file is made by --import.")
    paths = find_films(files, exclude=[out])
    check_writable(out)
    page = out / PAGE_NAME
    write_whole(page, annotation_page(paths, classes, saved=out))
    click.echo(str(page))
    label = "" if len(paths) == 1 else "s"
    folder = (
        paths[0].parent
        if len({path.parent for path in paths}) == 1
        else Path("FOLDER_OF_THE_FILMS")
    )
    given = " ".join(f"--class {shlex.quote(f'{name}={i}')}" for name, i in classes.items())
    click.echo(
        f"1. Open it in a browser ({len(paths)} film{label}; it holds them, so treat it as you treat "
        f"the films).\n2. Click along each border, Enter to close; S saves a JSON file. Move it to {out}.\n"
        f"3. python -m lungsynth annotate --import {shlex.quote(str(out))}/*.json "
        f"--images {shlex.quote(str(folder))} --out masks.parquet {given}",
        err=True,
    )


def _import(command: AnnotateCommand, classes: Mapping[str, int], terms: Mapping[str, str]) -> None:
    out = command.out
    parquet = out.suffix == ".parquet"
    overlays = overlays_of(out)
    made = [overlays] if parquet else [overlays, out / "images", out / "masks"]
    given = [Path(file) for file in command.files]
    films = import_annotations(given, classes, images=command.images, exclude=made)
    if parquet:
        write_films(films, out, terms)
    else:
        write_image_folder(films, out)
    click.echo(str(out))
    for film in films:
        told = ", ".join(f"{name} {share:.1%}" for name, share in shares(film, classes).items())
        click.echo(f"{film.name}: {told or 'no class'} of the film", err=True)
    click.echo(f"Look at {overlays}, then learn a token of each class:", err=True)
    source = shlex.quote(str(out))
    split = "" if parquet else " --split ''"
    for name, i in classes.items():
        if any((film.mask == i).any() for film in films):
            click.echo(
                f"  python -m lungsynth learn-token --data {source}{split} --class {shlex.quote(name)} "
                f"--id {i} --foreground {i} --ignore 255 --k {len(films)} --checkpoint CHECKPOINT",
                err=True,
            )


def _classes_of(model: str | None) -> dict[str, int]:
    """Name -> id of a checkpoint's `classes.json`, without loading its weights."""
    path = classes_path(Path(resolve(model)))
    try:
        entries = json.loads(path.read_text(encoding="utf-8"))["classes"]
        classes = {str(entry["name"]): int(entry["id"]) for entry in entries}
    except (OSError, ValueError, KeyError, TypeError) as error:
        raise ConfigError(
            f"{path}: no classes to offer; name them with --class NAME=ID."
        ) from error
    if not classes:
        raise ConfigError(f"{path} names no class; name them with --class NAME=ID.")
    return classes
