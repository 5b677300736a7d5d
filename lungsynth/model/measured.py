"""What was measured of a checkpoint's words: where their maps look, and what the picture obeys.

`words.json` lies in the checkpoint's folder, written by `evaluate words`; every key may be missing::

    {"words": {"left lung": {"grounded": true, "auc": 0.97, "n": 120, "on": "real test films"}},
     "obeys": {"side": false, "sex": true, "view": true, "findings": ["pneumonia"]}}
"""

from __future__ import annotations

import json
from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from lungsynth.errors import CheckpointError

MEASURED_NAME = "words.json"


@dataclass(frozen=True, slots=True)
class WordTruth:
    """How far a word's map can be believed."""

    grounded: bool  # its map shows a place better than its rivals do
    auc: float | None = None  # area under ROC of the map against the place, [0, 1]
    ratio: float | None = None  # attention in the place ÷ its share of the area, 1 = chance
    n: int = 0  # pictures it was measured on
    on: str = ""  # which pictures

    def sentence(self, word: str) -> str:
        """The truth beside a map, in one sentence."""
        if not self.grounded:
            return f"“{word}” is not grounded: its map says little."
        told = [f"AUC {self.auc:.2f}"] if self.auc is not None else []
        told += [f"{self.ratio:.1f} × chance"] if self.ratio is not None else []
        where = (
            f" on {self.n} {self.on}".rstrip() if self.n else f" on {self.on}" if self.on else ""
        )
        return f"“{word}” is grounded: {', '.join(told) or 'no figure'}{where}."


@dataclass(frozen=True, slots=True)
class Measured:
    """The figures that travel with a checkpoint."""

    words: Mapping[str, WordTruth] = field(default_factory=dict)
    obeys: Mapping[str, Any] = field(
        default_factory=dict
    )  # fact -> bool; "findings" -> those obeyed

    def sentence(self, word: str) -> str:
        """What is known of a word's map."""
        truth = self.words.get(word.lower())
        return f"“{word}”: not measured." if truth is None else truth.sentence(word)

    def offers(self, fact: str) -> bool:
        """Whether a page may offer a fact ("side", "sex", "view", "age").

        A side is offered only where it was measured to be obeyed: it is what a reader would check last.
        """
        return bool(self.obeys.get(fact, fact != "side"))

    def findings(self, there: tuple[str, ...]) -> tuple[str, ...]:
        """Those of `there` that are obeyed; all of them where that was not measured."""
        obeyed = self.obeys.get("findings")
        return there if obeyed is None else tuple(one for one in there if one in obeyed)


def read_measured(folder: Path) -> Measured:
    """The figures of a checkpoint folder; empty where it has none.

    Raises:
        CheckpointError: the file is there, and is not JSON of that shape.
    """
    path = folder / MEASURED_NAME
    if not path.is_file():
        return Measured()
    try:
        told = json.loads(path.read_text(encoding="utf-8"))
        words = {
            str(word).lower(): WordTruth(
                bool(one.get("grounded", False)),
                _number(one.get("auc")),
                _number(one.get("ratio")),
                int(one.get("n") or 0),
                str(one.get("on", "")),
            )
            for word, one in dict(told.get("words", {})).items()
        }
        return Measured(words, dict(told.get("obeys", {})))
    except (ValueError, TypeError, AttributeError) as error:
        raise CheckpointError(f"{path}: not a file of measured words ({error}).") from error


def _number(value: Any) -> float | None:
    return None if value is None else float(value)
