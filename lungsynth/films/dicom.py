"""The pixels of a DICOM film as a viewer shows them; nothing about the patient is ever read.

Only the tags listed in `TAGS` are parsed, so names, dates and numbers of a patient do not enter
memory, a record or a log. The chain is that of DICOM PS3.3 C.11 and C.7.6.3: stored values ->
modality LUT or rescale -> VOI LUT or window -> inverted for MONOCHROME1.
"""

from __future__ import annotations

import warnings
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from lungsynth.arrays import BoolArray, FloatArray
from lungsynth.errors import DataError, MissingDependencyError

TAGS = (
    "Rows",
    "Columns",
    "SamplesPerPixel",
    "PhotometricInterpretation",
    "PlanarConfiguration",
    "BitsAllocated",
    "BitsStored",
    "HighBit",
    "PixelRepresentation",
    "NumberOfFrames",
    "PixelData",
    "FloatPixelData",
    "DoubleFloatPixelData",
    "ExtendedOffsetTable",
    "ExtendedOffsetTableLengths",
    "RescaleSlope",
    "RescaleIntercept",
    "ModalityLUTSequence",
    "WindowCenter",
    "WindowWidth",
    "VOILUTFunction",
    "VOILUTSequence",
    "PixelPaddingValue",
    "BurnedInAnnotation",
    "Modality",
    "ViewPosition",
)
"""Everything that is read of a file, by its DICOM keyword."""

PROJECTION = ("CR", "DX", "RG", "RF", "OT", "")
"""Modalities that can be a plain film."""


@dataclass(frozen=True, slots=True)
class DicomPixels:
    """What `read_dicom` returns."""

    values: FloatArray  # (H, W) or (H, W, 3); larger = brighter
    valid: BoolArray  # (H, W), False where the scanner padded the picture
    eight_bit: bool  # the values are 0-255 as stored
    warnings: tuple[str, ...]


def is_dicom(path: Path) -> bool:
    """Whether a file starts as DICOM files do (`DICM` after 128 bytes); False if unreadable."""
    try:
        with path.open("rb") as file:
            return file.read(132)[128:] == b"DICM"
    except OSError:
        return False


def read_dicom(path: Path, *, max_pixels: int) -> DicomPixels:
    """Read one single-frame DICOM image.

    Args:
        path: The file.
        max_pixels: Larger pictures are refused before they are decoded.

    Raises:
        DataError: no DICOM image, several frames, too large, or damaged.
        MissingDependencyError: its compression needs a decoder that is not installed.
    """
    try:
        import pydicom
        from pydicom.errors import InvalidDicomError
    except ImportError as error:
        raise MissingDependencyError('DICOM needs pydicom: pip install "pydicom>=3,<4".') from error

    # pydicom's warnings and errors may quote values of a file: neither is shown
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        try:
            data = pydicom.dcmread(path, specific_tags=list(TAGS))
        except InvalidDicomError as error:
            raise DataError(f"{path}: not a DICOM file (no DICM mark after 128 bytes).") from error
        except OSError as error:
            raise DataError(f"{path}: cannot be read ({error.strerror or 'damaged'}).") from error
        except Exception as error:  # a damaged file fails in many ways; all mean "unreadable"
            raise DataError(f"{path}: damaged DICOM file ({type(error).__name__}).") from error
        return _pixels(data, path, max_pixels)


def _pixels(data: Any, path: Path, max_pixels: int) -> DicomPixels:
    from pydicom.pixels.processing import apply_modality_lut, apply_voi_lut

    if not any(name in data for name in ("PixelData", "FloatPixelData", "DoubleFloatPixelData")):
        raise DataError(f"{path}: a DICOM file without a picture (a report or a directory?).")
    try:
        n_frames, size = int(data.get("NumberOfFrames") or 1), int(data.Rows) * int(data.Columns)
        space, view = str(data.PhotometricInterpretation), str(data.get("ViewPosition", ""))
        modality, bits = str(data.get("Modality", "")), int(data.get("BitsStored", 32))
        burned = str(data.get("BurnedInAnnotation", "")).upper() == "YES"
    except (AttributeError, TypeError, ValueError) as error:
        raise DataError(f"{path}: damaged DICOM file (no size or colour space).") from error
    if n_frames > 1:
        raise DataError(
            f"{path}: {n_frames} frames; expected one film. Export the frame to be segmented."
        )
    if size > max_pixels:
        raise DataError(
            f"{path}: {size:,} pixels; at most {max_pixels:,} are read. Reduce it first."
        )
    colour = space.startswith(("RGB", "YBR"))
    if not colour and space not in ("MONOCHROME1", "MONOCHROME2"):
        raise DataError(f"{path}: colour space {space}; expected MONOCHROME1, MONOCHROME2 or RGB.")
    stored = _decode(data, path)
    notes = []
    valid = np.ones(stored.shape[:2], dtype=bool)
    values: NDArray[Any] = stored
    if not colour:
        padding = data.get("PixelPaddingValue")
        if isinstance(padding, int):
            valid = stored != padding
        try:
            values = apply_modality_lut(values, data)
            values, unwindowed = apply_voi_lut(values, data), values
            if np.ptp(values[valid] if valid.any() else values) == 0 < np.ptp(unwindowed):
                values = unwindowed
                notes.append("the file's window shows nothing of the film and was ignored")
        except Exception:  # noqa: BLE001  # a broken LUT or window; said in the warning
            notes.append("the file's window or lookup table is not valid and was ignored")
    eight_bit = bits <= 8 and values is stored and stored.dtype == np.uint8
    shown: FloatArray = values.astype(np.float32)
    if not np.isfinite(shown).all():
        raise DataError(f"{path}: its pixels hold NaN or infinity.")
    if space == "MONOCHROME1":
        shown = np.float32(255 if eight_bit else shown.max()) - shown
    if burned:
        notes.append(
            "BurnedInAnnotation is YES: the picture itself may show the patient's name; "
            "overlay.png would show it too"
        )
    if modality not in PROJECTION:
        notes.append(f"modality {modality}; a plain film (CR, DX) is expected")
    if view.upper() in ("LL", "RL", "LAT", "LATERAL"):
        notes.append("a lateral view; a frontal film is expected")
    return DicomPixels(shown, valid, eight_bit, tuple(notes))


def _decode(data: Any, path: Path) -> NDArray[Any]:
    """Stored values (H, W) or (H, W, 3)."""
    syntax = getattr(getattr(data, "file_meta", None), "TransferSyntaxUID", None)
    compressed = bool(getattr(syntax, "is_compressed", False))
    name = str(getattr(syntax, "name", "unknown"))
    try:
        stored = np.asarray(data.pixel_array)
    except Exception as error:  # decoders raise many kinds; all mean "no picture"
        if compressed and isinstance(error, RuntimeError | NotImplementedError):
            raise MissingDependencyError(
                f"{path}: compressed as {name!r}, which the installed decoders cannot read. "
                "pip install python-gdcm (reads JPEG, JPEG-LS and JPEG 2000), or decompress it "
                "with dcmdjpeg or gdcmconv --raw."
            ) from error
        raise DataError(
            f"{path}: its pixels cannot be decoded ({name}; {type(error).__name__}). "
            "The file may be cut short."
        ) from error
    if stored.ndim not in (2, 3) or (stored.ndim == 3 and stored.shape[2] != 3):
        raise DataError(f"{path}: its pixels are {stored.shape}; expected (H, W) or (H, W, 3).")
    return stored
