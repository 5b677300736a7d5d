"""MONAI: PNG files and a data list in the layout of the Medical Segmentation Decathlon."""

from __future__ import annotations

from pathlib import Path
from typing import Any

from lungsynth.images import png_bytes
from publish.data.manifest import Manifest, json_bytes
from publish.export.cases import description, iter_cases
from publish.export.nnunet import VALIDATION


def write_monai(dist: Path, manifest: Manifest, out: Path) -> int:
    """Write `images/`, `labels/` and `datalist.json`; masks keep their values."""
    lists: dict[str, list[dict[str, str]]] = {"training": [], "validation": [], "test": []}
    for kind in ("images", "labels"):
        (out / kind).mkdir()
    for one in iter_cases(dist, manifest):
        image, label = f"images/{one.name}.png", f"labels/{one.name}.png"
        (out / image).write_bytes(one.image_png)
        (out / label).write_bytes(png_bytes(one.mask))
        part = "validation" if one.split in VALIDATION else one.split
        lists[part if part in lists else "training"].append({"image": image, "label": label})
    value: dict[str, Any] = {
        "name": "lungsynth",
        "release": manifest.version,
        "tensorImageSize": "2D",
        "description": description(manifest),
        "modality": {"0": "X-ray"},
        "synthetic": True,
        "labels": {"0": "background", **{str(v): n for v, n in manifest.named_classes.items()}},
        "numTraining": len(lists["training"]),
        "numTest": len(lists["test"]),
        **{key: held for key, held in lists.items() if held},
    }
    (out / "datalist.json").write_bytes(json_bytes(value))
    return sum(map(len, lists.values()))
