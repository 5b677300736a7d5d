"""Lists that travel with a checkpoint as JSON: `{"version": …, KEY: [{…}, …]}`."""

from __future__ import annotations

import json
from collections.abc import Callable, Iterable, Mapping, Sequence
from pathlib import Path
from typing import Any, TypeVar

from lungsynth.errors import CheckpointError, OutputError

T = TypeVar("T")


def write_list(path: Path, version: int, key: str, rows: Sequence[Mapping[str, Any]]) -> Path:
    """Write a list.

    Raises:
        OutputError: the file cannot be written.
    """
    value = {"version": version, key: list(rows)}
    try:
        path.write_text(json.dumps(value, indent=1, ensure_ascii=False) + "\n", encoding="utf-8")
    except OSError as error:
        raise OutputError(f"{path}: cannot be written ({error.strerror or error}).") from error
    return path


def read_list(
    path: Path,
    version: int,
    key: str,
    parse: Callable[[Iterable[Mapping[str, Any]]], list[T]],
    advice: str,
) -> list[T]:
    """Read a list; [] where there is no such file.

    Args:
        path: The file; its folder may be none here (a name on the Hub).
        version: Expected.
        key: Of the list.
        parse: Its rows, checked.
        advice: What to do where the file cannot be understood.

    Raises:
        CheckpointError: it cannot be understood.
    """
    if not path.is_file():
        return []
    try:
        value = json.loads(path.read_text(encoding="utf-8"))
        if value["version"] != version:
            raise ValueError(f"version {value['version']!r}, expected {version}")
        return parse(value[key])
    except (OSError, ValueError, KeyError, TypeError) as error:
        raise CheckpointError(f"{path}: cannot be understood ({error}). {advice}") from error
