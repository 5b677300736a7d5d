"""Obedience: do samples show what their prompts asked for, as far as the encoder can tell?

A judge errs on real films too. So its accuracy on samples stands beside its accuracy on real test
films, and what counts is the difference of the balanced accuracies, which does not depend on how
often each class was asked for.
"""

from __future__ import annotations

from typing import Any

from lungsynth.errors import DataError
from lungsynth.evaluation.common import ImageSet, Interval, chosen_by, need
from lungsynth.evaluation.tables import aligned, confusion, percent, shown
from lungsynth.evaluation.words.judgement import accuracy, balanced_accuracy, score_tasks
from lungsynth.evaluation.words.labels import UNKNOWN, asked_labels, film_labels
from lungsynth.model.encoder import Encoder, embed

MIN_IMAGES = 2


def evaluate_obedience(
    synthetic: ImageSet, test: ImageSet, encoder: Encoder, *, seed: int = 0, quiet: bool = True
) -> dict[str, Any]:
    """Judge samples by the encoder's heads, beside real test films.

    Args:
        synthetic: Samples whose fields tell what was asked: `age_group`, `view`, `finding`, `sex`.
        test: Real films.
        encoder: The judge.
        seed: Of the bootstrap.
        quiet: No progress bar.

    Returns:
        JSON: task name -> `synthetic`, `real` (counts, accuracies) and the differences synthetic
        minus real in percentage points; a task that only one side can answer has no difference.
        `verifier` names who chose the samples among several drawings; "" where nobody did.

    Raises:
        DataError: too few pictures, no sample records what was asked, or some samples were chosen by
            a verifier and others not.
    """
    need(synthetic, MIN_IMAGES, "synthetic")
    need(test, MIN_IMAGES, "real test")
    verifier = chosen_by(synthetic)
    asked = asked_labels(synthetic.fields)
    if not (asked != UNKNOWN).any():
        raise DataError(
            "No sample tells what was asked. Expected `fields` with age_group, view, finding or "
            "sex in records.jsonl or record.json, or columns of these names in Parquet."
        )
    drawn = score_tasks(
        embed(encoder, synthetic.images, quiet=quiet),
        asked,
        [f"#{i}" for i in range(len(synthetic))],
        seed=seed,
    )
    real = score_tasks(
        embed(encoder, test.images, quiet=quiet),
        film_labels(test.fields),
        test.clusters(),
        seed=seed + 1,
    )
    tasks: dict[str, Any] = {}
    for name, score in drawn.items():
        entry: dict[str, Any] = {"synthetic": score.report()}
        if name in real:
            entry["real"] = real[name].report()
            for key, measure in (("accuracy", accuracy), ("balanced_accuracy", balanced_accuracy)):
                gap = float(measure(score.counts) - measure(real[name].counts))
                draws = measure(score.draws) - measure(real[name].draws)
                entry[f"{key}_points"] = Interval.of(100 * gap, 100 * draws).report()
        tasks[name] = entry
    counts = {"n_synthetic": len(synthetic), "n_real": len(test)}
    return {"tasks": tasks, **counts, "seed": seed, "verifier": verifier}


def obedience_table(report: dict[str, Any]) -> str:
    """Text: accuracies of each task, then its two confusion matrices."""
    chosen = report.get("verifier")
    rows: list[list[object]] = []
    for name, entry in report["tasks"].items():
        synthetic, real = entry["synthetic"], entry.get("real")
        row = [name, synthetic["n"], percent(synthetic["balanced_accuracy"])]
        if real is not None:
            gap = shown(entry["balanced_accuracy_points"], 1, sign=True)
            row += [real["n"], percent(real["balanced_accuracy"]), gap]
        rows.append(row)
    head = ["task", "n", "balanced accuracy %", "n real", "on real films %", "difference in points"]
    lines = [
        f"After reject and redraw by the verifier {chosen}."
        if chosen
        else "Before any choice: every first drawing counts.",
        *aligned(head, rows),
    ]
    for name, entry in report["tasks"].items():
        for side, told in (("synthetic", "asked"), ("real", "true")):
            if side in entry:
                title = f"{name}, {side} (rows {told}, columns judged)"
                lines += confusion(title, entry[side]["classes"], entry[side]["confusion"])
    return "\n".join(lines)
