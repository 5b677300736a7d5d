"""What options of several commands mean: numbers in a text; and parts that are kept."""

from __future__ import annotations

import json
from collections import UserDict
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from lungsynth.errors import ConfigError
from lungsynth.files import write_whole


def numbers(text: str, option: str, *, low: int, high: int) -> tuple[int, ...]:
    """`400,600` -> (400, 600).

    Raises:
        ConfigError: not whole numbers between `low` and `high`.
    """
    parts = [part.strip() for part in text.split(",") if part.strip()]
    if not parts or not all(part.isdigit() and low <= int(part) <= high for part in parts):
        raise ConfigError(
            f"{option} {text!r}: expected whole numbers from {low} to {high} with commas between, "
            "such as 400,600."
        )
    return tuple(int(part) for part in parts)


class KeptParts(UserDict[str, Any]):
    """Finished parts of a report, in a file, so that the same command goes on where it was killed.

    Args:
        path: The file; what it holds of other settings is left.
        key: Settings that decide the parts, JSON.
    """

    def __init__(self, path: Path, key: Mapping[str, Any]) -> None:
        super().__init__()
        self.path, self.key = path, json.loads(json.dumps(dict(key)))
        try:
            told = json.loads(path.read_text(encoding="utf-8"))
            if told["key"] == self.key:
                self.data = dict(told["parts"])
        except (OSError, ValueError, KeyError, TypeError):
            self.data = {}  # none yet, or cut by a kill

    def __setitem__(self, name: str, part: Any) -> None:
        self.data[name] = part
        write_whole(self.path, json.dumps({"key": self.key, "parts": self.data}))

    def remove(self) -> None:
        """The report is written: the parts are needed no more."""
        self.path.unlink(missing_ok=True)
