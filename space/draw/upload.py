"""A visitor's own film: read, segmented, forgotten. Nothing of it is written or logged."""

from __future__ import annotations

import json
from collections.abc import Sequence
from dataclasses import dataclass, replace
from itertools import chain, count
from pathlib import Path
from typing import TYPE_CHECKING

from lungsynth.arrays import UInt8Array
from lungsynth.errors import DataError, LungSynthError
from lungsynth.files import pack
from lungsynth.films.film import read_film
from lungsynth.masks.reading import label
from lungsynth.masks.refine import RefineConfig
from space.draw.model import synthesizer, usable
from space.draw.study import STAGES, Region, Stage, regions_of

if TYPE_CHECKING:
    from lungsynth.masks.classes import ClassSpec

MAX_BYTES = 50_000_000
ENDINGS = (".png", ".jpg", ".jpeg", ".tif", ".tiff", ".bmp", ".dcm", ".dicom", ".dic")
MAX_FILMS = 8
"""Films read at once."""
COMPARED = ("none", "crf", "sequential", "cross")
"""Refinements shown side by side."""
DOUBTED = 0.6
"""Trust, the predicted IoU, below which a film's mask is warned about."""


@dataclass(frozen=True, slots=True)
class Reading:
    """What was read of a film; nothing of it is on disk."""

    name: str  # of the visitor's file, for them alone
    image: UInt8Array  # (H, W)
    mask: UInt8Array  # (H, W) class ids, the film's own size
    stages: tuple[Stage, ...]
    rules: tuple[tuple[str, UInt8Array], ...]  # refinement, mask; () where not asked for
    regions: tuple[Region, ...]
    warnings: tuple[str, ...]
    done: tuple[str, ...]  # what the film check put right
    ratio: float | None  # cardiothoracic, where there is a heart
    files: dict[str, bytes]  # mask, overlay, record


def segment(
    path: str | Path,
    *,
    name: str = "film",
    convention: str = "",
    compare: bool = False,
) -> Reading:
    """Segment a film, at most `MAX_BYTES` of PNG, JPEG, TIFF, BMP or DICOM, and delete its file,
    whatever happens. The answer calls it by `name`; with `compare` it holds masks by other
    refinements too.

    Raises:
        DataError: no film that can be read; the message does not name the file.
        LungSynthError: the checkpoint cannot segment.
    """
    path = Path(path)
    try:
        return _segment(path, name, convention, compare)
    except LungSynthError as error:
        # messages name files; this one's folder is ours, and its name may be a patient's
        raise type(error)(str(error).replace(str(path), "The file")) from None
    finally:
        path.unlink(missing_ok=True)


def _segment(path: Path, name: str, convention: str, compare: bool) -> Reading:
    from lungsynth.output import film_warnings, segment_files  # deferred: imports torch
    from lungsynth.segment import segment_film, to_film  # deferred: imports torch

    if path.is_file() and path.stat().st_size > MAX_BYTES:
        raise DataError(
            f"The file has {path.stat().st_size / 1e6:.0f} MB; at most {MAX_BYTES / 1e6:.0f} are read."
        )
    read = read_film(path)
    told = tuple(note.replace(str(path), "the file") for note in read.warnings)
    film = replace(read, stem="film", warnings=told)
    model, config = synthesizer(convention), RefineConfig()
    result = segment_film(model, film, config=config)
    righted = result.righted
    maps = to_film(result.probability, *righted.image.shape)
    coarse = righted.move.back(label(maps, model.classes))
    rules = []
    for method in COMPARED if compare else ():
        if method == config.method or usable(method, model.affinity_field is not None):
            other = segment_film(model, film, config=replace(config, method=method))
            rules.append((method, other.mask))
    files = segment_files(film, result)
    regions = regions_of(model.classes, result.mask, result.scores)
    record = json.loads(files["record.json"])
    return Reading(
        name,
        film.image,
        result.mask,
        (("Threshold", STAGES["Threshold"], coarse), ("Mask", STAGES["Mask"], result.mask)),
        tuple(rules),
        regions,
        (*film_warnings(film, result), *_doubts(regions, model.classes)),
        righted.done,
        record["ratios"].get("cardiothoracic"),
        files,
    )


def archive(readings: Sequence[Reading]) -> bytes:
    """A ZIP of several films' files, each in a folder of its own name; of one film, its files alone."""
    if len(readings) == 1:
        return pack(readings[0].files)
    return pack(
        {f"{one.name}/{file}": data for one in readings for file, data in one.files.items()}
    )


def names_of(paths: Sequence[str | Path]) -> list[str]:
    """The names of uploaded files, as they were, told apart where they are the same."""
    names: list[str] = []
    for path in paths:
        plain = Path(path).name
        numbered = (f"{plain} ({n})" for n in count(2))
        names.append(next(name for name in chain([plain], numbered) if name not in names))
    return names


def _doubts(regions: tuple[Region, ...], specs: Sequence[ClassSpec]) -> list[str]:
    """Why the picture may be no frontal chest film, by what was found in it."""
    missing = [region.name for region in regions if region.area == 0]
    if missing:
        return [f"no {' and no '.join(missing)} was found, so this may be no frontal chest film"]
    odd = [
        f"{region.name} covers {region.area:.0%} of the picture, which is unusual"
        for region, spec in zip(regions, specs, strict=True)
        if not spec.area[0] <= region.area <= spec.area[1]
    ]
    wrong = [
        f"the mask of the {region.name} is likely to be wrong (trust {region.trust:.2f})"
        for region in regions
        if region.trust is not None and region.trust < DOUBTED
    ]
    if odd or wrong:
        return [*odd, *wrong]
    unsure = [region.name for region in regions if region.stability < 0.5]
    return [f"the border of the {' and the '.join(unsure)} is unsure"] if unsure else []
