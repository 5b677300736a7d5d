"""Lists kept with a checkpoint as JSON, such as `sources.json`: written, read and checked."""

from __future__ import annotations

import json
from collections.abc import Callable, Iterable, Mapping, Sequence
from pathlib import Path
from typing import Any, TypeVar

from lungsynth.errors import CheckpointError
from lungsynth.files import write_whole

VERSION = 1
T = TypeVar("T")


def write_kept(path: Path, entries: Sequence[Mapping[str, Any]]) -> Path:
    """Write a list; its key is the file's name.

    Raises:
        OutputError: the file cannot be written.
    """
    told = {"version": VERSION, path.stem: list(entries)}
    write_whole(path, json.dumps(told, indent=1, ensure_ascii=False) + "\n")
    return path


def read_kept(path: Path, parse: Callable[[Any], list[T]], *, writer: str) -> list[T]:
    """Read a list; [] where there is no such file.

    Args:
        path: See `write_kept`.
        parse: Makes entries of JSON, or raises ValueError, KeyError or TypeError.
        writer: What writes such a file, for the message.

    Raises:
        CheckpointError: it cannot be understood.
    """
    if not path.is_file():
        return []
    try:
        told = json.loads(path.read_text(encoding="utf-8"))
        if told["version"] != VERSION:
            raise ValueError(f"version {told['version']!r}, expected {VERSION}")
        return parse(told[path.stem])
    except (OSError, ValueError, KeyError, TypeError, AttributeError) as error:
        raise CheckpointError(
            f"{path}: cannot be understood ({error}). Write it by {writer}."
        ) from error


def parsed(
    kind: Callable[..., T], told: Iterable[Mapping[str, Any]], kinds: Mapping[str, Any], what: str
) -> list[T]:
    """Dataclasses of JSON.

    Args:
        kind: The dataclass.
        told: Entries.
        kinds: Field -> the type its value must have.
        what: An entry, for the message.

    Raises:
        ValueError, TypeError: a field is missing, unknown, or of another type.
    """
    found = []
    for one in told:
        wrong = [k for k, v in one.items() if not isinstance(v, kinds.get(k, ()))]
        if wrong:
            raise ValueError(f"`{wrong[0]}` of a {what} is {one[wrong[0]]!r}")
        found.append(kind(**one))
    return found
