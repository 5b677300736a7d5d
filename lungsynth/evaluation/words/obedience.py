"""Obedience: do samples show what their prompts asked for, as far as the encoder can tell?

A judge errs on real films too. So its accuracy on samples stands beside its accuracy on real test
films, and what counts is the difference of the balanced accuracies, which does not depend on how
often each class was asked for.
"""

from __future__ import annotations

from typing import Any

import numpy as np

from lungsynth.errors import DataError
from lungsynth.evaluation.common import ImageSet, Interval, chosen_by, need
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

    def interval(values: dict[str, float]) -> Interval:
        return Interval(values["value"], values["low"], values["high"])

    chosen = report.get("verifier")
    lines = [
        f"After reject and redraw by the verifier {chosen}."
        if chosen
        else "Before any choice: every first drawing counts.",
        f"{'task':<20}{'n':>6}  {'balanced accuracy %':<22}{'n real':>7}  {'on real films %':<22}"
        f"{'difference in points':<22}",
    ]
    for name, entry in report["tasks"].items():
        line = f"{name:<20}{entry['synthetic']['n']:>6}  "
        line += f"{interval(entry['synthetic']['balanced_accuracy']).percent():<22}"
        if "real" in entry:
            gap = interval(entry["balanced_accuracy_points"])
            line += f"{entry['real']['n']:>7}  "
            line += f"{interval(entry['real']['balanced_accuracy']).percent():<22}"
            line += f"{gap.value:+.1f} [{gap.low:+.1f}, {gap.high:+.1f}]"
        lines.append(line)
    for name, entry in report["tasks"].items():
        for side, told in (("synthetic", "asked"), ("real", "true")):
            if side not in entry:
                continue
            classes = entry[side]["classes"]
            lines += ["", f"{name}, {side} (rows {told}, columns judged)"]
            lines.append(" " * 12 + "".join(f"{c:>12}" for c in classes))
            for row, counts in zip(classes, np.array(entry[side]["confusion"]), strict=True):
                lines.append(f"{row:<12}" + "".join(f"{n:>12}" for n in counts))
    return "\n".join(line.rstrip() for line in lines)
