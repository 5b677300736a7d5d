"""Reading a finished dataset: its rows one at a time, and what they sum up to."""

from __future__ import annotations

import io
import logging
from collections import Counter
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
from PIL import Image

from lungsynth.arrays import IntArray, UInt8Array
from lungsynth.errors import DataError
from publish.data.manifest import Manifest, inside
from publish.data.schema import column_name
from publish.data.shards import Shard, shard_metadata

ASKED = ("view", "age_group", "sex", "finding")
"""Columns of what a prompt asks for."""

N_BINS = 40
"""Bins of a histogram over [0, 1]."""

N_LEAST_SURE = 12
BATCH = 64  # rows held at a time


def iter_rows(
    out: Path, shards: Sequence[Shard], columns: Sequence[str] | None = None
) -> Iterator[tuple[Shard, dict[str, Any]]]:
    """(shard, row) of every row of some shards, in order; pictures as `{"bytes", "path"}`.

    Only these columns are read; None for all.

    Raises:
        DataError: a shard cannot be read.
    """
    for shard in shards:
        path = inside(out, shard.name)
        try:
            with pq.ParquetFile(path) as file:
                for batch in file.iter_batches(batch_size=BATCH, columns=columns):
                    for one in batch.to_pylist():
                        yield shard, one
        except (OSError, pa.ArrowException) as error:
            raise DataError(f"{path}: cannot be read ({error}).") from error


@contextmanager
def quiet_datasets() -> Iterator[None]:
    """`datasets` without its progress bars, one a split, and its warnings; they come back afterwards."""
    import datasets  # deferred: slow to import

    logger, was_on = logging.getLogger("datasets"), datasets.is_progress_bar_enabled()
    level = logger.level
    datasets.disable_progress_bars()
    logger.setLevel(logging.ERROR)
    try:
        yield
    finally:
        logger.setLevel(level)
        if was_on:
            datasets.enable_progress_bars()


def pick_rows(
    out: Path, shards: Sequence[Shard], positions: Sequence[int], columns: Sequence[str]
) -> list[dict[str, Any]]:
    """Some rows by their places, from 0, in the whole set; only their row groups are read."""
    found: dict[int, dict[str, Any]] = {}
    start = 0
    for shard in shards:
        here = [p - start for p in positions if start <= p < start + shard.n_rows]
        if here:
            with pq.ParquetFile(inside(out, shard.name)) as file:
                first = 0
                for group in range(file.num_row_groups):
                    n = file.metadata.row_group(group).num_rows
                    mine = [p - first for p in here if first <= p < first + n]
                    if mine:
                        rows = file.read_row_group(group, columns=list(columns)).take(mine)
                        for p, one in zip(mine, rows.to_pylist(), strict=True):
                            found[start + first + p] = one
                    first += n
        start += shard.n_rows
    return [found[p] for p in positions]


def spread(n_rows: int, n: int) -> list[int]:
    """At most `n` row numbers, evenly spread over all."""
    return sorted({int(p) for p in np.linspace(0, n_rows - 1, min(n, n_rows))}) if n_rows else []


def decode(cell: Any, where: str) -> UInt8Array:
    """The grey pixels (H, W) of a PNG cell.

    Raises:
        DataError: it is not an 8-bit grey PNG.
    """
    try:
        with Image.open(io.BytesIO(cell["bytes"])) as picture:
            if picture.format != "PNG" or picture.mode != "L":
                raise DataError(
                    f"{where}: {picture.format} of mode {picture.mode}; expected PNG of mode L."
                )
            return np.asarray(picture)
    except (OSError, TypeError, KeyError, SyntaxError, ValueError) as error:
        raise DataError(f"{where}: no picture in it ({error}).") from error


def rejected_rows(out: Path, shards: Sequence[Shard]) -> list[dict[str, Any]]:
    """Rows the filter kept out, as the shards' footers list them, in order of their ids."""
    found = [one for s in shards for one in shard_metadata(inside(out, s.name))["rejected"]]
    return sorted(found, key=lambda one: str(one["id"]))


@dataclass
class Summary:
    """What a dataset's rows sum up to; its size does not grow with them."""

    n_rows: int = 0
    size: str = ""  # width × height
    asked: dict[str, Counter[str]] = field(default_factory=lambda: {c: Counter() for c in ASKED})
    areas: dict[str, IntArray] = field(default_factory=dict)  # class -> histogram
    mean_area: dict[str, float] = field(default_factory=dict)  # class -> share of the picture
    present: Counter[str] = field(default_factory=Counter)  # class -> rows with it
    trust: IntArray = field(default_factory=lambda: np.zeros(N_BINS, np.int64))
    least_sure: list[tuple[float, int]] = field(default_factory=list)  # (trust, row), ascending
    reasons: Counter[str] = field(default_factory=Counter)  # why rows were kept out -> rows
    n_rejected: int = 0
    flags: Counter[str] = field(default_factory=Counter)  # the same of published rows -> rows
    n_flagged: int = 0


def summarise(out: Path, manifest: Manifest) -> Summary:
    """Read the small columns of every row; the `N_LEAST_SURE` rows of lowest trust are remembered."""
    summary = Summary()
    names = list(manifest.named_classes.values())
    columns = {name: column_name("area", name) for name in names}
    wanted = [*ASKED, "trust", "qc_flags", *columns.values()]
    totals = dict.fromkeys(names, 0.0)
    summary.areas = {name: np.zeros(N_BINS, np.int64) for name in names}
    for _, one in iter_rows(out, manifest.shards, wanted):
        for column in ASKED:
            if one[column] is not None:
                summary.asked[column][one[column]] += 1
        for name in names:
            area = float(one[columns[name]])
            totals[name] += area
            summary.areas[name][_bin(area)] += 1
            summary.present[name] += area > 0
        summary.flags.update(one["qc_flags"])
        summary.n_flagged += bool(one["qc_flags"])
        known = one["trust"] is not None
        trust = float(one["trust"]) if known else 1.0
        if known:
            summary.trust[_bin(trust)] += 1
        summary.least_sure = sorted([*summary.least_sure, (trust, summary.n_rows)])[:N_LEAST_SURE]
        summary.n_rows += 1
    summary.mean_area = {n: totals[n] / max(1, summary.n_rows) for n in names}
    for _, one in iter_rows(out, manifest.shards, ["image"]):
        height, width = decode(one["image"], "the first picture").shape
        summary.size = f"{width} × {height}"
        break
    for entry in rejected_rows(out, manifest.shards):
        summary.n_rejected += 1
        summary.reasons.update(entry["reasons"])
    return summary


def _bin(value: float) -> int:
    return min(N_BINS - 1, max(0, int(value * N_BINS)))
