"""Rows as every exporter wants them: decoded, checked, with a name that is a safe file name."""

from __future__ import annotations

import re
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np

from lungsynth.arrays import IGNORE, UInt8Array
from lungsynth.errors import ConfigError, DataError
from lungsynth.masks.classes import CONVENTIONS
from publish.data.manifest import Manifest
from publish.data.rows import decode, iter_rows

SAFE = re.compile(r"[A-Za-z0-9_][A-Za-z0-9_-]{0,99}")
COLUMNS = (
    "id",
    "image",
    "mask",
    "mask_convention",
    "prompt",
    "seed",
    "trust",
    "nn_train_distance",
    "model",
    "model_hash",
    "code_version",
)


@dataclass(frozen=True, slots=True)
class Case:
    """One row."""

    name: str  # the row's id
    split: str
    image: UInt8Array  # (H, W) grey
    mask: UInt8Array  # (H, W) class ids, 255 = ignore
    image_png: bytes  # as published, marked as synthetic
    row: dict[str, Any]  # the other columns


def iter_cases(dist: Path, manifest: Manifest) -> Iterator[Case]:
    """Every row, one at a time.

    Raises:
        ConfigError: a row's id cannot be a file name.
        DataError: a mask does not fit its image.
    """
    for shard, one in iter_rows(dist, manifest.shards, COLUMNS):
        name = str(one["id"])
        if not SAFE.fullmatch(name):
            raise ConfigError(f"{shard.name}: row id {name!r} cannot be a file name.")
        image, mask = decode(one["image"], name), decode(one["mask"], name)
        if image.shape != mask.shape:
            raise DataError(f"{name}: mask {mask.shape}, image {image.shape}.")
        row = {k: v for k, v in one.items() if k not in ("image", "mask")}
        yield Case(name, shard.split, image, mask, one["image"]["bytes"], row)


def description(manifest: Manifest) -> str:
    """A sentence on the set for the file that describes it: what it is, and by whose rule masks are."""
    told = "Synthetic chest X-rays. Research only. Not for diagnosis."
    name = str(manifest.config["convention"])
    if name:
        rule = CONVENTIONS.get(name)
        told += f" Masks follow the convention {name}{f': {rule}' if rule else ''}."
    return told


def has_ignore(manifest: Manifest) -> bool:
    """Whether masks may hold 255."""
    return bool(manifest.config["refine"]["ignore_band"])


def consecutive(manifest: Manifest) -> dict[int, int]:
    """Mask value -> label 0, 1, 2 …; 255, where there is any, becomes the highest."""
    values = [0, *manifest.named_classes, *([IGNORE] if has_ignore(manifest) else [])]
    return {value: label for label, value in enumerate(values)}


def relabel(mask: UInt8Array, labels: dict[int, int]) -> UInt8Array:
    """A mask with other values.

    Raises:
        DataError: it holds a value without a label.
    """
    foreign = sorted(set(np.unique(mask).tolist()) - labels.keys())
    if foreign:
        raise DataError(f"A mask holds {foreign}.")
    table = np.zeros(256, np.uint8)
    table[list(labels)] = list(labels.values())
    return table[mask]
