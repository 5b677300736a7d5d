"""COCO panoptic: a PNG of segment ids a picture and an annotation file a split; every pixel has a segment.

Background is a category of its own ("stuff"), so that a method is judged there too; only pixels to
ignore are void (id 0), which panoptic quality leaves out.
"""

from __future__ import annotations

import io
from pathlib import Path
from typing import Any

import numpy as np
from PIL import Image

from lungsynth.arrays import IGNORE, UInt8Array
from lungsynth.images import class_colour
from publish.data.manifest import Manifest, json_bytes
from publish.data.screening import bounding_box
from publish.export.cases import class_names, description, iter_cases


def write_coco_panoptic(dist: Path, manifest: Manifest, out: Path) -> int:
    """Write `images/<split>/`, `annotations/panoptic_<split>/` and `annotations/panoptic_<split>.json`.

    Args:
        dist: The dataset folder.
        manifest: Of it.
        out: An empty folder.
    """
    names = class_names(manifest)
    background = max(names) + 1
    categories = [
        {
            "id": value,
            "name": name,
            "supercategory": "anatomy" if value != background else "background",
            "isthing": int(value != background),
            "color": list(class_colour(value)) if value != background else [0, 0, 0],
        }
        for value, name in {background: "background", **names}.items()
    ]
    told: dict[str, dict[str, Any]] = {}
    for split in manifest.splits:
        (out / "images" / split).mkdir(parents=True)
        (out / "annotations" / f"panoptic_{split}").mkdir(parents=True)
        told[split] = {
            "info": {"description": description(manifest), "version": manifest.version},
            "images": [],
            "annotations": [],
            "categories": categories,
        }
    n_rows = 0
    for one in iter_cases(dist, manifest):
        n_rows += 1
        name, part = f"{one.name}.png", told[one.split]
        (out / "images" / one.split / name).write_bytes(one.image_png)
        segments, info = _segments(one.mask, background)
        folder = out / "annotations" / f"panoptic_{one.split}"
        (folder / name).write_bytes(_id_png(segments))
        part["images"].append(
            {
                "id": n_rows,
                "file_name": name,
                "height": int(one.image.shape[0]),
                "width": int(one.image.shape[1]),
                "caption": one.row["prompt"],
                "synthetic": True,
            }
        )
        part["annotations"].append({"image_id": n_rows, "file_name": name, "segments_info": info})
    for split, part in told.items():
        (out / "annotations" / f"panoptic_{split}.json").write_bytes(json_bytes(part))
    return n_rows


def _segments(mask: UInt8Array, background: int) -> tuple[UInt8Array, list[dict[str, Any]]]:
    """Segment ids (H, W) of a mask, 0 = void, and what each is; a class is one segment."""
    ids, info = np.zeros_like(mask), []
    present = [int(value) for value in np.unique(mask) if value != IGNORE]
    for number, value in enumerate(present, 1):
        region = mask == value
        ids[region] = number
        info.append(
            {
                "id": number,
                "category_id": value or background,
                "area": int(region.sum()),
                "bbox": bounding_box(region),
                "iscrowd": 0,
            }
        )
    return ids, info


def _id_png(ids: UInt8Array) -> bytes:
    """Ids as the RGB of a PNG: id = R + 256 G + 65536 B."""
    rgb = np.zeros((*ids.shape, 3), np.uint8)
    rgb[..., 0] = ids
    buffer = io.BytesIO()
    Image.fromarray(rgb).save(buffer, "PNG")
    return buffer.getvalue()
