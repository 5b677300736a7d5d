"""What the encoder's heads are asked, and which rows may answer.

The sources differ in more than their labels: every child comes from one hospital and lies AP, every
healthy film of another stands PA. A head trained on all rows would learn the hospital. So a row
answers a question only where its own source shows both answers, view and sex are asked of adults
alone, and findings are weighed within source, age group and view. Ages are the exception: there the
source is most of the answer, and the accuracy on the few children of adult sources says so.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass

import numpy as np

from lungsynth.arrays import BoolArray, Float64Array, FloatArray, IntArray
from lungsynth.model.encoder import HEADS
from lungsynth.training.captions import is_child

UNKNOWN = -1
"""Label of a row that does not answer."""

HEAD_NAMES = tuple(HEADS)
MIN_SHARE = 0.05  # a source counts for a head when its rarer class has this share of its answers
MAX_WEIGHT = 4.0  # rare cells are raised at most so much

COLLECTIONS = {"nih_rsna_normal": "nih_cxr14"}
"""Sources that were cut from one collection, by hospital and machines -> the one they count as. The
healthy films RSNA chose from NIH's answer for findings beside NIH's own: a judge that never saw them takes
two thirds of those that stand PA for ill (docs/RESULTS.md)."""

Labels = IntArray  # (N, 4), columns in the order of HEADS


@dataclass(frozen=True, slots=True)
class Task:
    """A question to report on: a head, and the age group it is asked of (None = everyone)."""

    head: str
    group: str | None = None

    @property
    def name(self) -> str:
        plural = {"child": "children", "adult": "adults"}
        return self.head if self.group is None else f"{self.head} ({plural[self.group]})"

    def rows(self, labels: Labels) -> BoolArray:
        """(N,) True for the rows of `labels` that answer this question."""
        known = labels[:, HEAD_NAMES.index(self.head)] != UNKNOWN
        if self.group is not None:
            ages = labels[:, HEAD_NAMES.index("age_group")]
            known &= ages == HEADS["age_group"].index(self.group)
        return known


TASKS = (
    Task("age_group"),
    Task("view", "adult"),
    Task("finding", "child"),
    Task("finding", "adult"),
    Task("sex", "adult"),
)


def collection(fields: Mapping[str, str]) -> str:
    """The collection a film comes from."""
    name = fields.get("source_set", "")
    return COLLECTIONS.get(name, name)


def _age_group(fields: Mapping[str, str]) -> int:
    told = fields.get("age_group", "").strip().lower()
    if told in ("child", "adult"):
        return HEADS["age_group"].index(told)
    if told in ("young adult", "middle-aged", "elderly"):
        return HEADS["age_group"].index("adult")
    if fields.get("age", "").strip():
        return int(is_child(fields))
    return UNKNOWN


def _view(fields: Mapping[str, str]) -> int:
    told = fields.get("view", "").strip().upper()
    return HEADS["view"].index(told) if told in HEADS["view"] else UNKNOWN


def _sex(fields: Mapping[str, str]) -> int:
    told = fields.get("sex", "").strip().upper()
    told = {"MALE": "M", "FEMALE": "F"}.get(told, told)
    return HEADS["sex"].index(told) if told in HEADS["sex"] else UNKNOWN


def _finding(fields: Mapping[str, str]) -> int:
    told = next((fields[k] for k in ("finding", "label", "findings") if fields.get(k)), "").lower()
    if told.strip() in ("normal", "no finding"):
        return 0
    other = ("tubercul", "ptb", "covid")  # films whose pneumonia is another question
    return 1 if "pneumonia" in told and not any(word in told for word in other) else UNKNOWN


def asked_labels(fields: Sequence[Mapping[str, str]]) -> Labels:
    """Labels that prompts asked for.

    Args:
        fields: One mapping a sample with `age_group` (or `age`), `view`, `finding`, `sex`; whatever
            is absent, or is neither of a head's classes, is not judged.

    Returns:
        (N, 4) int64, columns in the order of `HEADS`. View and sex of children are `UNKNOWN`.
    """
    rows = [(_age_group(f), _view(f), _finding(f), _sex(f)) for f in fields]
    labels: Labels = np.array(rows, dtype=np.int64).reshape(-1, len(HEADS))
    labels[np.ix_(labels[:, 0] != 0, [1, 3])] = UNKNOWN
    return labels


def film_labels(fields: Sequence[Mapping[str, str]]) -> Labels:
    """Labels of real films, `UNKNOWN` where a film may not answer.

    A film of unknown age counts as an adult's (the collections of children tell their ages). A
    source answers for view, finding or sex only when each class has `MIN_SHARE` of its answers.

    Args:
        fields: Metadata of the films: `age`, `view`, `label` or `findings`, `sex`, `source_set`.

    Returns:
        (N, 4) int64, columns in the order of `HEADS`.
    """
    labels = asked_labels([{**f, "age_group": "child" if is_child(f) else "adult"} for f in fields])
    source = np.array([collection(f) for f in fields], dtype=object)
    for column in range(1, len(HEADS)):
        for name in sorted(set(source)):
            rows = (source == name) & (labels[:, column] != UNKNOWN)
            share = float(labels[rows, column].mean()) if rows.any() else 0.0
            if min(share, 1.0 - share) < MIN_SHARE:
                labels[rows, column] = UNKNOWN
    return labels


def label_weights(
    labels: Labels, fields: Sequence[Mapping[str, str]], chances: Float64Array | None = None
) -> FloatArray:
    """Loss weights that make both classes equally heavy within every source (and age, and view).

    Ages weigh 1: `draw_weights` of the training balances them already.

    Args:
        labels: (N, 4) of `film_labels`.
        fields: Metadata of the same films; `source_set` and `view` are read.
        chances: (N,) how often each film is drawn; None for alike.

    Returns:
        (N, 4) float32; 0 where the label is unknown, else at most `MAX_WEIGHT`.
    """
    weights = np.zeros(labels.shape, dtype=np.float32)
    drawn = np.ones(len(labels)) if chances is None else chances
    for column, head in enumerate(HEAD_NAMES):
        cells: dict[tuple[str, ...], list[int]] = {}
        for index, row in enumerate(fields):
            if labels[index, column] == UNKNOWN:
                continue
            if head == "age_group":
                weights[index, column] = 1.0
                continue
            cell: tuple[str, ...] = (collection(row), str(labels[index, 0]))
            if head == "finding":
                cell += (row.get("view", ""),)
            cells.setdefault(cell, []).append(index)
        for members in cells.values():
            answers = labels[members, column]
            counts = np.bincount(answers, weights=drawn[members], minlength=2)
            share = 2.0 * counts / counts.sum()
            weights[members, column] = np.minimum(1.0 / share[answers], MAX_WEIGHT)
    return weights
