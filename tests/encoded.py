"""DICOM pixel data in every compression that is read, made with the libraries that are installed."""

from __future__ import annotations

import io
import warnings
from pathlib import Path

import numpy as np
from dicoms import write_dicom
from PIL import Image

from lungsynth.films import codestream

GDCM_NAMES = {
    codestream.JPEG_LOSSLESS: "JPEGLosslessProcess14",
    codestream.JPEG_LOSSLESS_SV1: "JPEGLosslessProcess14_1",
    codestream.JPEG_LS: "JPEGLSLossless",
    codestream.JPEG_2000_LOSSLESS: "JPEG2000Lossless",
}


def write_encoded(path: Path, grey: np.ndarray, syntax: str) -> Path:
    """A film (H, W) of 8 or 16 bits, compressed.

    Args:
        path: Where to.
        grey: uint8 for JPEG baseline, else uint8 or uint16 (12 bits used).
        syntax: Transfer syntax.
    """
    import pydicom
    from pydicom.encaps import encapsulate

    if syntax == codestream.JPEG_BASELINE:
        buffer = io.BytesIO()
        Image.fromarray(grey).save(buffer, "JPEG", quality=95)
        return write_dicom(path, grey, syntax=syntax, PixelData=encapsulate([buffer.getvalue()]))
    write_dicom(path, grey)
    if syntax == codestream.RLE:
        data = pydicom.dcmread(path)
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")
            data.compress(syntax, grey, generate_instance_uid=False)
        data.save_as(path, enforce_file_format=True)
        return path
    return _by_gdcm(path, syntax)


def _by_gdcm(path: Path, syntax: str) -> Path:
    import gdcm

    reader = gdcm.ImageReader()
    reader.SetFileName(str(path))
    assert reader.Read()
    change = gdcm.ImageChangeTransferSyntax()
    kind = getattr(gdcm.TransferSyntax, GDCM_NAMES[syntax])
    change.SetTransferSyntax(gdcm.TransferSyntax(kind))
    change.SetInput(reader.GetImage())
    assert change.Change(), syntax
    writer = gdcm.ImageWriter()
    writer.SetFile(reader.GetFile())
    writer.SetFileName(str(path))
    writer.SetImage(change.GetOutput())
    assert writer.Write()
    return path


def without_preamble(path: Path) -> Path:
    """The same data set without its first 132 bytes and its file meta information."""
    import pydicom

    data = pydicom.dcmread(path)
    implicit, little = data.original_encoding
    del data.file_meta
    data.preamble = None
    data.save_as(path, implicit_vr=implicit, little_endian=little, enforce_file_format=False)
    return path


def without_syntax(path: Path) -> Path:
    """The same file without its TransferSyntaxUID, by cutting the element out."""
    content = path.read_bytes()
    at = content.index(b"\x02\x00\x10\x00UI")
    length = 8 + int.from_bytes(content[at + 6 : at + 8], "little")
    head = content.index(b"\x02\x00\x00\x00UL")
    size = int.from_bytes(content[head + 8 : head + 12], "little") - length
    content = content[: head + 8] + size.to_bytes(4, "little") + content[head + 12 :]
    path.write_bytes(content[:at] + content[at + length :])
    return path
