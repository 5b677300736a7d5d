"""Files of a dataset: Parquet shards and small files, each written whole or not at all."""

from __future__ import annotations

import fcntl
import json
import os
import secrets
from collections.abc import Iterable, Iterator, Mapping
from contextlib import contextmanager, suppress
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pyarrow as pa
import pyarrow.parquet as pq

from lungsynth.errors import ConfigError, OutputError
from lungsynth.files import file_sha256

MAX_ROW_GROUP_BYTES = 100_000_000
"""Picture bytes a row group; the Hub's viewer gives up at 300 MB."""

CHUNKING = {"min_chunk_size": 256 * 1024, "max_chunk_size": 1024 * 1024, "norm_level": 0}
"""Content-defined chunking: of a changed shard only the changed chunks are uploaded again."""


@dataclass(frozen=True, slots=True)
class Shard:
    """A finished Parquet file."""

    name: str  # "data/train-00000-of-00004.parquet", below the dataset folder
    n_rows: int
    n_bytes: int  # of the file
    memory_bytes: int  # of the rows as Arrow tables
    sha256: str
    split: str = "train"
    n_drawn: int = 0  # rows drawn for it, published or not


def shard_name(rank: int, n_shards: int, *, split: str = "train") -> str:
    """Name of shard `rank` (from 0), below the dataset folder."""
    return f"data/{split}-{rank:05d}-of-{n_shards:05d}.parquet"


def _partial(path: Path) -> Path:
    """Where a file is written before it is renamed; no reader takes it for a shard.

    Another name each time: a worker that was given up for lost may still write the same shard.
    """
    return path.with_name(f".{path.name}.{secrets.token_hex(6)}.partial")


def remove_partials(out: Path) -> None:
    """Remove what killed processes left half-written in a dataset folder."""
    for left in sorted(out.rglob(".*.partial")):
        with suppress(OSError):
            left.unlink()


def _commit(partial: Path, path: Path) -> None:
    """Rename a synced file into place, and sync the folder that now lists it."""
    partial.replace(path)
    folder = os.open(path.parent, os.O_RDONLY)
    try:
        os.fsync(folder)
    finally:
        os.close(folder)


def _refusal(path: Path, error: OSError) -> OutputError:
    return OutputError(
        f"{path}: cannot be written ({error.strerror or error}). Free space or choose another "
        "--out, then run the same command: finished shards are kept."
    )


@contextmanager
def locked(out: Path) -> Iterator[None]:
    """Hold a dataset folder, so that two programs never write it at once.

    The lock is on the folder itself: it leaves no file, and ends with the process however it ends.
    What a killed process left half-written is removed.

    Raises:
        ConfigError: another process holds the folder.
        OutputError: the folder is not there, or its file system has no locks.
    """
    try:
        held = os.open(out, os.O_RDONLY)
    except OSError as error:
        raise _refusal(out, error) from error
    try:
        try:
            fcntl.flock(held, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError as error:
            raise ConfigError(
                f"{out}: another process is writing it. Wait for it, or choose another --out."
            ) from error
        except OSError as error:
            raise OutputError(
                f"{out}: cannot be locked ({error.strerror}). Choose an --out on a local disk."
            ) from error
        remove_partials(out)
        yield
    finally:
        os.close(held)


@contextmanager
def _whole_or_not_at_all(path: Path) -> Iterator[Path]:
    """A file beside `path` to write; synced and renamed into place after the block.

    Where it cannot be written an older file stays as it was, and nothing else does.
    """
    partial = _partial(path)
    try:
        path.parent.mkdir(parents=True, exist_ok=True)
        yield partial
        with partial.open("rb") as handle:
            os.fsync(handle.fileno())
        _commit(partial, path)
    except OSError as error:
        raise _refusal(path, error) from error
    finally:
        with suppress(OSError):
            partial.unlink(missing_ok=True)


def shard_metadata(path: Path) -> dict[str, Any]:
    """What `write_shard` put into a file's footer.

    Raises:
        OutputError: the file is not one of its shards.
    """
    try:
        told = pq.read_metadata(path).metadata or {}
        return dict(json.loads(told[b"lungsynth"]))
    except (OSError, pa.ArrowException, KeyError, ValueError) as error:
        raise OutputError(f"{path}: not a shard of `publish build` ({error!r}).") from error


def write_atomic(path: Path, data: bytes) -> None:
    """Write a small file whole: beside it, synced, then renamed.

    Raises:
        OutputError: it cannot be written; an older file stays as it was.
    """
    with _whole_or_not_at_all(path) as partial:
        partial.write_bytes(data)


def write_shard(
    rows: Iterable[Mapping[str, Any]],
    features: Any,
    out: Path,
    name: str,
    *,
    metadata: Mapping[str, Any],
    max_row_group_bytes: int = MAX_ROW_GROUP_BYTES,
    split: str = "train",
) -> Shard:
    """Write rows as one Parquet file below the dataset folder; the same rows give the same bytes.

    Rows (`publish.data.schema.row`) are taken one at a time and written a row group at a time, so
    memory stays bounded. `features` stay in the file, so that readers know the images, and
    `metadata` as JSON in the footer under "lungsynth", as they are when all rows are written.

    Raises:
        OutputError: it cannot be written; nothing of it stays.
    """
    path = out / name
    schema = features.arrow_schema
    leaves = [leaf for field in schema for leaf in _leaves(field.name, field.type)]
    pictures = {leaf for leaf in leaves if leaf.endswith((".bytes", ".path"))}
    n_rows = memory_bytes = 0
    with _whole_or_not_at_all(path) as partial:
        with partial.open("wb") as handle:
            with pq.ParquetWriter(
                handle,
                schema,
                use_content_defined_chunking=CHUNKING,
                write_page_index=True,
                compression={leaf: "none" if leaf in pictures else "snappy" for leaf in leaves},
                use_dictionary=[leaf for leaf in leaves if leaf not in pictures],
                column_encoding=dict.fromkeys(sorted(pictures), "PLAIN"),
            ) as writer:
                for group in _row_groups(rows, max_row_group_bytes):
                    table = pa.Table.from_pylist(group, schema=schema)
                    writer.write_table(table, row_group_size=len(group))
                    n_rows += len(group)
                    memory_bytes += table.nbytes
                writer.add_key_value_metadata(
                    {
                        "content_defined_chunking": json.dumps(CHUNKING),
                        "lungsynth": json.dumps(dict(metadata), sort_keys=True),
                    }
                )
        return Shard(
            name,
            n_rows,
            partial.stat().st_size,
            memory_bytes,
            file_sha256(partial),
            split,
            n_rows + len(metadata.get("rejected", ())) + len(metadata.get("withdrawn", ())),
        )


def _leaves(path: str, kind: Any) -> list[str]:
    """Parquet leaf columns of an Arrow column: "image" -> "image.bytes", "image.path"."""
    if pa.types.is_struct(kind):
        return [leaf for child in kind for leaf in _leaves(f"{path}.{child.name}", child.type)]
    if pa.types.is_list(kind):
        return _leaves(f"{path}.list.element", kind.value_type)
    return [path]


def _weight(value: Any) -> int:
    """Picture bytes in a cell."""
    if isinstance(value, Mapping):
        return sum(len(v) if isinstance(v, bytes) else _weight(v) for v in value.values())
    if isinstance(value, list):
        return sum(map(_weight, value))
    return 0


def _row_groups(rows: Iterable[Mapping[str, Any]], limit: int) -> Iterable[list[dict[str, Any]]]:
    """Rows in groups of at most `limit` picture bytes, but at least one row."""
    group: list[dict[str, Any]] = []
    held = 0
    for one in rows:
        weight = _weight(one)
        if group and held + weight > limit:
            yield group
            group, held = [], 0
        group.append(dict(one))
        held += weight
    if group:
        yield group
