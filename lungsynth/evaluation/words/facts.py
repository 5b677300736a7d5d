"""Captions of a film that differ in a single fact: what it shows, and what it does not.

One fixed template, built from a film's fields with wordings of `lungsynth.training.captions`. The right
caption of a film is the same for each of its facts, so it has to be read once only.
"""

from __future__ import annotations

import re
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace

import numpy as np

from lungsynth.evaluation.drawing import Asked
from lungsynth.evaluation.words.labels import MIN_SHARE
from lungsynth.training.captions import SYNONYMS, is_child

FACTS = ("sex", "view", "adult finding", "child finding", "age", "side")
"""What a caption can be wrong in."""

ONE_SIDED = ("sex", "view", "adult finding", "child finding")
"""Facts a source answers only where it shows both sides: else the answer is the look of the source."""

AGE_STEP = 30  # years a wrong age is off by
OLDEST, ADULT = 90, 18  # years a wrong age stays between
TURN = 54  # years from which a wrong age is younger: about half of adults' films are


@dataclass(frozen=True, slots=True)
class FactPair:
    """Two captions that differ in one fact."""

    fact: str  # of FACTS
    right: str
    wrong: str
    truth: str  # which side of the fact is true of the film: "M" or "F", "normal" or "finding" …


@dataclass(frozen=True, slots=True)
class Told:
    """What the template says of a film."""

    view: str  # "PA", "AP" or ""
    years: int | None  # of an adult, or of a child whose age is known
    sex: str  # "M", "F" or ""
    child: bool
    finding: str  # "normal", a finding, or "" where nothing is known

    def caption(self) -> str:
        """One sentence on the patient, one on the finding."""
        view = f"{self.view} " if self.view else ""
        finding = f". {self.finding[:1].upper()}{self.finding[1:]}" if self.finding else ""
        return f"Frontal {view}chest X-ray of a {self._patient()}{finding}"

    def _patient(self) -> str:
        if self.child and self.years is None:
            return "young child"
        if self.child:
            noun = {"M": "boy", "F": "girl", "": "child"}[self.sex]
        else:
            noun = {"M": "man", "F": "woman", "": "patient"}[self.sex]
        return noun if self.years is None else f"{self.years}-year-old {noun}"


def read_fields(fields: Mapping[str, str]) -> Told:
    """What a film's fields (`view`, `age`, `sex`, `findings`, `label`) say, in the template's terms."""
    age = fields.get("age", "").strip()
    view, sex = fields.get("view", "").strip().upper(), fields.get("sex", "").strip().upper()
    return Told(
        view=view if view in ("PA", "AP") else "",
        years=int(age) if age.isdigit() and 0 < int(age) < 110 else None,
        sex=sex if sex in ("M", "F") else "",
        child=is_child(fields),
        finding=_finding(fields),
    )


def asked_of(fields: Mapping[str, str]) -> Asked:
    """The prompt that asks for a picture like a film: its template caption.

    Args:
        fields: Metadata of the film: `view`, `age`, `sex`, `findings` or `label`.
    """
    told = read_fields(fields)
    asked = {
        "age_group": "child" if told.child else "adult",
        "view": told.view,
        "finding": told.finding,
        "sex": told.sex,
    }
    return Asked(told.caption(), {k: v for k, v in asked.items() if v})


def _finding(fields: Mapping[str, str]) -> str:
    told = (fields.get("findings") or fields.get("label") or "").strip().lower()
    if told in ("", "nan"):
        return ""
    if told in ("normal", "no finding"):
        return "normal"
    told = re.sub(r"\bptb\b", "pulmonary tuberculosis", told).strip(" .")
    parts = [_plain(part.strip()) for part in told.split("|") if part.strip()]
    return parts[0] if len(parts) == 1 else f"{', '.join(parts[:-1])} and {parts[-1]}"


def _plain(finding: str) -> str:
    if finding in ("bacterial pneumonia", "viral pneumonia"):  # the kind is a fact of its own
        return "pneumonia"
    return SYNONYMS.get(finding, (finding.replace("_", " "),))[0]


def _other_age(years: int) -> int:
    """An age `AGE_STEP` years off, that of an adult still."""
    older = years + AGE_STEP <= OLDEST and (years < TURN or years - AGE_STEP < ADULT)
    return years + AGE_STEP if older else years - AGE_STEP


def _side(finding: str) -> str:
    """The one side a finding is said to be on; "" where it has none, or both."""
    named = {side for side in ("left", "right") if re.search(rf"\b{side}\b", finding)}
    both = re.search(r"\b(bilateral|both)\b", finding)
    return named.pop() if len(named) == 1 and not both else ""


def fact_pairs(fields: Mapping[str, str]) -> list[FactPair]:
    """Every pair of captions of a film that differs in one fact.

    Sex and age are asked of adults alone, views too. A normal film is wrongly said to have pneumonia
    (in a source of tuberculosis: tuberculosis); a finding is wrongly said to be normal. A side is
    swapped where the film's text names exactly one.

    Args:
        fields: Metadata of a film: `view`, `age`, `sex`, `findings` or `label`, `source_set`.

    Returns:
        In the order of `FACTS`; none for a fact that is not known.
    """
    told = read_fields(fields)
    right, changes = told.caption(), list[tuple[str, Told, str]]()
    if not told.child:
        if told.sex:
            changes.append(("sex", replace(told, sex="F" if told.sex == "M" else "M"), told.sex))
        if told.view:
            other = "AP" if told.view == "PA" else "PA"
            changes.append(("view", replace(told, view=other), told.view))
    if told.finding:
        sick = "tuberculosis" if fields.get("source_set", "") == "shenzhen" else "pneumonia"
        other = sick if told.finding == "normal" else "normal"
        truth = "normal" if told.finding == "normal" else "finding"
        fact = "child finding" if told.child else "adult finding"
        changes.append((fact, replace(told, finding=other), truth))
    if not told.child and told.years is not None:
        years = _other_age(told.years)
        truth = "younger" if years > told.years else "older"
        changes.append(("age", replace(told, years=years), truth))
    side = _side(told.finding)
    if side:
        other = "right" if side == "left" else "left"
        moved = re.sub(rf"\b{side}\b", other, told.finding)
        changes.append(("side", replace(told, finding=moved), side))
    return [FactPair(fact, right, wrong.caption(), truth) for fact, wrong, truth in changes]


def choose_pairs(
    fields: Sequence[Mapping[str, str]], per_fact: int | None, seed: int
) -> list[tuple[int, FactPair]]:
    """The pairs to ask of a set of films: as many of either truth, from sources that show both.

    Args:
        fields: Metadata of the films.
        per_fact: At most so many films a fact, half of either truth; None takes all.
        seed: Of the order in which films are taken; facts share films where they can.

    Returns:
        (index of the film, pair), by film.
    """
    every = [(index, pair) for index, told in enumerate(fields) for pair in fact_pairs(told)]
    counts: dict[tuple[str, str], dict[str, int]] = {}
    for index, pair in every:
        cell = counts.setdefault((pair.fact, fields[index].get("source_set", "")), {})
        cell[pair.truth] = cell.get(pair.truth, 0) + 1

    def answers(index: int, pair: FactPair) -> bool:
        cell = counts[pair.fact, fields[index].get("source_set", "")]
        rarer = min(cell.values()) / sum(cell.values()) if len(cell) > 1 else 0.0
        return pair.fact not in ONE_SIDED or rarer >= MIN_SHARE

    rank = np.argsort(np.random.default_rng(seed).permutation(len(fields)))
    taken: dict[tuple[str, str], int] = {}
    chosen = []
    for index, pair in sorted(every, key=lambda item: int(rank[item[0]])):
        key = (pair.fact, pair.truth)
        full = per_fact is not None and taken.get(key, 0) >= max(1, per_fact // 2)
        if not full and answers(index, pair):
            taken[key] = taken.get(key, 0) + 1
            chosen.append((index, pair))
    return sorted(chosen, key=lambda item: (item[0], FACTS.index(item[1].fact)))
