"""Writing results: one folder a picture or a film, whole or not at all."""

from __future__ import annotations

import json
from collections.abc import Mapping
from dataclasses import asdict
from pathlib import Path, PurePosixPath
from typing import Any

import numpy as np
from numpy.typing import NDArray
from PIL import Image

from lungsynth.arrays import UInt8Array
from lungsynth.files import write_files
from lungsynth.films.film import Film, pixels_sha256
from lungsynth.images import (
    QUICK_LEVEL,
    colour_heat,
    heat_to_uint8,
    overlay,
    picture_files,
    png_bytes,
    slug,
)
from lungsynth.masks.quality import overall_trust
from lungsynth.pipeline import Result
from lungsynth.segment import Segmented, settings_sha256, to_film

NOTICE = "Machine-made mask of a real film. Research only. Not for diagnosis."

OVERLAY_SIDE = 1536
"""Longer side of overlay.png at most: it is there to be looked at."""


def result_files(result: Result) -> dict[str, bytes]:
    """File name -> bytes of everything a result is written as; same result, same bytes."""
    files = picture_files(result.image, result.coarse, result.mask)
    files |= map_files(result.maps, result.image)
    files["record.json"] = (json.dumps(result.record, indent=2, ensure_ascii=False) + "\n").encode()
    return files


def map_files(maps: Mapping[str, NDArray[np.floating]], image: UInt8Array) -> dict[str, bytes]:
    """Two PNG files for each word's map (H, W) in [0, 1]: its values, and colours on the picture."""
    files: dict[str, bytes] = {}
    for word, heat in maps.items():
        name, n = f"map_{slug(word)}", 1
        # words may differ only in signs, such as "x ray" and "x-ray"
        while f"{name}.png" in files:
            n += 1
            name = f"map_{slug(word)}-{n}"
        files[f"{name}.png"] = png_bytes(heat_to_uint8(heat), level=QUICK_LEVEL)
        files[f"{name}_overlay.png"] = png_bytes(colour_heat(heat, image), level=QUICK_LEVEL)
    return files


def write_result(result: Result, folder: Path) -> None:
    """Write a result's files into `folder`, all or none; see `write_files`."""
    write_files(result_files(result), folder)


def segment_record(film: Film, result: Segmented) -> dict[str, Any]:
    """The record of a film: settings, scores, hashes and warnings; nothing about the patient."""
    height, width = film.image.shape
    return {
        "notice": NOTICE,
        "synthetic": False,
        "film": film.stem,
        "path": film.path,
        "ending": PurePosixPath(film.path).suffix.lower(),
        "height": height,
        "width": width,
        "pixels_sha256": pixels_sha256(film.image),
        **result.settings,
        "settings_sha256": settings_sha256(result.settings),
        "square": result.probability.shape[-1],
        "box": list(result.box),
        "scores": result.scores,
        "stages": result.stages,
        "trust": overall_trust(result.scores),
        "ratios": result.ratios,
        "film_check": result.righted.check.as_json(),
        "moved": asdict(result.righted.move),
        "put_right": list(result.righted.done),
        "warnings": film_warnings(film, result),
    }


def film_warnings(film: Film, result: Segmented) -> list[str]:
    """What keeps a film from being a sound frontal chest film, by its file and by the film check."""
    return list(dict.fromkeys([*film.warnings, *result.righted.warnings]))


def file_names(settings: dict[str, Any], *, probability: bool) -> list[str]:
    """Names of a film's files, the record last; `probability` adds a map of each class."""
    maps = [
        f"probability_{key}_{slug(name)}.png"
        for key, name in settings["classes"].items()
        if probability
    ]
    return ["mask.png", "overlay.png", *maps, "record.json"]


def segment_files(film: Film, result: Segmented, *, probability: bool = False) -> dict[str, bytes]:
    """File name -> bytes of everything written for a film; same film and settings, same bytes."""
    height, width = film.image.shape
    names = file_names(result.settings, probability=probability)
    scale = min(1.0, OVERLAY_SIDE / max(height, width))
    size = (max(1, round(width * scale)), max(1, round(height * scale)))
    small = np.asarray(Image.fromarray(film.image).resize(size, Image.Resampling.LANCZOS))
    small_mask = np.asarray(Image.fromarray(result.mask).resize(size, Image.Resampling.NEAREST))
    pictures = [result.mask, overlay(small, small_mask)]
    if probability:
        maps = to_film(result.probability[1:], *result.righted.image.shape)
        pictures += [heat_to_uint8(result.righted.move.back(one)) for one in maps]
    files = {
        name: png_bytes(picture, synthetic=False)
        for name, picture in zip(names, pictures, strict=False)
    }
    record = json.dumps(segment_record(film, result), indent=2, ensure_ascii=False)
    return files | {"record.json": (record + "\n").encode()}
