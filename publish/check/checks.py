"""Everything that must hold before a dataset folder may be published.

Each check is a function (folder, manifest, options) -> problems, in a table. The folder is only read.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from typing import Any

from lungsynth.errors import LungSynthError
from publish.check.files import (
    card_problems,
    croissant_problems,
    file_problems,
    load_problems,
    text_problems,
)
from publish.check.measured import (
    figure_problems,
    memorisation_problems,
    not_measured,
    source_problems,
)
from publish.check.rows import row_problems
from publish.data.manifest import Manifest, read_manifest
from publish.data.settings import MEASURED

MAX_SHOWN = 20
"""Problems of one check that are printed; the rest are counted."""

Problems = Iterator[str]


@dataclass(frozen=True, slots=True)
class Checked:
    """How one check ended."""

    name: str
    problems: tuple[str, ...]  # [] = passed; at most MAX_SHOWN and a line that counts the rest
    missing: str = ""  # what was not measured; "" where everything was
    is_allowed: bool = False  # whether the maintainer, and so the card, says that it was not

    @property
    def verdict(self) -> str:
        """ok, FAILED, or NOT MEASURED."""
        return "FAILED" if self.problems else "NOT MEASURED" if self.missing else "ok"

    @property
    def is_fit(self) -> bool:
        """Whether nothing speaks against publishing: passed, or knowingly not measured."""
        return not self.problems and (not self.missing or self.is_allowed)

    def to_json(self) -> dict[str, Any]:
        """For `--json`."""
        return {
            "name": self.name,
            "ok": self.is_fit,
            "verdict": self.verdict.lower(),
            "problems": [*self.problems, *([self.missing] if self.missing else [])],
        }


CHECKS: dict[str, Callable[[Path, Manifest], Problems]] = {
    "files and hashes": file_problems,
    "rows": row_problems,
    "card": card_problems,
    "sources": source_problems,
    "croissant": croissant_problems,
    "private text": text_problems,
    "memorisation": memorisation_problems,
    "obedience": partial(figure_problems, "obedience"),
    "masks": partial(figure_problems, "masks"),
    "load_dataset": load_problems,
}
"""In the order they run; a broken file fails the first and is not read by the others."""


def check(dist: Path, *, load: bool = True) -> list[Checked]:
    """Check a dataset folder.

    To `load` it with `datasets` writes a copy of every row into a temporary folder.

    Raises:
        ConfigError: the folder has no manifest that can be understood.
    """
    manifest = read_manifest(dist)
    done: list[Checked] = []
    for name, function in CHECKS.items():
        if name == "load_dataset" and not load:
            continue
        if done and done[0].problems:
            break  # what is not the manifest's file cannot be read as such
        done.append(_run(name, function, dist, manifest))
    return done


def _run(
    name: str, function: Callable[[Path, Manifest], Problems], dist: Path, manifest: Manifest
) -> Checked:
    shown: list[str] = []
    n = 0
    try:
        for problem in function(dist, manifest):
            n += 1
            if n <= MAX_SHOWN:
                shown.append(problem)
    except LungSynthError as error:
        n += 1
        shown.append(str(error))
    if n > MAX_SHOWN:
        shown.append(f"… and {n - MAX_SHOWN} more")
    missing = not_measured(name, dist, manifest) if name in MEASURED else ""
    return Checked(name, tuple(shown), missing, name in manifest.card.get("unmeasured", ()))
