"""A built dataset as what is to be pushed: checked against its manifest, its rows counted."""

from __future__ import annotations

import fnmatch
import hashlib
import json
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from lungsynth.errors import ConfigError
from publish.data.manifest import MANIFEST_NAME
from publish.hub.payload import (
    DATA_SUFFIXES,
    LocalFile,
    Payload,
    SplitRows,
    front_matter,
    read_folder,
)


def read_dataset(dist: Path) -> Payload:
    """The files of a built dataset, checked against its manifest.

    Args:
        dist: Folder of `publish build`.

    Raises:
        ConfigError: it is not finished, a shard is not the manifest's, or a file of rows is foreign.
        OutputError: a file cannot be read.
    """
    payload = read_folder(dist, "dataset")
    manifest = _read_json(dist / MANIFEST_NAME)
    listed = _listed(manifest)
    if not listed:
        raise ConfigError(f"{dist / MANIFEST_NAME}: lists no shard. Build the dataset first.")
    if not manifest.get("is_complete", False):
        raise ConfigError(
            f"{dist}: not finished ({len(manifest.get('shards', ()))} of "
            f"{manifest.get('n_shards', '?')} shards). Run the same `publish build` again; it goes on "
            "where it stopped."
        )
    for name, entry in listed.items():
        file = payload.files.get(name)
        if file is None:
            raise ConfigError(f"{dist}: {name} is missing, but in the manifest. Build again.")
        if file.sha256 != entry["sha256"]:
            raise ConfigError(
                f"{dist / name}: SHA-256 {file.sha256[:16]}…, but the manifest says "
                f"{str(entry['sha256'])[:16]}…. The file or the manifest was changed; build again."
            )
    foreign = [
        name for name in payload.files if name.endswith(DATA_SUFFIXES) and name not in listed
    ]
    if foreign:
        raise ConfigError(
            f"{dist}: {foreign[0]} is not in the manifest, but would be published as data. Move it "
            "away, or build again."
        )
    if "README.md" not in payload.files:
        raise ConfigError(f"{dist}: no README.md (the dataset's card). Run `publish build` again.")
    splits = _splits(payload)
    return Payload("dataset", dist, payload.files, splits, payload.clean_folders)


def _read_json(path: Path) -> dict[str, Any]:
    try:
        value = json.loads(path.read_text(encoding="utf-8"))
    except FileNotFoundError as error:
        raise ConfigError(
            f"{path.parent}: no {path.name}, so this is not a built dataset. Run `publish build`."
        ) from error
    except (OSError, ValueError) as error:
        raise ConfigError(f"{path}: cannot be read as JSON ({error}). Build again.") from error
    if not isinstance(value, dict):
        raise ConfigError(f"{path}: not a manifest of `publish build`. Build again.")
    return value


def _listed(manifest: Mapping[str, Any]) -> dict[str, dict[str, Any]]:
    """Every file a manifest names with its SHA-256, whichever of its lists it stands in."""
    found = {}
    for value in manifest.values():
        for entry in value if isinstance(value, list) else ():
            if isinstance(entry, dict) and {"name", "sha256"} <= entry.keys():
                found[str(entry["name"])] = entry
    return found


def _splits(payload: Payload) -> tuple[SplitRows, ...]:
    """Rows of each configuration and split the card announces, read from the Parquet files.

    Raises:
        ConfigError: the card has no valid front matter, a split without files, or other columns
            than the files; or the files of a configuration differ in their columns.
    """
    readme = payload.files["README.md"].path
    values = front_matter(readme)
    found = []
    held: dict[str, list[LocalFile]] = {}
    for config in values.get("configs") or [
        {"config_name": "default", "data_files": "data/train-*"}
    ]:
        name = str(config.get("config_name", "default"))
        data_files = config.get("data_files", "data/train-*")
        if isinstance(data_files, str) or not all(isinstance(one, dict) for one in data_files):
            data_files = [{"split": "train", "path": data_files}]
        for entry in data_files:
            patterns = [entry["path"]] if isinstance(entry["path"], str) else list(entry["path"])
            files = [
                file
                for path, file in payload.files.items()
                if path.endswith(".parquet") and any(fnmatch.fnmatch(path, p) for p in patterns)
            ]
            if not files:
                raise ConfigError(
                    f"{readme}: configuration {name!r}, split {entry['split']!r} has no file "
                    f"({', '.join(patterns)}). Build again."
                )
            found.append(_count(name, str(entry["split"]), files))
            held.setdefault(name, []).extend(files)
    for name, files in held.items():
        _check_columns(name, files, _announced(values, name), readme)
    return tuple(found)


def _announced(values: Mapping[str, Any], config: str) -> Any:
    """What the card's `dataset_info` says of a configuration's columns; None when it says nothing."""
    told = values.get("dataset_info") or []
    for one in told if isinstance(told, list) else [told]:
        if isinstance(one, Mapping) and str(one.get("config_name", "default")) == config:
            return one.get("features")
    return None


def _check_columns(config: str, files: list[LocalFile], announced: Any, readme: Path) -> None:
    """Refuse what `load_dataset` could not cast: every file of a configuration has the same columns,
    and they are those of the card.

    Raises:
        ConfigError: a file, or the card, has others.
    """
    import pyarrow.parquet as pq  # deferred: slow to import

    first = pq.read_schema(files[0].path)
    for file in files[1:]:
        other = pq.read_schema(file.path)
        if not other.equals(first, check_metadata=False):
            raise ConfigError(
                f"{file.path}: {_difference(first, other)}, unlike {files[0].path.name} of the same "
                f"configuration {config!r}: load_dataset would refuse it. Build again."
            )
    if announced is None:
        return
    from datasets import Features  # deferred: slow to import

    try:
        told = Features._from_yaml_list(announced)
    except (KeyError, TypeError, ValueError, AttributeError) as error:
        raise ConfigError(
            f"{readme}: `dataset_info` of {config!r} cannot be understood ({error!r}). Build again."
        ) from error
    if told != Features.from_arrow_schema(first):
        raise ConfigError(
            f"{readme}: `dataset_info` of {config!r} says {_difference(first, told.arrow_schema)}, "
            f"unlike {files[0].path.name}. Build again."
        )


def _difference(first: Any, other: Any) -> str:
    """How the columns of a second Arrow schema differ, in a few words."""
    missing = [name for name in first.names if name not in other.names]
    more = [name for name in other.names if name not in first.names]
    changed = [n for n in other.names if n in first.names and first.field(n) != other.field(n)]
    found = [
        f"{words} {', '.join(names[:4])}"
        for words, names in (
            ("no column", missing),
            ("a column", more),
            ("another type of", changed),
        )
        if names
    ]
    return " and ".join(found) or "another order or reading of the columns"


def _count(config: str, split: str, files: list[LocalFile]) -> SplitRows:
    import pyarrow.parquet as pq  # deferred: slow to import

    digest, n_rows, has_ids = hashlib.sha256(), 0, True
    for file in files:
        try:
            with pq.ParquetFile(file.path) as table:
                n_rows += table.metadata.num_rows
                has_ids = has_ids and "id" in table.schema_arrow.names
                if has_ids:
                    for batch in table.iter_batches(columns=["id"]):
                        add_ids(digest, batch["id"].to_pylist())
        except (OSError, ValueError) as error:  # pyarrow's own errors are ValueErrors
            raise ConfigError(f"{file.path}: not a Parquet file ({error}). Build again.") from error
    return SplitRows(config, split, n_rows, digest.hexdigest() if has_ids else None)


def add_ids(digest: Any, ids: list[Any]) -> None:
    """Add row names to a running hash."""
    for one in ids:
        digest.update(str(one).encode() + b"\n")
