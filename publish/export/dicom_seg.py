"""DICOM: a Secondary Capture image and a SEG object a row, marked as synthetic data."""

from __future__ import annotations

import hashlib
import uuid
import warnings
from pathlib import Path
from typing import Any

import numpy as np
from pydicom.dataset import FileDataset, FileMetaDataset
from pydicom.sr.codedict import codes
from pydicom.sr.coding import Code
from pydicom.uid import ExplicitVRLittleEndian, SecondaryCaptureImageStorage

from lungsynth import RESEARCH_NOTICE, __version__
from lungsynth.arrays import IGNORE
from publish.data.manifest import Manifest
from publish.export.cases import Case, iter_cases

CODES = {
    "left lung": Code("44029006", "SCT", "Left lung"),
    "right lung": Code("3341006", "SCT", "Right lung"),
    "lung": Code("39607008", "SCT", "Lung"),
    "lungs": Code("74101002", "SCT", "Both lungs"),
    "heart": Code("80891009", "SCT", "Heart"),
}
"""Class name -> SNOMED CT code; other classes get a private one."""

ORIENTATION = ["L", "F"]
"""Rows run to the patient's left, columns to the feet: a frontal film's right lung is on the left."""

DATE, TIME = "20000101", "000000"
"""Of every object: an export knows no clock, and a synthetic picture has no date."""


def uid(*parts: str) -> str:
    """A UID (2.25.…) that depends on its parts only."""
    return f"2.25.{uuid.uuid5(uuid.NAMESPACE_URL, 'lungsynth/' + '/'.join(parts)).int}"


def _content(*parts: bytes) -> str:
    """A hash, so that rows of one id in two datasets are two objects, as an archive needs it."""
    return hashlib.sha256(b"".join(parts)).hexdigest()


def write_dicom_seg(dist: Path, manifest: Manifest, out: Path) -> int:
    """Write `<split>/<row>/image.dcm` and `seg.dcm`; a binary segment a class.

    255 becomes a segment "ignore", so that nothing is lost.
    """
    n_rows = 0
    for one in iter_cases(dist, manifest):
        folder = out / one.split / one.name
        folder.mkdir(parents=True)
        image = make_image(one)
        image.save_as(folder / "image.dcm", enforce_file_format=True)
        segments = manifest.named_classes
        if (one.mask == IGNORE).any():
            segments[IGNORE] = "ignore"
        present = {v: name for v, name in segments.items() if (one.mask == v).any()}
        if present:
            make_seg(one, image, present).save_as(folder / "seg.dcm", enforce_file_format=True)
        n_rows += 1
    return n_rows


def make_image(one: Case) -> Any:
    """The picture as a Secondary Capture dataset."""
    meta: Any = FileMetaDataset()
    meta.MediaStorageSOPClassUID = SecondaryCaptureImageStorage
    picture = _content(one.image_png)
    meta.MediaStorageSOPInstanceUID = uid(one.name, "image", picture)
    meta.TransferSyntaxUID = ExplicitVRLittleEndian
    image: Any = FileDataset("image.dcm", {}, file_meta=meta, preamble=b"\0" * 128)
    image.SOPClassUID = SecondaryCaptureImageStorage
    image.SOPInstanceUID = meta.MediaStorageSOPInstanceUID
    image.StudyInstanceUID = uid(one.name, "study", picture)
    image.SeriesInstanceUID = uid(one.name, "series", picture)
    image.SyntheticData = "YES"  # (0008,001C)
    image.ImageType = ["DERIVED", "SECONDARY"]
    image.DerivationDescription = (
        f"{RESEARCH_NOTICE} Drawn by lungsynth {one.row['code_version']}, "
        f"model {one.row['model_hash']}, seed {one.row['seed']}."
    )
    image.ImageComments = str(one.row["prompt"])[:10240]
    image.PatientName = "SYNTHETIC^FILM"
    image.PatientID = f"{one.name[:50]}-{picture[:8]}"  # an archive merges what has one ID
    image.PatientBirthDate = image.PatientSex = ""
    image.StudyDate = image.ContentDate = DATE
    image.StudyTime = image.ContentTime = TIME
    image.StudyID, image.SeriesNumber, image.InstanceNumber = "1", 1, 1
    image.AccessionNumber = image.ReferringPhysicianName = ""
    image.Modality, image.ConversionType = "OT", "WSD"
    image.BodyPartExamined = "CHEST"  # not one of a pair, so no Laterality
    image.PatientOrientation = ORIENTATION
    image.Manufacturer, image.SoftwareVersions = "lungsynth", __version__
    image.BurnedInAnnotation = "NO"
    image.Rows, image.Columns = one.image.shape
    image.SamplesPerPixel, image.PhotometricInterpretation = 1, "MONOCHROME2"
    image.BitsAllocated = image.BitsStored = 8
    image.HighBit, image.PixelRepresentation = 7, 0
    pixels = one.image.tobytes()
    image.PixelData = pixels + b"\0" * (len(pixels) % 2)
    return image


def make_seg(one: Case, image: Any, present: dict[int, str]) -> Any:
    """The mask as a SEG object of an image."""
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")  # of its own dependencies
        import highdicom as hd  # deferred: slow to import

    described = [
        hd.seg.SegmentDescription(
            segment_number=number,
            segment_label=name,
            segmented_property_category=codes.SCT.AnatomicalStructure,
            segmented_property_type=CODES.get(
                name.lower(), Code(f"CLASS{value}", "99LUNGSYNTH", name[:64])
            ),
            algorithm_type=hd.seg.SegmentAlgorithmTypeValues.AUTOMATIC,
            algorithm_identification=hd.AlgorithmIdentificationSequence(
                name="lungsynth",
                version=str(one.row["code_version"]),
                family=codes.cid7162.ArtificialIntelligence,
            ),
        )
        for number, (value, name) in enumerate(present.items(), 1)
    ]
    content = _content(one.image_png, one.mask.tobytes())
    layers = np.stack([one.mask == value for value in present], axis=-1).astype(np.uint8)[None]
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        seg: Any = hd.seg.Segmentation(
            source_images=[image],
            pixel_array=layers,
            segmentation_type=hd.seg.SegmentationTypeValues.BINARY,
            segment_descriptions=described,
            series_instance_uid=uid(one.name, "seg series", content),
            series_number=2,
            sop_instance_uid=uid(one.name, "seg", content),
            instance_number=1,
            manufacturer="lungsynth",
            manufacturer_model_name=str(one.row["model"]),
            software_versions=__version__,
            device_serial_number=str(one.row["model_hash"]),
            content_description=_about(one),
            omit_empty_frames=False,
        )
    seg.SyntheticData = "YES"
    seg.PatientOrientation = ORIENTATION
    seg.ContentDate, seg.ContentTime = DATE, TIME
    for name in ("InstanceCreation", "Series"):
        for kind, value in (("Date", DATE), ("Time", TIME)):
            if name + kind in seg:
                setattr(seg, name + kind, value)
    for item in seg.ContributingEquipmentSequence:  # highdicom's own, with the time it was at work
        item.ContributionDateTime = DATE + TIME
    for item in (*seg.DimensionOrganizationSequence, *seg.DimensionIndexSequence):
        item.DimensionOrganizationUID = uid(one.name, "seg dimensions")
    return seg


def _about(one: Case) -> str:
    """What the mask is, in the 64 characters DICOM has for it."""
    name = str(one.row["mask_convention"])
    return f"Synthetic mask{f', convention {name}' if name else ''}"[:64]
