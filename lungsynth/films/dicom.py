"""The pixels of a DICOM film as a viewer shows them; nothing about the patient is ever read.

Only the tags listed in `TAGS` are parsed, so names, dates and numbers of a patient do not enter
memory, a record or a log. The chain is that of DICOM PS3.3 C.11 and C.7.6.3: stored values ->
modality LUT or rescale -> VOI LUT or window -> presentation LUT (inverted for MONOCHROME1).
"""

from __future__ import annotations

import warnings
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import numpy as np
import pydicom
from numpy.typing import NDArray
from pydicom.dataset import FileMetaDataset
from pydicom.uid import UID

from lungsynth.arrays import BoolArray, FloatArray
from lungsynth.errors import DataError, LungSynthError
from lungsynth.films.dicom_pixels import decode, displayed, infer_syntax
from lungsynth.films.finding import is_dicom
from lungsynth.films.moves import Declared, declared_from

DECLARING = (
    "ViewPosition",
    "BodyPartExamined",
    "PatientOrientation",
    "FieldOfViewHorizontalFlip",
    "FieldOfViewRotation",
)
"""Keywords of what says how the film lies."""

TAGS = (
    """
    Rows Columns SamplesPerPixel PhotometricInterpretation PlanarConfiguration
    BitsAllocated BitsStored HighBit PixelRepresentation NumberOfFrames
    PixelData FloatPixelData DoubleFloatPixelData ExtendedOffsetTable ExtendedOffsetTableLengths
    RescaleSlope RescaleIntercept ModalityLUTSequence PixelPaddingValue PresentationLUTShape
    WindowCenter WindowWidth VOILUTFunction VOILUTSequence
    BurnedInAnnotation Modality
""".split()
    + list(DECLARING)
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
    declared: Declared  # how the film lies, by the file


def read_dicom(path: Path, *, max_pixels: int) -> DicomPixels:
    """Read one single-frame DICOM image, with or without a preamble.

    Args:
        path: The file.
        max_pixels: Larger pictures are refused before they are decoded.

    Raises:
        DataError: no DICOM image, several frames, too large, damaged, or of a kind that no decoder
            here reads.
        MissingDependencyError: its compression needs a decoder that is not installed.
    """
    if not is_dicom(path):
        raise DataError(
            f"{path}: not a DICOM file (neither the DICM mark after 128 bytes nor a data set at its "
            "start)."
        )
    # pydicom's warnings and errors may quote values of a file: neither is shown
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        try:
            data, notes = _parsed(path)
            read = _pixels(data, path, max_pixels)
        except LungSynthError:
            raise
        except OSError as error:
            raise DataError(f"{path}: cannot be read ({error.strerror or 'damaged'}).") from error
        # a damaged file fails in many ways, also when a value is first asked for: all mean "unreadable"
        except Exception as error:
            raise DataError(f"{path}: damaged DICOM file ({type(error).__name__}).") from error
    return replace(read, warnings=(*notes, *read.warnings))


def stored_values(path: Path) -> NDArray[Any]:
    """Stored values of a film, (H, W) or (H, W, 3), decoded here; a damaged stream may end this process."""
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        return np.asarray(_parsed(path)[0].pixel_array)


def _parsed(path: Path) -> tuple[Any, list[str]]:
    """The data set of a file, and what is odd of it."""
    data = pydicom.dcmread(path, force=True, specific_tags=TAGS)
    return data, _name_syntax(data)


def _name_syntax(data: Any) -> list[str]:
    """Give a data set without a transfer syntax the one its values are written in."""
    meta = getattr(data, "file_meta", None)
    named = getattr(meta, "TransferSyntaxUID", None)
    if "PixelData" not in data or (named and UID(named).is_transfer_syntax):
        return []
    syntax = UID(infer_syntax(data))
    data.file_meta = FileMetaDataset()
    data.file_meta.TransferSyntaxUID = syntax
    told = "names a transfer syntax that is none" if named else "does not name its transfer syntax"
    return [f"the file {told}; read as {syntax.name}"]


def _pixels(data: Any, path: Path, max_pixels: int) -> DicomPixels:
    if not any(name in data for name in ("PixelData", "FloatPixelData", "DoubleFloatPixelData")):
        if "Rows" in data or _has_size(path):
            raise DataError(f"{path}: damaged: it ends before its picture does. Fetch it again.")
        raise DataError(f"{path}: a DICOM file without a picture (a report or a directory?).")
    try:
        n_frames, size = int(data.get("NumberOfFrames") or 1), int(data.Rows) * int(data.Columns)
        space, modality = str(data.PhotometricInterpretation), str(data.get("Modality") or "")
        bits = int(data.get("BitsStored", 32))
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
    stored, notes = decode(data, path)
    valid = np.ones(stored.shape[:2], dtype=bool)
    values: NDArray[Any] = stored
    if stored.ndim == 2:
        padding = data.get("PixelPaddingValue")
        if isinstance(padding, int):
            valid = stored != padding
        values, more = displayed(stored, data, valid)
        notes += more
    eight_bit = bits <= 8 and values is stored and stored.dtype == np.uint8
    shown: FloatArray = values.astype(np.float32)
    if not np.isfinite(shown).all():
        raise DataError(f"{path}: its pixels hold NaN or infinity.")
    inverse, more = _is_inverse(space, str(data.get("PresentationLUTShape") or "").strip().upper())
    if inverse:
        shown = np.float32(255 if eight_bit else shown.max()) - shown
    declared = declared_from({name: data.get(name) for name in DECLARING})
    notes += more + declared.warnings()
    if burned:
        notes.append(
            "BurnedInAnnotation is YES: the picture itself may show the patient's name; "
            "overlay.png would show it too"
        )
    if modality not in PROJECTION:
        notes.append(f"modality {modality}; a plain film (CR, DX) is expected")
    return DicomPixels(shown, valid, eight_bit, tuple(notes), declared)


def _has_size(path: Path) -> bool:
    """Whether a picture's size stands before its pixels; pydicom drops it where those are cut short."""
    try:
        data = pydicom.dcmread(path, force=True, stop_before_pixels=True, specific_tags=["Rows"])
        return "Rows" in data
    except Exception:  # noqa: BLE001  # cut in its header, too
        return True


def _is_inverse(space: str, shape: str) -> tuple[bool, list[str]]:
    """Whether small values are bright. PresentationLUTShape goes before the colour space.

    Source: DICOM PS3.3 C.8.11.3.1.2 (DX: MONOCHROME1 with INVERSE, MONOCHROME2 with IDENTITY); where
    a file says otherwise, the shape is what viewers follow.
    """
    by_space = space == "MONOCHROME1"
    if shape not in ("INVERSE", "IDENTITY") or not space.startswith("MONOCHROME"):
        return by_space, []
    if (shape == "INVERSE") == by_space:
        return by_space, []
    return not by_space, [f"{space} with PresentationLUTShape {shape}: the latter was followed"]
