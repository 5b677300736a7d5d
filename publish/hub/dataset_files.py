"""A built dataset as what is to be pushed: checked against its manifest, its rows counted."""

from __future__ import annotations

import fnmatch
import hashlib
from dataclasses import replace
from pathlib import Path
from typing import Any

from lungsynth.errors import ConfigError
from publish.data.manifest import read_manifest
from publish.hub.payload import (
    DATA_SUFFIXES,
    LocalFile,
    Payload,
    SplitRows,
    front_matter,
    read_folder,
)


def read_dataset(dist: Path) -> Payload:
    """The files of a built dataset, checked against its manifest; `publish check` looks into them.

    Raises:
        ConfigError: it is not finished, a file is not the manifest's, or a file of rows is foreign.
        OutputError: a file cannot be read.
    """
    payload = read_folder(dist, "dataset")
    manifest = read_manifest(dist)
    if not manifest.is_complete:
        raise ConfigError(
            f"{dist}: not finished ({len(manifest.shards)} of {manifest.n_shards} shards). Run the "
            "same `publish build` again; it goes on where it stopped."
        )
    for name, sha256 in manifest.listed.items():
        file = payload.files.get(name)
        if file is None:
            raise ConfigError(f"{dist}: {name} is missing, but in the manifest. Build again.")
        if file.sha256 != sha256:
            raise ConfigError(
                f"{dist / name}: SHA-256 {file.sha256[:16]}…, but the manifest says "
                f"{sha256[:16]}…. The file or the manifest was changed; build again."
            )
    for name in payload.files:
        if name.endswith(DATA_SUFFIXES) and name not in manifest.listed:
            raise ConfigError(
                f"{dist}: {name} is not in the manifest, but would be published as data. Move it "
                "away, or build again."
            )
    if "README.md" not in payload.files:
        raise ConfigError(f"{dist}: no README.md (the dataset's card). Run `publish build` again.")
    return replace(payload, splits=tuple(_splits(payload)))


def _splits(payload: Payload) -> list[SplitRows]:
    """Rows of each configuration and split the card announces, read from the Parquet files."""
    readme = payload.files["README.md"].path
    try:
        announced = [
            (str(config["config_name"]), str(entry["split"]), str(entry["path"]))
            for config in front_matter(readme)["configs"]
            for entry in config["data_files"]
        ]
    except (KeyError, TypeError) as error:
        raise ConfigError(
            f"{readme}: its front matter does not name configurations and their files ({error!r}). "
            "Build again."
        ) from error
    found = []
    for config, split, pattern in announced:
        files = [file for path, file in payload.files.items() if fnmatch.fnmatch(path, pattern)]
        if not files:
            raise ConfigError(
                f"{readme}: configuration {config!r}, split {split!r} has no file ({pattern}). "
                "Build again."
            )
        found.append(_count(config, split, files))
    return found


def _count(config: str, split: str, files: list[LocalFile]) -> SplitRows:
    import pyarrow.parquet as pq  # deferred: slow to import

    digest, n_rows = hashlib.sha256(), 0
    for file in files:
        try:
            with pq.ParquetFile(file.path) as table:
                n_rows += table.metadata.num_rows
                for batch in table.iter_batches(columns=["id"]):
                    add_ids(digest, batch["id"].to_pylist())
        except (OSError, ValueError, KeyError) as error:  # pyarrow's own errors are ValueErrors
            raise ConfigError(
                f"{file.path}: no Parquet file of rows ({error}). Build again."
            ) from error
    return SplitRows(config, split, n_rows, digest.hexdigest())


def add_ids(digest: Any, ids: list[Any]) -> None:
    """Add row names to a running hash."""
    for one in ids:
        digest.update(str(one).encode() + b"\n")
