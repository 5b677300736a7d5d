"""PNG files for nnU-Net v2 and for MONAI, in the Decathlon's layout; tar files for WebDataset.

nnU-Net's `Dataset501_Lungsynth/{imagesTr, labelsTr, imagesTs, labelsTs, dataset.json}` is written from its
documented dataset format: 2-D PNG, one channel `_0000`, labels that are consecutive from 0, "ignore" the
highest. Masks of MONAI and of WebDataset keep their values.
"""

from __future__ import annotations

import io
import json
import tarfile
from pathlib import Path
from typing import Any

from lungsynth.images import png_bytes
from publish.data.manifest import Manifest, json_bytes
from publish.export.cases import (
    Case,
    consecutive,
    description,
    has_ignore,
    iter_cases,
    relabel,
)

FOLDER = "Dataset501_Lungsynth"
VALIDATION = ("val", "valid", "validation", "dev")
MAX_TAR_BYTES = 1_000_000_000


def write_nnunet(dist: Path, manifest: Manifest, out: Path) -> int:
    """Write the rows; split `test` goes into imagesTs, a validation split into splits_final.json."""
    root = out / FOLDER
    labels = consecutive(manifest)
    cases: dict[str, list[str]] = {}
    for split in manifest.splits:
        for kind in ("images", "labels"):
            (root / f"{kind}{_suffix(split)}").mkdir(parents=True, exist_ok=True)
    for one in iter_cases(dist, manifest):
        suffix = _suffix(one.split)
        (root / f"images{suffix}" / f"{one.name}_0000.png").write_bytes(one.image_png)
        mask = png_bytes(relabel(one.mask, labels))
        (root / f"labels{suffix}" / f"{one.name}.png").write_bytes(mask)
        cases.setdefault(one.split, []).append(one.name)
    names = {0: "background", **manifest.named_classes}
    named = {names[value]: label for value, label in labels.items() if value in names}
    if has_ignore(manifest):
        named["ignore"] = max(labels.values())
    train = [n for split, held in cases.items() if _suffix(split) == "Tr" for n in held]
    (root / "dataset.json").write_bytes(
        json_bytes(
            {
                "channel_names": {"0": "X-ray"},
                "labels": named,
                "numTraining": len(train),
                "file_ending": ".png",
                "name": FOLDER.partition("_")[2],
                "description": description(manifest),
                "release": manifest.version,
                "synthetic": True,
            }
        )
    )
    held_out = [n for split in VALIDATION for n in cases.get(split, [])]
    if held_out:
        rest = [name for name in train if name not in set(held_out)]
        folds = [{"train": rest, "val": held_out}]
        (root / "splits_final.json").write_bytes(json_bytes(folds))
    return sum(map(len, cases.values()))


def _suffix(split: str) -> str:
    return "Ts" if split == "test" else "Tr"


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


def write_webdataset(
    dist: Path, manifest: Manifest, out: Path, *, max_bytes: int = MAX_TAR_BYTES
) -> int:
    """Write `<split>-000000.tar` …, `id2label.json` and `dataset.json`.

    A tar holds files of `max_bytes` at most; one row is never split.
    """
    (out / "id2label.json").write_bytes(json_bytes(manifest.classes))
    about = {"description": description(manifest), "version": manifest.version, "synthetic": True}
    (out / "dataset.json").write_bytes(json_bytes(about))
    n_rows, held, number, split = 0, 0, 0, ""
    tar: tarfile.TarFile | None = None
    try:
        for one in iter_cases(dist, manifest):
            files = case_files(one)
            size = sum(map(len, files.values()))
            if tar is None or one.split != split or (held and held + size > max_bytes):
                if tar is not None:
                    tar.close()
                number = number + 1 if tar is not None and one.split == split else 0
                split, held = one.split, 0
                tar = tarfile.open(out / f"{split}-{number:06d}.tar", "w")
            for name, data in files.items():
                info = tarfile.TarInfo(name)  # no owner and no time: the same bytes each time
                info.size = len(data)
                tar.addfile(info, io.BytesIO(data))
            held += size
            n_rows += 1
    finally:
        if tar is not None:
            tar.close()
    return n_rows


def case_files(one: Case) -> dict[str, bytes]:
    """File name -> bytes of a row."""
    text = json.dumps({**one.row, "split": one.split, "synthetic": True}, sort_keys=True)
    return {
        f"{one.name}.image.png": one.image_png,
        f"{one.name}.mask.png": png_bytes(one.mask),
        f"{one.name}.json": text.encode(),
    }
