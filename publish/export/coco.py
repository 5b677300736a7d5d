"""COCO: images and an annotation file a split; a region a class, or every pixel of a picture.

Instances hold a region a class as run lengths. Panoptic annotations give every pixel a segment, in a PNG
of segment ids a picture: background is a category of its own ("stuff"), so that a method is judged
there too; only pixels to ignore are void (id 0), which panoptic quality leaves out.
"""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np

from lungsynth.arrays import IGNORE, BoolArray, UInt8Array
from lungsynth.images import class_colour, png_bytes
from publish.data.manifest import Manifest, json_bytes
from publish.data.screening import bounding_box
from publish.export.cases import Case, description, iter_cases


def write_coco(dist: Path, manifest: Manifest, out: Path) -> int:
    """Write `images/<split>/` and `annotations/instances_<split>.json`.

    Pixels to ignore have no place in COCO; they stand as run lengths under `ignore` of an image.
    """
    names = manifest.named_classes
    told = _empty(
        manifest,
        [{"id": value, "name": name, "supercategory": "anatomy"} for value, name in names.items()],
    )
    (out / "annotations").mkdir()
    n_rows = n_annotations = 0
    for n_rows, one in enumerate(iter_cases(dist, manifest), 1):
        part = told[one.split]
        entry = _image(one, n_rows, out)
        if (one.mask == IGNORE).any():
            entry["ignore"] = run_lengths(one.mask == IGNORE)
        part["images"].append(entry)
        for value in names:
            region = one.mask == value
            if not region.any():
                continue
            n_annotations += 1
            part["annotations"].append(
                {
                    "id": n_annotations,
                    "image_id": n_rows,
                    "category_id": value,
                    "segmentation": run_lengths(region),
                    **_extent(region),
                }
            )
    for split, part in told.items():
        (out / "annotations" / f"instances_{split}.json").write_bytes(json_bytes(part))
    return n_rows


def write_coco_panoptic(dist: Path, manifest: Manifest, out: Path) -> int:
    """Write `images/<split>/`, `annotations/panoptic_<split>/` and `annotations/panoptic_<split>.json`."""
    names = manifest.named_classes
    background = max(names) + 1
    first = {
        "id": background,
        "name": "background",
        "supercategory": "background",
        "isthing": 0,
        "color": [0, 0, 0],
    }
    things = [
        {
            "id": value,
            "name": name,
            "supercategory": "anatomy",
            "isthing": 1,
            "color": list(class_colour(value)),
        }
        for value, name in names.items()
    ]
    told = _empty(manifest, [first, *things])
    n_rows = 0
    for n_rows, one in enumerate(iter_cases(dist, manifest), 1):
        part, folder = told[one.split], out / "annotations" / f"panoptic_{one.split}"
        entry = _image(one, n_rows, out)
        segments, info = _segments(one.mask, background)
        folder.mkdir(parents=True, exist_ok=True)
        # id = R + 256 G + 65536 B
        rgb = np.stack([segments, *np.zeros((2, *segments.shape), np.uint8)], axis=-1)
        (folder / entry["file_name"]).write_bytes(png_bytes(rgb, synthetic=False))
        part["images"].append(entry)
        part["annotations"].append(
            {"image_id": n_rows, "file_name": entry["file_name"], "segments_info": info}
        )
    for split, part in told.items():
        (out / "annotations" / f"panoptic_{split}.json").write_bytes(json_bytes(part))
    return n_rows


def run_lengths(region: BoolArray) -> dict[str, Any]:
    """COCO's uncompressed RLE of a region (H, W): column by column, zeros first."""
    flat = np.asfortranarray(region).ravel(order="F").astype(np.int8)
    edges = np.flatnonzero(np.diff(flat)) + 1
    counts = np.diff(np.concatenate([[0], edges, [flat.size]])).tolist()
    if flat[0]:
        counts = [0, *counts]
    return {"size": [int(side) for side in region.shape], "counts": [int(n) for n in counts]}


def _empty(manifest: Manifest, categories: Sequence[dict[str, Any]]) -> dict[str, dict[str, Any]]:
    """Split -> what its annotation file holds before any row."""
    return {
        split: {
            "info": {"description": description(manifest), "version": manifest.version},
            "images": [],
            "annotations": [],
            "categories": categories,
        }
        for split in manifest.splits
    }


def _image(one: Case, number: int, out: Path) -> dict[str, Any]:
    """Write a row's picture; its entry."""
    folder = out / "images" / one.split
    folder.mkdir(parents=True, exist_ok=True)
    (folder / f"{one.name}.png").write_bytes(one.image_png)
    return {
        "id": number,
        "file_name": f"{one.name}.png",
        "height": int(one.image.shape[0]),
        "width": int(one.image.shape[1]),
        "caption": one.row["prompt"],
        "synthetic": True,
    }


def _extent(region: BoolArray) -> dict[str, Any]:
    return {"area": int(region.sum()), "bbox": bounding_box(region), "iscrowd": 0}


def _segments(mask: UInt8Array, background: int) -> tuple[UInt8Array, list[dict[str, Any]]]:
    """Segment ids (H, W) of a mask, 0 = void, and what each is; a class is one segment."""
    ids, info = np.zeros_like(mask), []
    present = [int(value) for value in np.unique(mask) if value != IGNORE]
    for number, value in enumerate(present, 1):
        region = mask == value
        ids[region] = number
        info.append({"id": number, "category_id": value or background, **_extent(region)})
    return ids, info
