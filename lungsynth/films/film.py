"""Reading a user's own film, whatever it comes as: PNG, JPEG, TIFF, BMP or DICOM -> grey uint8.

What is not a frontal film is read all the same, with a warning; what cannot be read is refused
with a sentence that says what to do.
"""

from __future__ import annotations

import hashlib
import warnings
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np
from numpy.typing import NDArray
from PIL import Image, ImageOps, UnidentifiedImageError

from lungsynth.arrays import BoolArray, FloatArray, UInt8Array
from lungsynth.errors import DataError
from lungsynth.films.decoding import decode_grey, refuse_deep_colour
from lungsynth.films.dicom import read_dicom
from lungsynth.films.finding import DICOM, PICTURES, is_dicom
from lungsynth.films.moves import NOTHING, Declared

FORMATS = ("PNG", "JPEG", "TIFF", "BMP")

MAX_PIXELS = 50_000_000
"""Larger pictures are refused unread; the largest flat-panel film has about 20 million."""
MIN_SIDE = 32
"""Shorter sides are refused: no organ can be outlined on them."""
MAX_RATIO = 2.5
"""Longer to shorter side; beyond it a warning."""
PERCENTILES = (0.5, 99.5)
"""Black and white of a film of more than 8 bits: robust to labels and dead pixels."""


@dataclass(frozen=True, slots=True)
class Film:
    """One film."""

    stem: str  # its file's name without ending and folders
    image: UInt8Array  # (H, W) grey, air dark, bone bright
    warnings: tuple[str, ...]  # what makes it unlikely to be a frontal film
    declared: Declared = NOTHING  # what the file says of how the film lies
    path: str = ""  # of its file below what the user named, its ending included; "" where not kept


def stem_of(path: Path) -> str:
    """A file's name without a known ending ("1.2.840.10" is a whole name, not one ending in .10)."""
    name = path.stem if path.suffix.lower() in PICTURES + DICOM else path.name
    return name.lstrip(".").strip() or "film"


def folder_names(paths: Sequence[Path]) -> list[str]:
    """A distinct folder name for each film: its stem, then stem-2, stem-3 … in the order given.

    Names that differ only in case count as one, since some file systems hold them for one.
    """
    stems = [stem_of(path) for path in paths]
    taken = {stem.casefold() for stem in stems}
    used: set[str] = set()
    names = []
    for stem in stems:
        name, n = stem, 1
        while name.casefold() in used or (n > 1 and name.casefold() in taken):
            n += 1
            name = f"{stem}-{n}"
        used.add(name.casefold())
        names.append(name)
    return names


def pixels_sha256(image: UInt8Array) -> str:
    """Hash of a film's size and grey values, whatever file they came in."""
    head = f"{image.shape[0]}x{image.shape[1]}:".encode()
    return hashlib.sha256(head + np.ascontiguousarray(image).tobytes()).hexdigest()


def to_uint8(values: NDArray[np.floating], valid: BoolArray | None = None) -> UInt8Array:
    """Finite greys (H, W) -> 0-255, black and white at robust percentiles of the valid ones."""
    inside = values[valid] if valid is not None and valid.any() else values
    low, high = (float(v) for v in np.percentile(inside, PERCENTILES))
    if high <= low:  # nearly all pixels are one value
        low, high = float(inside.min()), float(inside.max())
    scaled = (values.astype(np.float32) - low) * (255.0 / max(high - low, 1e-6))
    return np.asarray(scaled.clip(0, 255).round().astype(np.uint8))


def read_film(path: Path) -> Film:
    """Read one film.

    Raises:
        DataError: missing, not a picture, damaged, several frames, or of a size that is refused.
        MissingDependencyError: a DICOM compression whose decoder is not installed.
    """
    if not path.is_file():
        raise DataError(f"{path}: no such file.")
    declared = NOTHING
    if path.suffix.lower() in DICOM or is_dicom(path):
        dicom = read_dicom(path, max_pixels=MAX_PIXELS)
        declared = dicom.declared
        notes, values = list(dicom.warnings), dicom.values
        if values.ndim == 3:
            notes += _colour_notes(values)
            values = values @ np.array([0.299, 0.587, 0.114], dtype=np.float32)
        image = (
            values.round().astype(np.uint8) if dicom.eight_bit else to_uint8(values, dicom.valid)
        )
    else:
        image, notes = _read_picture(path)
    height, width = image.shape
    if min(height, width) < MIN_SIDE:
        raise DataError(
            f"{path}: {width}x{height} pixels (width x height); at least {MIN_SIDE} a side are needed."
        )
    if max(height, width) > MAX_RATIO * min(height, width):
        notes.append(f"{width}x{height} pixels is an odd shape for a frontal film")
    if int(np.ptp(image)) < 8:
        notes.append("hardly any contrast: the picture is of one grey")
    return Film(stem_of(path), image, tuple(notes), declared)


def _read_picture(path: Path) -> tuple[UInt8Array, list[str]]:
    try:
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")  # Pillow's advice on odd metadata
            warnings.simplefilter("error", Image.DecompressionBombWarning)
            with Image.open(path, formats=FORMATS) as opened:
                _check_size(path, opened)
                refuse_deep_colour(opened, where=str(path))
                inverted = opened.format == "TIFF" and _white_is_zero(opened)
                picture = ImageOps.exif_transpose(opened)
                picture.load()
    except UnidentifiedImageError as error:
        raise DataError(
            f"{path}: not a picture that can be read; PNG, JPEG, TIFF, BMP or DICOM is expected."
        ) from error
    except (Image.DecompressionBombError, Image.DecompressionBombWarning) as error:
        raise DataError(
            f"{path}: far too large to be a film; at most {MAX_PIXELS:,} pixels."
        ) from error
    except DataError:
        raise
    except Exception as error:  # a damaged file fails in many ways; all mean "unreadable"
        raise DataError(f"{path}: damaged or cut short ({error}).") from error
    if picture.mode in ("I", "F") or picture.mode.startswith("I;16"):
        values = np.asarray(picture, dtype=np.float32)
        if not np.isfinite(values).all():
            raise DataError(f"{path}: its pixels hold NaN or infinity.")
        return to_uint8(-values if inverted else values), []
    notes = []
    if picture.mode not in ("1", "L", "LA"):
        small = picture.convert("RGB")
        small.thumbnail((512, 512))
        notes = _colour_notes(np.asarray(small, dtype=np.float32))
    return decode_grey(picture, where=str(path)), notes


def _check_size(path: Path, picture: Image.Image) -> None:
    """Refuse by the header alone, before any pixel is decoded."""
    width, height = picture.size
    if width * height > MAX_PIXELS:
        raise DataError(
            f"{path}: {width}x{height} pixels; at most {MAX_PIXELS:,} are read. Reduce it first."
        )
    n_pages = getattr(picture, "n_frames", 1)
    if n_pages > 1 and picture.format != "MPO":  # a photo and its preview
        raise DataError(f"{path}: {n_pages} pages; expected one film.")


def _white_is_zero(picture: Image.Image) -> bool:
    """A TIFF of more than 8 bits whose 0 is white; Pillow inverts those of 8 bits and less itself."""
    tags = getattr(picture, "tag_v2", {})
    return bool(tags.get(262) == 0 and picture.mode.startswith("I;16"))


def _colour_notes(rgb: FloatArray) -> list[str]:
    """A warning where a picture (H, W, 3) is coloured rather than grey with a tint of compression."""
    spread = float((rgb.max(2) - rgb.min(2)).mean())
    if spread <= 0.03 * max(float(rgb.max()), 1.0):
        return []
    return ["coloured, so it is unlikely to be a film; its brightness was used"]
