"""Small DICOM files for tests, with a patient's name that must not turn up anywhere."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np

PATIENT = "Doe^Jane"


def write_dicom(
    path: Path, pixels: np.ndarray, *, space: str = "MONOCHROME2", syntax: str = "", **tags: Any
) -> Path:
    """Write (H, W) or (H, W, 3) unsigned pixels; `tags` are set on the data set by keyword."""
    from pydicom.dataset import FileDataset, FileMetaDataset
    from pydicom.uid import ExplicitVRLittleEndian, generate_uid

    meta = FileMetaDataset()
    meta.TransferSyntaxUID = syntax or ExplicitVRLittleEndian
    meta.MediaStorageSOPClassUID = "1.2.840.10008.5.1.4.1.1.1"
    meta.MediaStorageSOPInstanceUID = generate_uid()
    data = FileDataset("", {}, file_meta=meta, preamble=b"\0" * 128)
    data.PatientName, data.PatientID, data.PatientBirthDate = PATIENT, "4711", "19500203"
    data.Rows, data.Columns = pixels.shape[:2]
    data.SamplesPerPixel = 1 if pixels.ndim == 2 else 3
    if pixels.ndim == 3:
        data.PlanarConfiguration = 0
    data.PhotometricInterpretation = space
    bits = 8 * pixels.dtype.itemsize
    data.BitsAllocated, data.BitsStored, data.HighBit = bits, bits if bits == 8 else 12, bits - 1
    data.HighBit = data.BitsStored - 1
    data.PixelRepresentation = 0
    data.Modality = "DX"
    data.PixelData = pixels.tobytes()
    for name, value in tags.items():
        setattr(data, name, value)
    data.save_as(path, enforce_file_format=True)
    return path
