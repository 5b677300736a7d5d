"""The page films are annotated on, and the way back: annotation files -> films with masks."""

from __future__ import annotations

import base64
import json
from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

import numpy as np
from PIL import Image

from lungsynth.arrays import UInt8Array
from lungsynth.errors import DataError, LungSynthError, OutputError
from lungsynth.files import write_files, write_parquet
from lungsynth.films.annotation import Annotation, rasterise, read_annotations, read_labelme
from lungsynth.films.film import folder_names, pixels_sha256, read_film
from lungsynth.films.finding import find_films
from lungsynth.images import class_colour, overlay, png_bytes

TEMPLATE = Path(__file__).with_name("annotate.html")
SHOWN_SIDE = 1600
"""Longer side of a film on the page at most; points are in pixels of the film itself all the same."""
MAX_SHOWN = 20
"""Problems listed at most."""


@dataclass(frozen=True, slots=True)
class Annotated:
    """A film with its mask."""

    name: str  # unique among the films read together
    image: UInt8Array  # (H, W) grey
    mask: UInt8Array  # (H, W) class ids


def annotation_page(
    paths: Sequence[Path], classes: Mapping[str, int], *, saved: Path | None = None
) -> str:
    """One HTML page, whole in itself, on which the outlines of films are drawn and saved as JSON.

    Args:
        paths: The films; anything `read_film` reads.
        classes: Name -> id, in the order they are offered.
        saved: A folder; where it holds a film's JSON under the name the page saves it by, its
            outlines are shown, to go on with.

    Raises:
        DataError: a film cannot be read, two have one file name, or a saved JSON does not fit.
    """
    doubled = sorted({p.name for p in paths if [q.name for q in paths].count(p.name) > 1})
    if doubled:
        raise DataError(
            f"Two films are named {doubled[0]}, and an annotation knows its film by name. "
            "Annotate them on two pages, or rename one."
        )
    films = []
    for path, stem in zip(paths, folder_names(paths), strict=True):
        film = read_film(path)
        height, width = film.image.shape
        scale = min(1.0, SHOWN_SIDE / max(height, width))
        size = (max(1, round(width * scale)), max(1, round(height * scale)))
        small = np.asarray(Image.fromarray(film.image).resize(size, Image.Resampling.LANCZOS))
        before = saved / f"{stem}.json" if saved is not None else None
        drawn = Annotation(path.name, height, width, ())
        if before is not None and before.is_file():
            drawn = read_labelme(before)
            if (drawn.height, drawn.width) != (height, width):
                raise DataError(
                    f"{before} is of a film of {drawn.width}x{drawn.height} pixels, {path} has "
                    f"{width}x{height}. Move it away, or choose another --out."
                )
        png = base64.b64encode(png_bytes(small, synthetic=False)).decode()
        films.append(
            {
                "name": path.name,
                "save_as": f"{stem}.json",
                "height": height,
                "width": width,
                "sha256": pixels_sha256(film.image),
                "shapes": [asdict(shape) for shape in drawn.shapes],
                "png": f"data:image/png;base64,{png}",
            }
        )
    named = [
        {"name": name, "id": i, "colour": "#{:02x}{:02x}{:02x}".format(*class_colour(i))}
        for name, i in classes.items()
    ]
    data = json.dumps({"classes": named, "films": films}, ensure_ascii=False)
    template = TEMPLATE.read_text(encoding="utf-8")
    return template.replace("/*DATA*/", data.replace("<", "\\u003c"))


def import_annotations(
    files: Sequence[Path],
    classes: Mapping[str, int],
    *,
    images: Path | None = None,
    exclude: Sequence[Path] = (),
) -> list[Annotated]:
    """Annotation files and the films they are of -> films with masks, all or none.

    Args:
        files: labelme or COCO JSON files.
        classes: Label -> id.
        images: Folder the films are searched in, by file name, to any depth; None searches the
            folder of each JSON file.
        exclude: Folders that are not searched (those of an earlier import).

    Raises:
        DataError: everything that is wrong with any file, one line each.
    """
    problems: list[str] = []
    found: list[tuple[Path, Path, Annotation]] = []
    known: dict[Path, dict[str, list[Path]]] = {}
    for file in files:
        try:
            annotations = read_annotations(file)
            folder = images if images is not None else file.parent
            if folder not in known:
                known[folder] = _films_by_name(folder, exclude)
        except LungSynthError as error:
            problems.append(str(error))
            continue
        for one in annotations:
            places = known[folder].get(one.image_name, [])
            if len(places) != 1:
                what = f"is {len(places)} times" if places else "is not"
                problems.append(
                    f"{file}: its film {one.image_name} {what} in {folder}. Name its folder with --images."
                )
            elif any(places[0] == film for _, film, _ in found):
                problems.append(f"{file}: {one.image_name} is annotated twice.")
            else:
                found.append((file, places[0], one))
    out = []
    names = folder_names([film for _, film, _ in found])
    for name, (file, path, one) in zip(names, found, strict=True):
        try:
            out.append(_annotated(name, path, one, classes))
        except LungSynthError as error:
            problems.append(f"{file}: {error}")
    if problems:
        more = len(problems) - MAX_SHOWN
        listed = problems[:MAX_SHOWN] + ([f"… and {more} more."] if more > 0 else [])
        raise DataError("Nothing was imported:\n  " + "\n  ".join(listed))
    if not out:
        raise DataError("No annotated film in the files given.")
    return out


def _films_by_name(folder: Path, exclude: Sequence[Path]) -> dict[str, list[Path]]:
    if not folder.is_dir():
        raise DataError(f"--images {folder}: no such folder.")
    by_name: dict[str, list[Path]] = {}
    try:
        for path in find_films([str(folder)], exclude=exclude):
            by_name.setdefault(path.name, []).append(path)
    except DataError:  # none at all: said of each film
        return {}
    return by_name


def _annotated(name: str, path: Path, one: Annotation, classes: Mapping[str, int]) -> Annotated:
    image = read_film(path).image
    height, width = image.shape
    if (one.height, one.width) != (height, width):
        raise DataError(
            f"drawn on a film of {one.width}x{one.height} pixels (width x height), but {path} has "
            f"{width}x{height}. Was it resized since?"
        )
    if not one.shapes:
        raise DataError(f"{one.image_name} has no outline. Draw one, or leave it out.")
    return Annotated(name, image, rasterise(one.shapes, height, width, classes))


def overlays_of(out: Path) -> Path:
    """Where the overlays of an import to `out` lie."""
    return out.with_name(f"{out.stem}-overlays") if out.suffix == ".parquet" else out / "overlays"


def write_films(
    films: Sequence[Annotated], path: Path, terms: Mapping[str, str] | None = None
) -> None:
    """Write films as one Parquet file (id, image, mask, text, split) and overlays beside it.

    Args:
        films: What was read.
        path: The file.
        terms: More columns, the same for each film: `source_set`, `image_licence`, `mask_licence`.

    Raises:
        OutputError: the place cannot be written.
    """
    rows = [
        {
            "id": film.name,
            "image": {"bytes": png_bytes(film.image, synthetic=False), "path": None},
            "mask": {"bytes": png_bytes(film.mask, synthetic=False), "path": None},
            "text": "",
            "split": "train",
            **(terms or {}),
        }
        for film in films
    ]
    write_parquet(rows, path)
    write_files(_overlays(films), overlays_of(path))


def write_image_folder(films: Sequence[Annotated], out: Path) -> None:
    """Write films as `images/NAME.png`, `masks/NAME.png` and `overlays/NAME.png`.

    Raises:
        OutputError: the folders hold other films, or cannot be written.
    """
    parts: dict[str, dict[str, bytes]] = {
        "images": {f"{f.name}.png": png_bytes(f.image, synthetic=False) for f in films},
        "masks": {f"{f.name}.png": png_bytes(f.mask, synthetic=False) for f in films},
        "overlays": _overlays(films),
    }
    for part, files in parts.items():
        others = sorted(p.name for p in (out / part).glob("*") if p.name not in files)
        if others:
            raise OutputError(
                f"{out / part} holds other files ({others[0]}). Choose another --out, or delete it."
            )
    for part, files in parts.items():
        write_files(files, out / part)


def _overlays(films: Sequence[Annotated]) -> dict[str, bytes]:
    return {
        f"{film.name}.png": png_bytes(overlay(film.image, film.mask), synthetic=False)
        for film in films
    }


def shares(film: Annotated, classes: Mapping[str, int]) -> dict[str, Any]:
    """Class -> share of the film's pixels, for the classes it has."""
    found = {name: float((film.mask == i).mean()) for name, i in classes.items()}
    return {name: share for name, share in found.items() if share > 0}
