"""What a run says of itself: one line of JSON every few steps, `metrics.jsonl`."""

from __future__ import annotations

import json
import time
from collections.abc import Mapping
from pathlib import Path

METRICS_NAME = "metrics.jsonl"


class Metrics:
    """Means of numbers since the last line of `path`, and how quick the steps of a batch were."""

    def __init__(self, path: Path, batch_size: int) -> None:
        self.path, self.batch_size = path, batch_size
        path.touch()
        self.sums: dict[str, float] = {}
        self.count = 0
        self.begun = time.monotonic()

    def add(self, numbers: Mapping[str, float]) -> None:
        """Take in the numbers of a step; one that a step lacks counts as 0 there."""
        for key, value in numbers.items():
            self.sums[key] = self.sums.get(key, 0.0) + value
        self.count += 1

    def close_line(self, step: int, rate: float) -> dict[str, float]:
        """Write the means of the steps since the last line, and begin anew."""
        now = time.monotonic()
        line = {key: value / self.count for key, value in self.sums.items()} | {
            "step": step,
            "lr": rate,
            "images_per_s": self.count * self.batch_size / max(now - self.begun, 1e-9),
        }
        self.write(line)
        self.sums, self.count, self.begun = {}, 0, now
        return line

    def note(self, step: int, numbers: Mapping[str, float]) -> None:
        """Write numbers that took time of their own, which does not count as the steps'."""
        self.write({"step": step, **numbers})
        self.begun = time.monotonic()

    def write(self, line: Mapping[str, float]) -> None:
        """Add a line."""
        with self.path.open("a") as file:
            file.write(json.dumps(line) + "\n")


def trim(path: Path, step: int) -> None:
    """Drop lines of steps that a killed run had not saved, and one that the kill cut."""
    if not path.exists():
        return
    kept = []
    for line in path.read_text().splitlines():
        try:
            if json.loads(line)["step"] <= step:
                kept.append(line)
        except (json.JSONDecodeError, KeyError):
            continue
    path.write_text("".join(line + "\n" for line in kept))
