"""Stored values of a DICOM image, decoded, and what its window makes of them."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray
from pydicom.encaps import generate_frames
from pydicom.pixels.decoders.base import get_decoder
from pydicom.pixels.processing import apply_modality_lut, apply_voi_lut

from lungsynth.arrays import BoolArray
from lungsynth.errors import DataError, MissingDependencyError
from lungsynth.films.apart import Apart
from lungsynth.films.codestream import (
    EXPLICIT_BE,
    EXPLICIT_LE,
    IMPLICIT_LE,
    RLE,
    Stream,
    read_stream,
)

GDCM_SYNTAXES = frozenset(
    f"1.2.840.10008.1.2.{end}"
    for end in ("4.50", "4.51", "4.57", "4.70", "4.80", "4.81", "4.90", "4.91", "5")
)
"""Transfer syntaxes that python-gdcm decodes."""
DECOMPRESS = Apart("lungsynth.films.dicom:stored_values")
"""A damaged stream can abort GDCM, and the process with it."""
LEFT_BY_WINDOW = 0.1
"""Share of a film that a window must leave between black and white; else it is not the film's."""


def infer_syntax(data: Any) -> str:
    """Transfer syntax of a pydicom data set that names none, from how its values are written."""
    pixels = data.get("PixelData") or b""
    if pixels[:4] == b"\xfe\xff\x00\xe0":
        return frame_stream(data).syntax or RLE
    implicit, little = data.original_encoding
    if implicit:
        return IMPLICIT_LE
    return EXPLICIT_LE if little else EXPLICIT_BE


def frame_stream(data: Any) -> Stream:
    """Headers of the first frame of a data set with compressed PixelData."""
    try:
        frame = next(iter(generate_frames(data.PixelData, number_of_frames=1)))
    except Exception:  # noqa: BLE001  # broken in any way: no frame
        return Stream("", 0, whole=False)
    return read_stream(frame)


def decode(data: Any, path: Path) -> tuple[NDArray[Any], list[str]]:
    """Stored values (H, W), or (H, W, 3) RGB, and sentences about what is doubtful.

    Args:
        data: A pydicom data set that names its transfer syntax.
        path: For messages.

    Raises:
        MissingDependencyError: no decoder for its compression is installed.
        DataError: it is damaged, or no decoder here reads its kind.
    """
    if not is_compressed(data):
        try:
            stored = np.asarray(data.pixel_array)
        except Exception as error:  # a size that does not fit fails in many ways
            raise DataError(
                f"{path}: damaged: its pixels ({data.file_meta.TransferSyntaxUID.name}) do not fit its "
                f"size of {data.get('Columns')}x{data.get('Rows')}. It may be cut short; fetch it again."
            ) from error
        return _checked(stored, path), []
    _check_decoder(data, path)
    decoded = DECOMPRESS(path)
    stream = frame_stream(data)
    if decoded is None:
        raise _undecodable(data, stream, path)
    notes = []
    if not stream.whole:
        notes.append("the compressed picture has no end mark; its lower part may be missing")
    return _checked(decoded, path), notes


def is_compressed(data: Any) -> bool:
    """Whether the pixels of a data set are a compressed picture."""
    syntax = data.file_meta.TransferSyntaxUID
    return bool(syntax.is_compressed and not syntax.is_deflated)


def _checked(stored: NDArray[Any], path: Path) -> NDArray[Any]:
    if stored.ndim not in (2, 3) or (stored.ndim == 3 and stored.shape[2] != 3):
        raise DataError(f"{path}: its pixels are {stored.shape}; expected (H, W) or (H, W, 3).")
    return stored


def _check_decoder(data: Any, path: Path) -> None:
    """Refuse what no decoder here reads."""
    syntax = data.file_meta.TransferSyntaxUID
    try:
        available = bool(get_decoder(syntax).is_available)
    except NotImplementedError:
        available = False
    if not available and str(syntax) in GDCM_SYNTAXES:
        raise MissingDependencyError(
            f"{path}: compressed as {syntax.name}, and no decoder for it is installed. "
            "pip install python-gdcm"
        )
    if not available:
        raise MissingDependencyError(
            f"{path}: compressed as {syntax.name}, which nothing here decodes. Export it uncompressed."
        )


def _undecodable(data: Any, stream: Stream, path: Path) -> DataError:
    """Damage, or a kind that the decoders do not read."""
    syntax = data.file_meta.TransferSyntaxUID
    if stream.bits == 12 and str(syntax) == "1.2.840.10008.1.2.4.51":
        return DataError(
            f"{path}: lossy JPEG of 12 bits ({syntax.name}), which the installed decoders cannot read; "
            "it need not be damaged. Decompress it first: dcmdjpeg IN.dcm OUT.dcm (from DCMTK)."
        )
    return DataError(
        f"{path}: damaged: its compressed pixels ({syntax.name}) "
        + ("cannot be decoded" if stream.whole else "are cut short")
        + ". Fetch it again."
    )


def displayed(stored: NDArray[Any], data: Any, valid: BoolArray) -> tuple[NDArray[Any], list[str]]:
    """Stored grey values as the file says they are shown, but for the presentation LUT.

    Of several windows the first that leaves enough of the film is taken; where none does, or none
    is valid, the values are kept without one.

    Args:
        stored: (H, W).
        data: Its data set.
        valid: (H, W), False where a value is padding.

    Returns:
        (H, W) values, larger = brighter, `stored` itself where nothing applies; and sentences.
    """
    values, broken = stored, list[str]()
    try:
        values = stored if _keeps_values(data) else apply_modality_lut(stored, data)
    except Exception:  # noqa: BLE001  # a broken LUT; said in the warning
        broken.append("the file's modality lookup table is not valid and was ignored")
    n = max(_count(data.get("WindowCenter")), len(data.get("VOILUTSequence") or ()))
    failed = False
    for index in range(n):
        try:
            shown = np.asarray(apply_voi_lut(values, data, index=index))
        except Exception:  # noqa: BLE001  # a broken LUT or window; said in the warning
            failed = True
            continue
        if leaves_enough(values, shown, valid):
            return shown, broken + ([f"window {index + 1} of {n} was used"] if index else [])
    if failed:
        broken.append("the file's window or lookup table is not valid and was ignored")
    elif n:
        broken.append(
            "the file's window leaves next to nothing of the film and was ignored; the range of its "
            "pixels was used"
        )
    return values, broken


def _keeps_values(data: Any) -> bool:
    """Whether there is no modality LUT but the rescale by slope 1 and intercept 0."""
    slope, intercept = data.get("RescaleSlope"), data.get("RescaleIntercept")
    return not data.get("ModalityLUTSequence") and (slope, intercept) in ((None, None), (1, 0))


def _count(value: Any) -> int:
    if value is None or value == "":
        return 0
    return 1 if isinstance(value, int | float | str) else len(value)


def leaves_enough(values: NDArray[Any], shown: NDArray[Any], valid: BoolArray) -> bool:
    """Whether a window keeps shades: enough of the film is neither its darkest nor its brightest.

    Values at the ends of the film's own range (borders, markers) are not counted.
    """
    if np.ptp(values) == 0:
        return True
    inside = values[valid] if valid.any() else values.ravel()
    after = shown[valid] if valid.any() else shown.ravel()
    low, high = np.percentile(inside, (0.5, 99.5))
    core = after[(inside > low) & (inside < high)]
    if not core.size:
        return bool(np.ptp(after) > 0)
    kept = (core > after.min()) & (core < after.max())
    return bool(kept.mean() >= LEFT_BY_WINDOW)
