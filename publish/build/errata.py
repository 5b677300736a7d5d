"""Rows taken out of a dataset after it was published, and why."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import replace
from pathlib import Path
from typing import Any

import pyarrow.parquet as pq
from datasets import Features

from lungsynth.errors import ConfigError
from publish.build.finish import finish
from publish.data.errata import read_errata, write_errata
from publish.data.manifest import Manifest, inside, read_manifest
from publish.data.shards import Shard, locked, shard_metadata, write_shard


def withdraw(out: Path, rows: Mapping[str, str]) -> Manifest:
    """Take rows, id -> why, out of a finished dataset; the rest stays byte for byte what a build
    would write.

    Raises:
        ConfigError: a row is not in it, or was withdrawn before; or none would be left.
        OutputError: the folder cannot be written.
    """
    manifest = read_manifest(out)
    with locked(out):
        old = read_errata(out)
        places = _places(out, manifest.shards)
        missing = [one for one in rows if one not in places]
        if missing and missing[0] in old:
            raise ConfigError(f"{missing[0]} was withdrawn before: {old[missing[0]]}")
        if missing:
            raise ConfigError(f"{out}: holds no row {missing[0]!r}. See column `id`.")
        if len(rows) == len(places):
            raise ConfigError(f"{out}: no row would be left. Delete the dataset instead.")
        every = {**old, **{one: " ".join(why.split()) for one, why in rows.items()}}
        write_errata(out, every)
        # until the shards are rewritten the manifest says that the folder is not finished
        replace(manifest, withdrawn=every, files=()).write(out)
        touched = {places[one] for one in rows}
        shards = tuple(
            _rewrite(out, shard, every) if shard.name in touched else shard
            for shard in manifest.shards
        )
        return finish(out, replace(manifest, shards=shards, withdrawn=every, files=()))


def reconcile(
    out: Path, finished: Mapping[str, Shard], withdrawn: Mapping[str, str]
) -> dict[str, Shard]:
    """Finished shards as the errata want them.

    A shard that still holds a withdrawn row is rewritten without it; one that lacks a row which is
    no longer withdrawn is left out, to be drawn again.
    """
    kept = {}
    places = _places(out, tuple(finished.values())) if withdrawn else {}
    holding = {places[one] for one in withdrawn if one in places}
    for name, shard in finished.items():
        if set(shard_metadata(out / name)["withdrawn"]) <= set(withdrawn):
            kept[name] = _rewrite(out, shard, withdrawn) if name in holding else shard
    return kept


def _places(out: Path, shards: tuple[Shard, ...]) -> dict[str, str]:
    """Row id -> shard."""
    return {
        row_id: shard.name
        for shard in shards
        for row_id in pq.read_table(inside(out, shard.name), columns=["id"])["id"].to_pylist()
    }


def _rewrite(out: Path, shard: Shard, withdrawn: Mapping[str, str]) -> Shard:
    """A shard without some rows."""
    path = inside(out, shard.name)
    told: dict[str, Any] = shard_metadata(path)
    with pq.ParquetFile(path) as file:
        kept = Features.from_arrow_schema(file.schema_arrow)
        ids = file.read(columns=["id"])["id"].to_pylist()
        gone = {*told["withdrawn"], *(one for one in ids if one in withdrawn)}
        rows = (
            row
            for group in range(file.num_row_groups)
            for row in file.read_row_group(group).to_pylist()
            if row["id"] not in withdrawn
        )
        return write_shard(
            rows,
            kept,
            out,
            shard.name,
            metadata={**told, "withdrawn": sorted(gone)},
            split=shard.split,
        )
