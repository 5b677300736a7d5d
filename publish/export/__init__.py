"""A published dataset in the formats other tools read, pixel for pixel."""

from __future__ import annotations

import shutil
from collections.abc import Callable
from pathlib import Path

from lungsynth.errors import ConfigError, OutputError
from publish.data.manifest import Manifest, read_manifest
from publish.export.cases import Case, iter_cases
from publish.export.coco import write_coco, write_coco_panoptic
from publish.export.dicom_seg import write_dicom_seg
from publish.export.folders import write_monai, write_nnunet, write_webdataset

Exporter = Callable[[Path, Manifest, Path], int]

FORMATS: dict[str, Exporter] = {
    "nnunet": write_nnunet,
    "monai": write_monai,
    "coco": write_coco,
    "coco-panoptic": write_coco_panoptic,
    "webdataset": write_webdataset,
    "dicom-seg": write_dicom_seg,
}
"""Name -> (dataset folder, manifest, empty folder) -> rows written."""

__all__ = ["FORMATS", "Case", "export", "iter_cases"]


def export(dist: Path, name: str, out: Path) -> int:
    """Write a finished dataset in another format, a key of `FORMATS`: the whole folder, or nothing.

    Returns:
        Rows written.

    Raises:
        ConfigError: the format is unknown, `out` is not empty, or `dist` is not finished.
        OutputError: `out` cannot be written; nothing of it stays.
    """
    if name not in FORMATS:
        raise ConfigError(f"Format {name!r} is unknown; there are {', '.join(FORMATS)}.")
    manifest = read_manifest(dist)
    if not manifest.is_complete:
        raise ConfigError(f"{dist}: the build is not finished. Run the same `publish build` again.")
    partial = out.with_name(f".{out.name}.partial")
    try:
        if out.exists() and any(out.iterdir()):
            raise ConfigError(f"{out}: is not empty. Choose another --out.")
        shutil.rmtree(partial, ignore_errors=True)
        partial.mkdir(parents=True)
        n_rows = FORMATS[name](dist, manifest, partial)
        if out.exists():
            out.rmdir()
        partial.replace(out)
    except OSError as error:
        raise OutputError(f"{out}: cannot be written ({error.strerror or error}).") from error
    finally:
        shutil.rmtree(partial, ignore_errors=True)
    return n_rows
