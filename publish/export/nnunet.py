"""nnU-Net v2: `Dataset501_Lungsynth/{imagesTr, labelsTr, imagesTs, labelsTs, dataset.json}`.

Written from nnU-Net's documented dataset format: 2-D PNG, one channel `_0000`, labels that are
consecutive from 0, "ignore" the highest.
"""

from __future__ import annotations

from pathlib import Path

from lungsynth.images import png_bytes
from publish.data.manifest import Manifest, json_bytes
from publish.export.cases import (
    consecutive,
    description,
    has_ignore,
    iter_cases,
    relabel,
)

FOLDER = "Dataset501_Lungsynth"
VALIDATION = ("val", "valid", "validation", "dev")


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
