"""Checks of the rows: schema, pictures, masks, splits, duplicates."""

from __future__ import annotations

import json
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq

from lungsynth.arrays import IGNORE, UInt8Array
from lungsynth.errors import DataError
from lungsynth.masks.quality import count_parts, overall_trust
from publish.data.manifest import Manifest, canonical_sha256, inside
from publish.data.parsing import from_mapping
from publish.data.prompts import prompt_group
from publish.data.rows import decode, iter_rows
from publish.data.schema import column_name, features, pixel_sha256
from publish.data.screening import bounding_box, reasons_against
from publish.data.settings import FilterSettings
from publish.data.shards import MAX_ROW_GROUP_BYTES, shard_metadata

AREA_TOLERANCE = 1e-5  # float32 of a share


def expected_features(manifest: Manifest) -> Any:
    """The columns a dataset must have."""
    return features(
        manifest.named_classes,
        keep_attention=bool(manifest.config["keep_attention"]),
        keep_probability=bool(manifest.config["keep_probability"]),
    )


def row_problems(dist: Path, manifest: Manifest) -> Iterator[str]:
    """What is wrong with the rows of a dataset, shard by shard."""
    unfit = list(_schema_problems(dist, manifest))
    if unfit:
        yield from unfit
        return  # rows of another schema cannot be judged
    owner: dict[str, str] = {}  # prompt group -> split
    noise: dict[int, str] = {}  # seed -> split
    seen: dict[str, str] = {}  # pixels -> row
    ids: set[str] = set()
    limits = from_mapping(FilterSettings, manifest.config["filter"], "manifest.json, filter")
    counted: dict[str, int] = dict.fromkeys((s.name for s in manifest.shards), 0)
    for shard, one in iter_rows(dist, manifest.shards):
        where = f"{shard.name}, row {one['id']}"
        counted[shard.name] += 1
        if one["id"] in ids:
            yield f"{where}: the id is not unique"
        ids.add(one["id"])
        if one["id"] in manifest.withdrawn:
            yield f"{where}: was withdrawn, but is still there"
        if one["split"] != shard.split:
            yield f"{where}: says split {one['split']!r}"
        if one["prompt_group"] != prompt_group(one["prompt"]):
            yield f"{where}: prompt_group is not that of its prompt"
        if owner.setdefault(one["prompt_group"], shard.split) != shard.split:
            yield f"{where}: its prompt is also in split {owner[one['prompt_group']]!r}"
        if noise.setdefault(one["seed"], shard.split) != shard.split:
            yield f"{where}: its seed is also in split {noise[one['seed']]!r}"
        if one["synthetic"] is not True:
            yield f"{where}: synthetic is {one['synthetic']}"
        yield from _picture_problems(one, manifest, limits, where, seen)
    for shard in manifest.shards:
        if counted[shard.name] != shard.n_rows:
            yield f"{shard.name}: {counted[shard.name]} rows; the manifest says {shard.n_rows}"
    if limits.apply and manifest.n_rows < limits.min_pass * manifest.n_drawn:
        yield (
            f"only {manifest.n_rows} of {manifest.n_drawn} rows drawn passed the filter, expected a "
            f"share of {limits.min_pass:g} at least: the checkpoint is not fit for these prompts"
        )
    for split in manifest.config["splits"]:
        if not manifest.splits.get(split):
            yield f"split {split!r} has no row"


def _schema_problems(dist: Path, manifest: Manifest) -> Iterator[str]:
    """Columns and row groups, from the footers."""
    wanted = expected_features(manifest).arrow_schema
    config = canonical_sha256(manifest.config)
    for shard in manifest.shards:
        try:
            with pq.ParquetFile(inside(dist, shard.name)) as file:
                schema, told = file.schema_arrow, file.metadata
        except (OSError, pa.ArrowException) as error:
            yield f"{shard.name}: cannot be read as Parquet ({error})"
            continue
        if not schema.equals(wanted):
            missing = [n for n in wanted.names if n not in schema.names]
            extra = [n for n in schema.names if n not in wanted.names]
            other = [f.name for f in wanted if f.name in schema.names and schema.field(f.name) != f]
            yield (
                f"{shard.name}: other columns than the dataset's (missing {missing}, not expected "
                f"{extra}, other type {other})"
            )
            continue
        if schema.metadata.get(b"huggingface") != wanted.metadata[b"huggingface"]:
            yield f"{shard.name}: its `huggingface` metadata do not name the columns' features"
        if shard_metadata(inside(dist, shard.name))["config_sha256"] != config:
            yield f"{shard.name}: drawn from another configuration than the manifest's"
        for group in range(told.num_row_groups):
            size = told.row_group(group).total_byte_size
            if size > 1.5 * MAX_ROW_GROUP_BYTES:
                yield f"{shard.name}: row group {group} has {size:,} bytes; viewers give up at 300 MB"
            if not told.row_group(group).column(0).has_offset_index:
                yield f"{shard.name}: no page index"


def _picture_problems(
    one: dict[str, Any],
    manifest: Manifest,
    limits: FilterSettings,
    where: str,
    seen: dict[str, str],
) -> Iterator[str]:
    """Pictures of a row against each other and against its numbers."""
    try:
        image, mask = decode(one["image"], f"{where}, image"), decode(one["mask"], f"{where}, mask")
    except DataError as error:
        yield str(error)
        return
    pixels = pixel_sha256(image)
    if seen.setdefault(pixels, one["id"]) != one["id"]:
        yield f"{where}: the same picture as row {seen[pixels]}"
    if mask.shape != image.shape:
        yield f"{where}: mask {mask.shape}, image {image.shape}"
        return
    for name, cell in _cells(one):
        if b"trainedAlgorithmicMedia" not in cell["bytes"]:
            yield f"{where}: {name} is not marked as synthetic"
    classes = manifest.named_classes
    allowed = {0, *classes} | ({IGNORE} if manifest.config["refine"]["ignore_band"] else set())
    foreign = sorted(set(np.unique(mask).tolist()) - allowed)
    if foreign:
        yield f"{where}: mask holds {foreign}; expected {sorted(allowed)}"
    for value, name in classes.items():
        region = mask == value
        share = float(region.mean())
        if abs(share - one[column_name("area", name)]) > AREA_TOLERANCE:
            yield f"{where}: area of {name} is {share:.5f}, the row says otherwise"
        if bounding_box(region) != one[column_name("box", name)]:
            yield f"{where}: the box of {name} is not that of the mask"
        if manifest.config["keep_probability"]:
            column = column_name("probability", name)
            try:
                soft = decode(one[column], f"{where}, {column}")
            except DataError as error:
                yield str(error)
                continue
            if soft.shape != image.shape:
                yield f"{where}: {column} {soft.shape}, image {image.shape}"
    if limits.apply:
        yield from _filter_problems(one, image, mask, manifest, limits, where)
    wanted, trust = overall_trust(json.loads(one["scores"])), one["trust"]
    if (wanted is None) != (trust is None) or abs((wanted or 0) - (trust or 0)) > AREA_TOLERANCE:
        yield f"{where}: trust is not the mean trust of its classes"


def _filter_problems(
    one: dict[str, Any],
    image: UInt8Array,
    mask: UInt8Array,
    manifest: Manifest,
    limits: FilterSettings,
    where: str,
) -> Iterator[str]:
    """The filter again on what is published: a row that says of itself that it passed is not believed."""
    if one["qc_flags"]:
        yield f"{where}: published although {', '.join(one['qc_flags'])}"
    scores, classes = json.loads(one["scores"]), manifest.named_classes
    parts = {name: int(scores[name]["parts"]) for name in classes.values()}
    if not manifest.config["refine"]["ignore_band"]:  # 255 cuts parts in two
        for value, name in classes.items():
            n = count_parts(mask == value)
            if n != parts[name]:
                yield f"{where}: {name} has {n} parts, the row says {parts[name]}"
    found = reasons_against(image, mask, scores, classes, limits, parts)
    if found:
        yield f"{where}: published, but the filter finds: {', '.join(found)}"


def _cells(one: dict[str, Any]) -> Iterator[tuple[str, dict[str, Any]]]:
    """Every picture of a row."""
    for name, value in one.items():
        if isinstance(value, dict):
            yield name, value
    for entry in one.get("attention") or ():
        yield f"attention of {entry['word']!r}", entry["map"]
