"""Columns of a dataset, and a drawn result as a row of them."""

from __future__ import annotations

import hashlib
import json
import re
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any, NamedTuple

import numpy as np

from lungsynth.arrays import IGNORE
from lungsynth.errors import ConfigError, MaskError
from lungsynth.images import heat_to_uint8, png_bytes
from lungsynth.masks.quality import overall_trust
from publish.data.parsing import from_mapping
from publish.data.prompts import RowPrompt, prompt_group
from publish.data.screening import bounding_box, reasons_against
from publish.data.settings import FilterSettings

if TYPE_CHECKING:
    from lungsynth.masks.classes import ClassSpec
    from lungsynth.pipeline import Result

SCHEMA_VERSION = 4
"""Raised whenever a column is added, removed, or changes its meaning."""

BACKGROUND = "background"


class Column(NamedTuple):
    """A column of every dataset, or a kind of column that each class has one of."""

    name: str
    kind: str  # "image", "maps", "strings", "int32s", or a type of `datasets.Value`
    meaning: str  # in the card; of a class, {} is its name
    is_per_class: bool = False


COLUMNS = (
    Column("id", "string", "name of the row"),
    Column("image", "image", "PNG, 8-bit grey"),
    Column("mask", "image", "PNG, class ids; see above"),  # height and width of `image`
    Column("mask_convention", "string", "by whose rule the mask is drawn; see above"),
    Column(
        "probability",
        "image",
        "PNG, 255 · probability of {} by attention alone, to threshold or refine anew",
        True,
    ),
    Column(
        "attention",
        "maps",
        "list of `word` and `map`: PNG, 255 · attention of a word of the prompt",
    ),
    Column("prompt", "string", "the text the picture was drawn from"),
    Column("view", "string", "what the prompt asks for; empty where it does not say"),
    Column("age_group", "string", "likewise"),
    Column("sex", "string", "likewise"),
    Column("finding", "string", "likewise"),
    Column("prompt_group", "string", "hash of the prompt's words; never in two splits"),
    Column("split", "string", "the split the row is in"),
    Column("seed", "int64", "of the picture's noise"),
    Column("steps", "int32", "denoising steps"),
    Column("guidance", "float32", "classifier-free guidance scale"),
    Column("scheduler", "string", "class of the sampler"),
    Column("precision", "string", "number format of the denoising network"),
    Column("area", "float32", "share of the picture that is {}, 0 to 1", True),
    Column(
        "box", "int32s", "[x, y, width, height] of {} in pixels; empty when there is none", True
    ),
    Column(
        "trust",
        "float32",
        "IoU with an expert's outline that the mask is likely to have, 0 to 1: fitted on real films; "
        "the mean of its classes; empty where the checkpoint keeps no trust model",
    ),
    Column(
        "nn_train_distance",
        "float32",
        "of the picture's encoder features to the nearest training film's; empty where "
        "the checkpoint keeps none",
    ),
    Column(
        "qc_flags",
        "strings",
        "why the filter would keep the row out; empty when nothing speaks against it",
    ),
    Column(
        "scores", "string", "JSON: class -> area, connected parts, stability, trust, plausibility"
    ),
    Column("refine", "string", "JSON: parameters of the mask's refinement"),
    Column("model", "string", "checkpoint"),
    Column("model_hash", "string", "of its weights"),
    Column("tokens_hash", "string", "of its class tokens"),
    Column("affinity_hash", "string", "of its AffinityNet, empty without"),
    Column("student_hash", "string", "of its distilled segmenter, empty without"),
    Column("code_version", "string", "lungsynth's"),
    Column("synthetic", "bool", "always true"),
)
"""In order."""


@dataclass(frozen=True, kw_only=True)
class RowSpec:
    """What every row of a dataset has in common."""

    classes: Mapping[int, str]  # mask value (1-254) -> name
    n_parts: Mapping[str, int]  # class name -> connected parts it may have
    all_classes: Mapping[int, str] = field(default_factory=dict)  # of the checkpoint, kept or not
    scheduler: str = ""  # class name of the sampler
    model: str = ""  # public name of the checkpoint
    tokens_hash: str = ""  # of the class tokens, "" when there are none
    affinity_hash: str = ""  # of the AffinityNet, "" when there is none
    student_hash: str = ""  # of the distilled segmenter, "" when there is none
    convention: str = ""  # by whose rule masks are drawn, "" when the checkpoint does not say
    keep_attention: bool = False
    keep_probability: bool = True
    limits: FilterSettings = field(default_factory=FilterSettings)

    @classmethod
    def of(cls, config: Mapping[str, Any], specs: Sequence[ClassSpec]) -> RowSpec:
        """Of a configuration, as a plan or a manifest has it, and all classes of its checkpoint."""
        same = (
            *("scheduler", "model", "tokens_hash", "affinity_hash", "student_hash"),
            *("convention", "keep_attention", "keep_probability"),
        )
        return cls(
            classes={int(v): name for v, name in config["classes"].items() if v != "0"},
            all_classes={one.id: one.name for one in specs},
            n_parts={one.name: one.n_parts for one in specs},
            limits=from_mapping(FilterSettings, config["filter"], "filter"),
            **{name: config[name] for name in same},
        )


def column_name(kind: str, name: str) -> str:
    """Column of a class: ("area", "left lung") -> "area_left_lung"."""
    return f"{kind}_" + (re.sub(r"[^a-z0-9]+", "_", name.lower()).strip("_") or "class")


def id2label(classes: Mapping[int, str]) -> dict[str, str]:
    """Mask value -> class name, background included, ascending; JSON keys are text."""
    return {"0": BACKGROUND} | {str(i): classes[i] for i in sorted(classes)}


def features(
    classes: Mapping[int, str], *, keep_attention: bool = False, keep_probability: bool = True
) -> Any:
    """The `datasets.Features` of a dataset whose masks hold these classes, mask value (1-254) ->
    name.

    Raises:
        ConfigError: two classes would share an area column.
    """
    from datasets import Features, Image, List, Value  # deferred: slow to import

    columns = [column_name("area", name) for name in classes.values()]
    if len(set(columns)) != len(columns):
        raise ConfigError(
            f"Classes {sorted(classes.values())} give the same column twice; expected names that "
            "differ in their letters and digits. Rename one in classes.json."
        )
    grey = Image(mode="L")
    kinds = {
        "image": grey,
        "maps": List({"word": Value("string"), "map": grey}),
        "strings": List(Value("string")),
        "int32s": List(Value("int32")),
    }
    names = [classes[i] for i in sorted(classes)]
    kept = {"attention": keep_attention, "probability": keep_probability}
    return Features(
        {
            name: kinds.get(one.kind) or Value(one.kind)
            for one in COLUMNS
            if kept.get(one.name, True)
            for name in (
                [column_name(one.name, n) for n in names] if one.is_per_class else [one.name]
            )
        }
    )


def check_pair(result: Result, classes: Mapping[int, str]) -> None:
    """Make sure a mask fits its picture and holds class ids, 0 and 255 only.

    Raises:
        MaskError: it does not.
    """
    if result.mask.shape != result.image.shape or result.mask.dtype != np.uint8:
        raise MaskError(
            f"The mask of seed {result.seed} is {result.mask.dtype} {result.mask.shape}, its image "
            f"{result.image.shape}; expected uint8 of the same height and width."
        )
    foreign = sorted(set(np.unique(result.mask).tolist()) - {0, IGNORE, *classes})
    if foreign:
        raise MaskError(
            f"The mask of seed {result.seed} holds {foreign}; expected 0 and {sorted(classes)}. "
            "The checkpoint's classes.json does not fit its masks."
        )


def row(
    result: Result, asked: RowPrompt, spec: RowSpec, *, row_id: str, split: str = "train"
) -> dict[str, Any]:
    """One row, called `row_id` as are its PNGs; the same result gives the same bytes.

    Raises:
        MaskError: see `check_pair`.
    """
    every = spec.all_classes or spec.classes
    check_pair(result, every)
    left_out = [value for value in every if value not in spec.classes]
    mask = np.where(np.isin(result.mask, left_out), np.uint8(0), result.mask)
    names = {i: spec.classes[i] for i in sorted(spec.classes)}
    scores = {n: result.record["scores"][n] for n in names.values()}
    flags = reasons_against(result.image, mask, scores, names, spec.limits, spec.n_parts)
    channel = {value: 1 + k for k, value in enumerate(every)}  # of `result.probability`
    options = result.record["options"]
    made: dict[str, Any] = {
        "id": row_id,
        "image": _png(result.image, row_id),
        "mask": _png(mask, f"{row_id}_mask"),
        "mask_convention": spec.convention,
    }
    if spec.keep_probability:
        for value, name in names.items():
            column = column_name("probability", name)
            soft = heat_to_uint8(result.probability[channel[value]])
            made[column] = _png(soft, f"{row_id}_{column}")
    if spec.keep_attention:
        made["attention"] = [
            {"word": word, "map": _png(heat_to_uint8(heat), f"{row_id}_attention_{k}")}
            for k, (word, heat) in enumerate(
                (w, h) for w, h in result.maps.items() if not w.startswith("class ")
            )
        ]
    return made | {
        "prompt": result.prompt.text,
        "view": asked.view,
        "age_group": asked.age_group,
        "sex": asked.sex,
        "finding": asked.finding,
        "prompt_group": prompt_group(asked.text),
        "split": split,
        "seed": result.seed,
        "steps": options["steps"],
        "guidance": options["guidance"],
        "scheduler": spec.scheduler,
        "precision": options["precision"],
        **{column_name("area", n): float((mask == i).mean()) for i, n in names.items()},
        **{column_name("box", n): bounding_box(mask == i) for i, n in names.items()},
        "trust": overall_trust(scores),
        "nn_train_distance": result.record["nn_train_distance"],
        "qc_flags": flags,
        "scores": json.dumps(scores, sort_keys=True),
        "refine": json.dumps(result.record["refine"], sort_keys=True),
        "model": spec.model,
        "model_hash": result.record["model_hash"],
        "tokens_hash": spec.tokens_hash,
        "affinity_hash": spec.affinity_hash,
        "student_hash": spec.student_hash,
        "code_version": result.record["code_version"],
        "synthetic": True,
    }


def _png(array: Any, name: str) -> dict[str, Any]:
    return {"bytes": png_bytes(array), "path": f"{name}.png"}


def pixel_sha256(array: Any) -> str:
    """SHA-256 of an array's shape and uint8 pixels, whatever file they came from."""
    digest = hashlib.sha256(repr(array.shape).encode())
    digest.update(np.ascontiguousarray(array, dtype=np.uint8).tobytes())
    return digest.hexdigest()
