"""The index of a run: every file that was looked at, and what became of it, as CSV and JSON lines."""

from __future__ import annotations

import csv
import io
import json
from collections.abc import Iterable, Mapping
from pathlib import Path
from typing import Any

INDEX_CSV, INDEX_JSONL = "index.csv", "index.jsonl"
COLUMNS = (
    "path",
    "ending",
    "status",
    "reason",
    "folder",
    "width",
    "height",
    "film_score",
    "put_right",
    "warnings",
)
"""Of the CSV; the JSON lines have the same keys, with lists for the last two."""
STATUSES = ("done", "skipped", "failed", "left out", "not reached")
"""Segmented now; segmented before; refused, with a reason; no film, with a reason; stopped before it."""


def index_row(
    path: str, status: str, *, reason: str = "", record: Mapping[str, Any] | None = None
) -> dict[str, Any]:
    """One line of the index.

    Args:
        path: The file's path below what the user named, "/" between folders.
        status: One of `STATUSES`.
        reason: Why it failed or was left out.
        record: The film's record, where it has one.
    """
    known = record or {}
    return {
        "path": path,
        "ending": Path(path).suffix.lower(),
        "status": status,
        "reason": reason,
        "folder": path if status in ("done", "skipped") else "",
        "width": known.get("width"),
        "height": known.get("height"),
        "film_score": (known.get("film_check") or {}).get("score"),
        "put_right": list(known.get("put_right") or []),
        "warnings": list(known.get("warnings") or []),
    }


def index_files(rows: Iterable[Mapping[str, Any]]) -> dict[str, bytes]:
    """`index.csv` and `index.jsonl`, in the order of paths."""
    ordered = sorted(rows, key=lambda row: row["path"])
    buffer = io.StringIO()
    writer = csv.writer(buffer, lineterminator="\n")
    writer.writerow(COLUMNS)
    for row in ordered:
        cells = (row[name] for name in COLUMNS)
        writer.writerow(
            [
                "" if cell is None else "; ".join(cell) if isinstance(cell, list) else cell
                for cell in cells
            ]
        )
    lines = "".join(json.dumps(row, ensure_ascii=False) + "\n" for row in ordered)
    return {INDEX_CSV: buffer.getvalue().encode(), INDEX_JSONL: lines.encode()}
