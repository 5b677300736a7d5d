"""`python -m lungsynth annotate`."""

from __future__ import annotations

import json
import shlex
from collections.abc import Mapping
from pathlib import Path

import click

PAGE_NAME = "annotate.html"


@click.command("annotate")
@click.argument("files", nargs=-1, required=True, metavar="FILE…")
@click.option(
    "--import",
    "importing",
    is_flag=True,
    help="FILEs are annotations (labelme or COCO polygons): turn them into masks.",
)
@click.option(
    "--out",
    type=click.Path(path_type=Path),
    default=Path("annotations"),
    show_default=True,
    metavar="DIR|FILE.parquet",
    help="Where the page, or what --import makes, is written.",
)
@click.option(
    "--class",
    "named",
    multiple=True,
    metavar="NAME=ID",
    help="A class and its id in masks; repeat.  [default: those of --model]",
)
@click.option(
    "--model",
    default=None,
    metavar="NAME|DIR",
    help="Checkpoint whose classes are used without --class.  [default: mini, shipped]",
)
@click.option(
    "--images",
    type=click.Path(path_type=Path, file_okay=False),
    default=None,
    metavar="DIR",
    help="With --import: where the films are.  [default: beside each annotation]",
)
def annotate_command(
    files: tuple[str, ...],
    importing: bool,
    out: Path,
    named: tuple[str, ...],
    model: str | None,
    images: Path | None,
) -> None:
    """Outline organs on films by hand, in your browser, and turn the outlines into masks.

    \b
    python -m lungsynth annotate film1.png film2.dcm --class "left lung=1" --class "right lung=2"
    python -m lungsynth annotate --import annotations/*.json --images films/ --out masks.parquet \\
        --class "left lung=1" --class "right lung=2"

    The first command writes one page that needs no network and sends nothing. Outlines are saved
    from it as labelme JSON. The second reads such files, labelme's own, or COCO polygons, and
    writes what `learn-token --data` reads, with an overlay of each film to check by eye. Where
    outlines overlap the later one wins; the label `background` cuts a hole, `ignore` marks 255.
    """
    from lungsynth.films.annotation import parse_class_options

    classes = parse_class_options(named) or _classes_of(model)
    if importing:
        _import(files, classes, images, out)
    else:
        _page(files, classes, images, out)


def _page(
    files: tuple[str, ...], classes: Mapping[str, int], images: Path | None, out: Path
) -> None:
    from lungsynth.errors import ConfigError, OutputError
    from lungsynth.files import check_writable
    from lungsynth.films.annotation_files import annotation_page
    from lungsynth.films.film import find_films

    if images is not None:
        raise ConfigError("--images goes with --import; name the films themselves.")
    if any(file.lower().endswith(".json") for file in files):
        raise ConfigError("A JSON file is an annotation, not a film; add --import to read it.")
    if out.suffix == ".parquet":
        raise ConfigError("--out of the page is a folder; a Parquet file is made by --import.")
    paths = find_films(files, exclude=[out])
    check_writable(out)
    page = out / PAGE_NAME
    text = annotation_page(paths, classes, saved=out)
    try:
        page.write_text(text, encoding="utf-8")
    except OSError as error:
        raise OutputError(f"{page}: cannot be written ({error.strerror or error}).") from error
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


def _import(
    files: tuple[str, ...], classes: Mapping[str, int], images: Path | None, out: Path
) -> None:
    from lungsynth.films.annotation_files import (
        import_annotations,
        overlays_of,
        shares,
        write_films,
        write_image_folder,
    )

    parquet = out.suffix == ".parquet"
    overlays = overlays_of(out)
    made = [overlays] if parquet else [overlays, out / "images", out / "masks"]
    films = import_annotations([Path(f) for f in files], classes, images=images, exclude=made)
    (write_films if parquet else write_image_folder)(films, out)
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
    from lungsynth.errors import ConfigError
    from lungsynth.masks.classes import classes_path
    from lungsynth.model.checkpoint import resolve

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
