"""The file that names the rows withdrawn from a dataset, and why."""

from __future__ import annotations

import json
from collections.abc import Mapping
from pathlib import Path

from lungsynth.errors import ConfigError
from publish.data.manifest import jsonl_bytes
from publish.data.shards import write_atomic

ERRATA_NAME = "errata.jsonl"


def read_errata(out: Path) -> dict[str, str]:
    """Row -> why it was withdrawn, in the order of the file; {} without one.

    Raises:
        ConfigError: a line is not `{"id": …, "reason": …}`.
    """
    path = out / ERRATA_NAME
    if not path.is_file():
        return {}
    found = {}
    for number, line in enumerate(path.read_text(encoding="utf-8").splitlines(), 1):
        try:
            one = json.loads(line)
            found[str(one["id"])] = str(one["reason"])
        except (ValueError, KeyError, TypeError) as error:
            raise ConfigError(
                f'{path}:{number}: expected {{"id": …, "reason": …}} ({error!r}).'
            ) from error
    return found


def write_errata(out: Path, rows: Mapping[str, str]) -> None:
    """Name the rows that are withdrawn from a dataset: row -> why.

    Raises:
        OutputError: the file cannot be written.
    """
    write_atomic(out / ERRATA_NAME, jsonl_bytes({"id": k, "reason": v} for k, v in rows.items()))
