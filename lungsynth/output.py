"""Writing results: one folder a picture, whole or not at all."""

from __future__ import annotations

import json
import shutil
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from lungsynth.arrays import UInt8Array
from lungsynth.errors import OutputError
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


def check_writable(out: Path) -> None:
    """Make sure a folder can be written before anything long is begun.

    Raises:
        OutputError: it cannot.
    """
    try:
        out.mkdir(parents=True, exist_ok=True)
        probe = out / ".lungsynth-probe"
        probe.write_bytes(b"")
        probe.unlink()
    except OSError as error:
        why = error.strerror or error
        raise OutputError(f"{out}: cannot be written ({why}). Choose another --out.") from error


def write_result(result: Result, folder: Path) -> None:
    """Write a result's files into `folder`, all or none; see `write_files`."""
    write_files(result_files(result), folder)


def write_files(files: Mapping[str, bytes], folder: Path) -> None:
    """Write files into `folder`: first beside it, then renamed into place of what was there.

    Raises:
        OutputError: the disk is full or the place cannot be written; nothing half-written stays.
    """
    temporary = folder.with_name(f".{folder.name}.partial")
    try:
        shutil.rmtree(temporary, ignore_errors=True)
        temporary.mkdir(parents=True)
        for name, data in files.items():
            (temporary / name).write_bytes(data)
        if folder.exists():
            shutil.rmtree(folder)
        temporary.replace(folder)
    except OSError as error:
        shutil.rmtree(temporary, ignore_errors=True)
        raise OutputError(
            f"{folder}: cannot be written ({error.strerror or error}). Free space or choose another --out."
        ) from error


def write_parquet(rows: Sequence[Mapping[str, Any]], path: Path) -> None:
    """Write rows as one Parquet file, whole or not at all.

    Raises:
        OutputError: the disk is full or the place cannot be written; what was there before stays.
    """
    import pyarrow as pa
    import pyarrow.parquet as pq

    temporary = path.with_name(path.name + ".tmp")
    try:
        path.parent.mkdir(parents=True, exist_ok=True)
        pq.write_table(pa.Table.from_pylist(rows), temporary, compression="zstd")
        temporary.replace(path)
    except OSError as error:
        temporary.unlink(missing_ok=True)
        raise OutputError(
            f"{path}: cannot be written ({error.strerror or error}). Free space or choose another --out."
        ) from error
