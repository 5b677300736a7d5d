"""Columns of a dataset, and a drawn result as a row of them."""

from __future__ import annotations

import json
import re
from collections.abc import Mapping
from typing import TYPE_CHECKING, Any

import numpy as np

from lungsynth.errors import ConfigError, MaskError
from lungsynth.images import png_bytes
from publish.prompts import RowPrompt

if TYPE_CHECKING:
    from lungsynth.pipeline import Result

SCHEMA_VERSION = 1
"""Raised whenever a column is added, removed, or changes its meaning."""

BACKGROUND = "background"


def area_column(name: str) -> str:
    """Column that holds a class's share of the picture: "left lung" -> "area_left_lung"."""
    return "area_" + (re.sub(r"[^a-z0-9]+", "_", name.lower()).strip("_") or "class")


def id2label(classes: Mapping[int, str]) -> dict[str, str]:
    """Mask value -> class name, background included, ascending; JSON keys are text."""
    return {"0": BACKGROUND} | {str(i): classes[i] for i in sorted(classes)}


def features(classes: Mapping[int, str]) -> Any:
    """The `datasets.Features` of a dataset whose masks hold these classes.

    Args:
        classes: Mask value (1-254) -> name.

    Raises:
        ConfigError: two classes would share an area column.
    """
    from datasets import Features, Image, Value

    columns = [area_column(name) for name in classes.values()]
    if len(set(columns)) != len(columns):
        raise ConfigError(
            f"Classes {sorted(classes.values())} give the same column twice; expected names that "
            "differ in their letters and digits. Rename one in classes.json."
        )
    text = Value("string")
    areas = {area_column(classes[i]): Value("float32") for i in sorted(classes)}
    return Features({
        "id": text,
        "image": Image(mode="L"),  # grey
        "mask": Image(mode="L"),  # class ids, same height and width as `image`
        "prompt": text, "view": text, "age_group": text, "sex": text, "finding": text,
        "seed": Value("int64"), "steps": Value("int32"), "guidance": Value("float32"),
        "scheduler": text,
        **areas,  # share of the picture in [0, 1]
        "scores": text,  # JSON: class -> area, parts, stability
        "model": text, "model_hash": text, "code_version": text,
        "synthetic": Value("bool"),
    })  # fmt: skip


def check_pair(result: Result, classes: Mapping[int, str]) -> None:
    """Make sure a mask fits its picture and holds class ids only.

    Raises:
        MaskError: it does not.
    """
    if result.mask.shape != result.image.shape or result.mask.dtype != np.uint8:
        raise MaskError(
            f"The mask of seed {result.seed} is {result.mask.dtype} {result.mask.shape}, its image "
            f"{result.image.shape}; expected uint8 of the same height and width."
        )
    foreign = sorted(set(np.unique(result.mask).tolist()) - {0, *classes})
    if foreign:
        raise MaskError(
            f"The mask of seed {result.seed} holds {foreign}; expected 0 and {sorted(classes)}. "
            "The checkpoint's classes.json does not fit its masks."
        )


def row(
    result: Result, asked: RowPrompt, classes: Mapping[int, str], *, row_id: str, scheduler: str,
    model: str,
) -> dict[str, Any]:  # fmt: skip
    """One row; the same result gives the same bytes.

    Args:
        result: What was drawn.
        asked: The prompt with its fields.
        classes: Mask value -> name, as given to `features`.
        row_id: Unique name of the row; also the file name of its PNGs.
        scheduler: Class name of the sampler that drew it.
        model: Public name of the checkpoint.

    Raises:
        MaskError: see `check_pair`.
    """
    check_pair(result, classes)
    options = result.record["options"]
    areas = {area_column(classes[i]): float((result.mask == i).mean()) for i in sorted(classes)}
    return {
        "id": row_id,
        "image": {"bytes": png_bytes(result.image), "path": f"{row_id}.png"},
        "mask": {"bytes": png_bytes(result.mask), "path": f"{row_id}_mask.png"},
        "prompt": result.prompt.text, "view": asked.view, "age_group": asked.age_group,
        "sex": asked.sex, "finding": asked.finding,
        "seed": result.seed, "steps": options["steps"], "guidance": options["guidance"],
        "scheduler": scheduler,
        **areas,
        "scores": json.dumps(result.record["scores"], sort_keys=True),
        "model": model, "model_hash": result.record["model_hash"],
        "code_version": result.record["code_version"],
        "synthetic": True,
    }  # fmt: skip
