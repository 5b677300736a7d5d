"""COCO: images and an annotation file a split, a region a class as run lengths."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np

from lungsynth.arrays import IGNORE, BoolArray
from publish.data.manifest import Manifest, json_bytes
from publish.data.screening import bounding_box
from publish.export.cases import class_names, description, iter_cases


def run_lengths(region: BoolArray) -> dict[str, Any]:
    """COCO's uncompressed RLE of a region (H, W): column by column, zeros first."""
    flat = np.asfortranarray(region).ravel(order="F").astype(np.int8)
    edges = np.flatnonzero(np.diff(flat)) + 1
    counts = np.diff(np.concatenate([[0], edges, [flat.size]])).tolist()
    if flat[0]:
        counts = [0, *counts]
    return {"size": [int(side) for side in region.shape], "counts": [int(n) for n in counts]}


def write_coco(dist: Path, manifest: Manifest, out: Path) -> int:
    """Write `images/<split>/` and `annotations/instances_<split>.json`.

    Pixels to ignore have no place in COCO; they stand as run lengths under `ignore` of an image.

    Args:
        dist: The dataset folder.
        manifest: Of it.
        out: An empty folder.
    """
    names = class_names(manifest)
    (out / "annotations").mkdir()
    told: dict[str, dict[str, Any]] = {}
    for split in manifest.splits:
        (out / "images" / split).mkdir(parents=True)
        told[split] = {
            "info": {"description": description(manifest), "version": manifest.version},
            "images": [],
            "annotations": [],
            "categories": [
                {"id": value, "name": name, "supercategory": "anatomy"}
                for value, name in names.items()
            ],
        }
    n_rows = n_annotations = 0
    for one in iter_cases(dist, manifest):
        n_rows += 1
        part = told[one.split]
        (out / "images" / one.split / f"{one.name}.png").write_bytes(one.image_png)
        entry = {
            "id": n_rows,
            "file_name": f"{one.name}.png",
            "height": int(one.image.shape[0]),
            "width": int(one.image.shape[1]),
            "caption": one.row["prompt"],
            "synthetic": True,
        }
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
                    "area": int(region.sum()),
                    "bbox": bounding_box(region),
                    "iscrowd": 0,
                }
            )
    for split, part in told.items():
        (out / "annotations" / f"instances_{split}.json").write_bytes(json_bytes(part))
    return n_rows
