"""What was measured of a checkpoint's words: where their maps look, and what the picture obeys.

Two files in the checkpoint's folder; either, and every key of them, may be missing:

- `words.json`, as `evaluate words` writes it: by group of films, boxes or samples, each word's map
  beside its rivals;
- `figures.json`: how well pictures obey, see `lungsynth.about.figures`. A fact that is no better than
  guessing is not offered.
"""

from __future__ import annotations

import json
from collections.abc import Iterable, Iterator, Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from lungsynth.about.figures import Figure, read_figures
from lungsynth.errors import CheckpointError

WORDS_NAME = "words.json"


@dataclass(frozen=True, slots=True)
class WordTruth:
    """How far a word's map can be believed."""

    grounded: bool  # its map shows the place better than every rival, beyond chance
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
    # fact -> bool; "findings" -> those obeyed
    obeys: Mapping[str, Any] = field(default_factory=dict)

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
        CheckpointError: a file is there, and is not JSON of that shape.
    """
    words: dict[str, WordTruth] = {}
    path = folder / WORDS_NAME
    try:
        for group, one in _groups(_read(path)):
            for word, told in one.items():
                if told and word.lower() not in words:
                    words[word.lower()] = _truth(group, told)
    except (KeyError, TypeError, ValueError, AttributeError) as error:
        raise CheckpointError(f"{path}: not a report of `evaluate words` ({error!r}).") from error
    return Measured(words, _obeyed(read_figures(folder)))


def _obeyed(figures: Iterable[Figure]) -> dict[str, Any]:
    """Fact -> whether pictures obey it better than by guessing; "findings" is () where none is."""
    scores = [one for one in figures if one.kind == "obedience"]
    obeys: dict[str, Any] = {}
    for fact, about in (("sex", "sex"), ("view", "view"), ("age", "age_group")):
        of_fact = [one for one in scores if one.about == about]
        if of_fact:
            obeys[fact] = all(_beats_chance(one) for one in of_fact)
    side = [one for one in scores if one.name == "side"]
    if side:
        obeys["side"] = all(_beats_chance(one) for one in side)
    findings = [one for one in scores if one.about == "finding"]
    if findings and not any(_beats_chance(one) for one in findings):
        obeys["findings"] = ()
    return obeys


def _beats_chance(one: Figure) -> bool:
    """Whether the whole interval lies above guessing; without one the value alone is not believed."""
    return one.low is not None and one.chance is not None and one.low > one.chance


def _read(path: Path) -> dict[str, Any]:
    if not path.is_file():
        return {}
    try:
        told = json.loads(path.read_text(encoding="utf-8"))
    except ValueError as error:
        raise CheckpointError(f"{path}: not JSON ({error}).") from error
    if not isinstance(told, dict):
        raise CheckpointError(f"{path}: {type(told).__name__}; expected an object.")
    return told


def _groups(told: Mapping[str, Any]) -> Iterator[tuple[str, Mapping[str, Any]]]:
    """(which pictures, word -> its figures), real films first."""
    yield from (("films with masks", one) for one in (told.get("films") or {}).values())
    yield "films with boxes", told.get("boxes") or {}
    yield "samples", (told.get("samples") or {}).get("words") or {}


def _truth(group: str, told: Mapping[str, Any]) -> WordTruth:
    above = [float(one["low"]) for one in told["above"].values()]
    boxed = group == "films with boxes"
    energy = told["map"]["energy"]
    grounded = all(low > 0 for low in above) and (not boxed or float(energy["low"]) > 1)
    auc, ratio = float(told["map"]["auc"]["value"]), float(energy["value"])
    return WordTruth(grounded, auc, ratio if boxed else None, int(told["n"]), group)
