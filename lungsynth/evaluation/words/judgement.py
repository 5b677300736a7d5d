"""Scores of the encoder's heads: counts, accuracy, balanced accuracy, intervals."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np

from lungsynth.arrays import Float64Array
from lungsynth.evaluation.common import Interval, resample_clusters
from lungsynth.evaluation.tables import aligned
from lungsynth.evaluation.words.labels import HEAD_NAMES, TASKS, Labels, Task
from lungsynth.model.encoder import HEADS, Embedding

Counts = Float64Array  # (..., 2, 2), rows = true or asked for, columns = judged


def accuracy(counts: Counts) -> Float64Array:
    """(..., 2, 2) -> (...), share on the diagonal."""
    total = counts.sum((-2, -1))
    return np.trace(counts, axis1=-2, axis2=-1) / np.maximum(total, 1.0)


def balanced_accuracy(counts: Counts) -> Float64Array:
    """(..., 2, 2) -> (...), mean over the classes that occur of the share judged right."""
    rows = counts.sum(-1)
    recall = np.diagonal(counts, axis1=-2, axis2=-1) / np.maximum(rows, 1.0)
    return (recall * (rows > 0)).sum(-1) / np.maximum((rows > 0).sum(-1), 1)


@dataclass(frozen=True, slots=True)
class Score:
    """How one task was answered on one set."""

    task: Task
    counts: Counts  # (2, 2)
    draws: Counts  # (R, 2, 2), bootstrap over patients

    def interval(self, balanced: bool) -> Interval:
        """Accuracy with its 95 % interval."""
        measure = balanced_accuracy if balanced else accuracy
        return Interval.of(float(measure(self.counts)), measure(self.draws))

    def report(self) -> dict[str, Any]:
        """JSON: classes, counts, both accuracies."""
        return {
            "n": int(self.counts.sum()),
            "classes": list(HEADS[self.task.head]),
            "confusion": self.counts.astype(int).tolist(),
            "accuracy": self.interval(False).report(),
            "balanced_accuracy": self.interval(True).report(),
        }


def score_tasks(
    embedding: Embedding,
    labels: Labels,
    clusters: Sequence[str],
    *,
    seed: int = 0,
    n_resamples: int = 1000,
) -> dict[str, Score]:
    """Judge every task that has a row to judge.

    Args:
        embedding: Of N pictures.
        labels: (N, 4) truth, or what was asked for; `UNKNOWN` is skipped.
        clusters: (N,) patient of each picture; pictures of a patient are resampled together.
        seed: Of the resampling.
        n_resamples: Bootstrap resamples.
    """
    scores: dict[str, Score] = {}
    for index, task in enumerate(TASKS):
        rows = np.flatnonzero(task.rows(labels))
        if rows.size == 0:
            continue
        truth = labels[rows, HEAD_NAMES.index(task.head)]
        judged = embedding.decisions(task.head)[rows]
        numbers: dict[str, int] = {}
        patient = np.array([numbers.setdefault(clusters[int(i)], len(numbers)) for i in rows])
        per_patient = np.zeros((len(numbers), 2, 2))
        np.add.at(per_patient, (patient, truth, judged), 1.0)
        draws = resample_clusters(per_patient, np.random.default_rng((seed, index)), n_resamples)
        scores[task.name] = Score(task, per_patient.sum(0), draws)
    return scores


def score_table(scores: dict[str, Score]) -> str:
    """Text table: task, n, accuracy, balanced accuracy in %."""
    rows = [
        [name, int(score.counts.sum()), *(score.interval(k).percent() for k in (False, True))]
        for name, score in scores.items()
    ]
    return "\n".join(aligned(["task", "n", "accuracy %", "balanced accuracy %"], rows))
