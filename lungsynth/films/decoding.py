"""A picture as it comes (bytes, a cell of a table, a path, a PIL image) -> grey uint8."""

from __future__ import annotations

import io
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import numpy as np
from PIL import Image

from lungsynth.arrays import UInt8Array
from lungsynth.errors import DataError


def open_picture(value: Any, *, where: str, what: str) -> Image.Image:
    """Bytes, a `{"bytes", "path"}` cell, a path or a PIL image -> a decoded PIL image."""
    picture: Image.Image
    try:
        if isinstance(value, Mapping):
            value = value.get("bytes") or value.get("path")
        if isinstance(value, bytes):
            picture = Image.open(io.BytesIO(value))
        elif isinstance(value, str | Path):
            picture = Image.open(value)
        elif isinstance(value, Image.Image):
            picture = value
        else:
            raise DataError(
                f"{where}: expected the {what} as bytes, path or picture, got {type(value).__name__}."
            )
        refuse_deep_colour(picture, where=where)
        picture.load()
    except (OSError, SyntaxError, ValueError, Image.DecompressionBombError) as error:
        raise DataError(f"{where}: the {what} cannot be decoded ({error}).") from error
    return picture


def refuse_deep_colour(picture: Image.Image, *, where: str) -> None:
    """Refuse, before it is decoded, what would lose the low byte of every sample.

    Raises:
        DataError: colour, or grey with alpha, of 16 bits a sample.
    """
    deep = any(";16" in str(tile.args) for tile in getattr(picture, "tile", ()))
    if deep and picture.mode in ("RGB", "RGBA", "RGBX", "LA"):
        raise DataError(
            f"{where}: colour or alpha of 16 bits a sample, of which only 8 would be read. Save it "
            "as grey of 16 bits without alpha."
        )


def decode_grey(value: Any, *, where: str) -> UInt8Array:
    """Bytes, a `{"bytes", "path"}` cell, a path or a PIL image -> grey uint8 array (H, W).

    16-bit images are scaled by their own range; colour is reduced to luminance.

    Raises:
        DataError: the value is not a readable image; `where` names the row.
    """
    picture = open_picture(value, where=where, what="image")
    if picture.mode in ("I", "F") or picture.mode.startswith("I;16"):
        wide = np.asarray(picture, dtype=np.float32)
        low, high = float(wide.min()), float(wide.max())
        return ((wide - low) * (255.0 / max(high - low, 1e-6))).round().astype(np.uint8)
    if picture.mode == "L":
        return np.asarray(picture).copy()
    if picture.mode in ("RGBA", "LA", "PA") or "transparency" in picture.info:
        picture = picture.convert("RGBA")
        if picture.getchannel("A").getextrema()[1] == 0:
            raise DataError(
                f"{where}: every pixel is transparent, so it shows nothing. Save it without alpha."
            )
        backdrop = Image.new("RGBA", picture.size, (0, 0, 0, 255))
        picture = Image.alpha_composite(backdrop, picture)
    return np.asarray(picture.convert("L")).copy()
