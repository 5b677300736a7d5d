"""Writing results: one folder a picture, whole or not at all."""

from __future__ import annotations

import json
from collections.abc import Mapping
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from lungsynth.arrays import UInt8Array
from lungsynth.files import write_files
from lungsynth.images import colour_heat, heat_to_uint8, overlay, png_bytes, slug
from lungsynth.pipeline import Result


def result_files(result: Result) -> dict[str, bytes]:
    """File name -> bytes of everything a result is written as; same result, same bytes."""
    files = {
        "image.png": png_bytes(result.image),
        "coarse.png": png_bytes(result.coarse),
        "mask.png": png_bytes(result.mask),
        "overlay.png": png_bytes(overlay(result.image, result.mask)),
    }
    files |= map_files(result.maps, result.image)
    files["record.json"] = (json.dumps(result.record, indent=2, ensure_ascii=False) + "\n").encode()
    return files


def map_files(maps: Mapping[str, NDArray[np.floating]], image: UInt8Array) -> dict[str, bytes]:
    """Two PNG files for each word's map: its values, and its colours over the picture.

    Args:
        maps: Word -> (H, W) in [0, 1].
        image: (H, W).
    """
    files: dict[str, bytes] = {}
    for word, heat in maps.items():
        name, n = f"map_{slug(word)}", 1
        while (
            f"{name}.png" in files
        ):  # words that differ only in signs, such as "x ray" and "x-ray"
            n += 1
            name = f"map_{slug(word)}-{n}"
        files[f"{name}.png"] = png_bytes(heat_to_uint8(heat))
        files[f"{name}_overlay.png"] = png_bytes(colour_heat(heat, image))
    return files


def write_result(result: Result, folder: Path) -> None:
    """Write a result's files into `folder`, all or none; see `write_files`."""
    write_files(result_files(result), folder)
