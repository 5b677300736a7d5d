"""Drawing a published row again from what is recorded, and comparing its pixels."""

from __future__ import annotations

from collections import Counter
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np

from lungsynth import __version__
from lungsynth.errors import ConfigError
from lungsynth.masks.registry import RefineConfig
from lungsynth.model.checkpoint import other_weights, resolve, weights_hash, where_weights_are
from lungsynth.verify.redraw import derived_seed
from publish.build.plan import checkpoint_folder, settings_sha256
from publish.build.worker import draw_rows, fixed_threads, load
from publish.data.manifest import (
    PROCESSOR,
    Manifest,
    environment,
    inside,
    read_manifest,
)
from publish.data.parsing import from_mapping
from publish.data.prompts import RowPrompt, row_seed
from publish.data.rows import decode, iter_rows
from publish.data.schema import RowSpec, column_name, row
from publish.data.shards import Shard, shard_metadata

if TYPE_CHECKING:
    from lungsynth.pipeline import Result, Synthesizer


@dataclass(frozen=True, slots=True)
class Replayed:
    """How a row compares with itself drawn again."""

    row_id: str
    max_difference: dict[str, int]  # picture column -> largest difference of two pixels, 0-255
    mask_changed: float  # share of mask pixels that differ, in [0, 1]
    batch_known: bool  # whether it was drawn among the rows it was drawn among before
    notes: tuple[str, ...]  # what differs between then and now

    @property
    def is_identical(self) -> bool:
        """Whether every picture is the same, pixel for pixel."""
        return not any(self.max_difference.values()) and not self.mask_changed

    def within(self, tolerance: int) -> bool:
        """Whether all is identical or, where grey levels may differ, the image by at most so many."""
        return self.is_identical or (tolerance > 0 and self.max_difference["image"] <= tolerance)

    def to_json(self) -> dict[str, Any]:
        """For `--json`."""
        return {
            "row": self.row_id,
            "identical": self.is_identical,
            "max_difference": self.max_difference,
            "mask_changed": self.mask_changed,
            "batch_known": self.batch_known,
            "notes": list(self.notes),
        }


Batch = tuple[tuple[str, int], ...]
"""Prompt and seed of each of some rows that were drawn together."""


def find_row(dist: Path, manifest: Manifest, row_id: str) -> tuple[Shard, dict[str, Any]]:
    """The shard and the row of that name.

    Raises:
        ConfigError: there is none.
    """
    for shard, one in iter_rows(dist, manifest.shards, ["id"]):
        if one["id"] == row_id:
            return next((s, full) for s, full in iter_rows(dist, [shard]) if full["id"] == row_id)
    if row_id in manifest.withdrawn:
        raise ConfigError(f"{row_id} was withdrawn: {manifest.withdrawn[row_id]}")
    raise ConfigError(f"{dist}: holds no row {row_id!r}. See column `id`.")


def replay(
    dist: Path, row_ids: list[str], *, model: str | None = None, device: str | None = None
) -> list[Replayed]:
    """Draw rows again and compare. Rows that were drawn together are drawn together once.

    `model` and `device` are those the dataset records, where they are None.

    Raises:
        ConfigError: a row is not there, or the checkpoint is another one.
        CheckpointError: the checkpoint is not there.
    """
    manifest = read_manifest(dist)
    found = [find_row(dist, manifest, one) for one in row_ids]
    config = manifest.config
    folder = checkpoint_folder(resolve(model or str(config["model"])))
    wrong = other_weights(str(config["model_hash"]), weights_hash(str(folder)), folder.name)
    if wrong:
        raise ConfigError(
            f"--model {folder.name} did not draw this dataset. {wrong} "
            f"{where_weights_are(str(config['model_hash']))}"
        )
    notes = []
    if settings_sha256(folder) != config["model_settings_sha256"]:
        notes.append("the checkpoint's JSON files differ from those of the build")
    if __version__ != config["code_version"]:
        notes.append(f"lungsynth {__version__}, the build had {config['code_version']}")
    notes += _machine_notes(manifest)
    if device not in (None, config["device"]):
        notes.append(f"device {device}, the build had {config['device']}")
    synthesizer = load(folder, config, device=device)
    refine = from_mapping(RefineConfig, config["refine"], "manifest.json, refine")
    together: dict[Batch, list[tuple[int, bool]]] = {}
    for k, (shard, old) in enumerate(found):
        batch, known = _batch(dist, manifest, shard, old)
        together.setdefault(batch, []).append((k, known))
    replayed: dict[int, Replayed] = {}
    with fixed_threads():
        for batch, members in together.items():
            prompts, seeds = zip(*batch, strict=True)
            results = list(draw_rows(synthesizer, config, prompts, seeds, refine, len(batch)))
            for k, known in members:
                old = found[k][1]
                result = results[batch.index((str(old["prompt"]), int(old["seed"])))]
                replayed[k] = _compare(manifest, synthesizer, result, old, known, tuple(notes))
    return [replayed[k] for k in range(len(found))]


def _machine_notes(manifest: Manifest) -> list[str]:
    """How this machine differs from the one that drew: another processor or library rounds otherwise."""
    here = environment()
    return [
        f"{name} {here.get(name, 'unknown')}, the build had {then}"
        for name, then in manifest.environment.items()
        if name in ("torch", "diffusers", "numpy", PROCESSOR) and here.get(name) != then
    ]


def _compare(
    manifest: Manifest,
    synthesizer: Synthesizer,
    result: Result,
    old: dict[str, Any],
    known: bool,
    notes: tuple[str, ...],
) -> Replayed:
    spec = RowSpec.of(manifest.config, synthesizer.classes)
    asked = RowPrompt(old["prompt"], old["view"], old["age_group"], old["sex"], old["finding"])
    new = row(result, asked, spec, row_id=old["id"], split=old["split"])
    differences = {}
    soft = [column_name("probability", n) for n in spec.classes.values()]
    for column in ("image", "mask", *(soft if spec.keep_probability else ())):
        before, now = (decode(one[column], f"{old['id']}, {column}") for one in (old, new))
        if before.shape != now.shape:
            raise ConfigError(f"{old['id']}: {column} is {before.shape}, drawn again {now.shape}.")
        differences[column] = int(np.abs(before.astype(int) - now.astype(int)).max())
    masks = [decode(one["mask"], old["id"]) for one in (old, new)]
    changed = float((masks[0] != masks[1]).mean())
    return Replayed(old["id"], differences, changed, known, notes)


def _batch(dist: Path, manifest: Manifest, shard: Shard, old: dict[str, Any]) -> tuple[Batch, bool]:
    """The rows a row was drawn among, and whether it is so.

    Rounding of batched products depends on the batch. A shard's rows were drawn in the order of
    their ids, those that were rejected included; of withdrawn rows the prompt is not kept, so a row
    drawn among one is drawn alone.
    """
    alone = ((str(old["prompt"]), int(old["seed"])),)
    size = int(manifest.config["batch_size"])
    if size == 1:
        return alone, True
    told = shard_metadata(inside(dist, shard.name))
    if told["withdrawn"]:
        return alone, False
    drawn = [one for _, one in iter_rows(dist, [shard], ["id", "prompt", "seed"])]
    drawn = sorted([*drawn, *told["rejected"]], key=lambda one: _index(one["id"]))
    first = [one["id"] for one in drawn].index(old["id"]) // size * size
    here = drawn[first : first + size]
    if "redrawn" not in told:
        return tuple((str(one["prompt"]), int(one["seed"])) for one in here), True
    batch = _redrawn_among(manifest, told, here, int(old["seed"]))
    return (batch, True) if batch else (alone, False)


def _index(row_id: str) -> int:
    return int(row_id.split("-")[1])


def _redrawn_among(
    manifest: Manifest, told: dict[str, Any], here: list[dict[str, Any]], kept: int
) -> Batch:
    """Of the rows `here` those that waited for the attempt which gave the seed `kept`; () for none."""
    n_redraws = int(manifest.config["verifier"]["redraws"])
    rejected = Counter(str(one["id"]) for one in told["redrawn"])
    for attempt in range(n_redraws + 1):
        batch = tuple(
            (
                str(one["prompt"]),
                derived_seed(row_seed(int(manifest.config["seed"]), _index(one["id"])), attempt),
            )
            for one in here
            if min(rejected[one["id"]], n_redraws) >= attempt
        )
        if kept in (seed for _, seed in batch):
            return batch
    return ()
