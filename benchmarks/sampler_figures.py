"""What a sampler's pictures are worth: seconds, Fréchet distance ÷ floor, obedience; and their table."""

from __future__ import annotations

import time
from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass
from typing import Any

import numpy as np

from lungsynth.evaluation.common import ImageSet
from lungsynth.evaluation.drawing import balanced_prompts
from lungsynth.evaluation.fidelity.distances import frechet_distance
from lungsynth.evaluation.words.judgement import balanced_accuracy, score_tasks
from lungsynth.evaluation.words.labels import asked_labels, film_labels
from lungsynth.model.encoder import Embedding, embed
from lungsynth.model.sampling import SampleOptions, draw

GROUPS = ("adults", "children")
COLUMNS = ("steps", "scheduler", "guidance", "guidance_interval")


def is_child(fields: Sequence[Mapping[str, str]]) -> np.ndarray:
    """(N,) bool, from `age_group`."""
    return np.array([one.get("age_group") == "child" for one in fields])


@dataclass(frozen=True, slots=True)
class Real:
    """Real test films, as every sampler is compared with them."""

    seen: Embedding
    child: np.ndarray  # (N,) bool
    accuracy: Mapping[str, float]  # task -> balanced accuracy of the judge
    floor: Mapping[str, float]  # group -> Fréchet distance of two random halves


def real_side(films: ImageSet, encoder: Any, seed: int = 0) -> Real:
    """Features of real test films, the judge's accuracy on them, and what a perfect model would get."""
    seen, labels = embed(encoder, films.images), film_labels(films.fields)
    scores = score_tasks(seen, labels, films.clusters(), n_resamples=2)
    child = labels[:, 0] == 1
    floor = {
        group: round(floor_of(seen.features[child == one], seed), 2)
        for group, one in zip(GROUPS, (False, True), strict=True)
        if (child == one).sum() > 3
    }
    accuracy = {k: float(balanced_accuracy(v.counts)) for k, v in scores.items()}
    return Real(seen, child, accuracy, floor)


def floor_of(features: np.ndarray, seed: int) -> float:
    """Fréchet distance of two random halves of real films: what a perfect model of that size gets."""
    order = np.random.default_rng(seed).permutation(len(features))
    return frechet_distance(features[order[: len(order) // 2]], features[order[len(order) // 2 :]])


def measure(
    pipe: Any,
    options: SampleOptions,
    n: int,
    encoder: Any,
    real: Real,
    *,
    seed: int = 0,
    batch: int = 8,
) -> dict[str, Any]:
    """One row of the table: the same prompts and seeds for every sampler."""
    asked = balanced_prompts(n)
    images, seconds, scheduler = [], 0.0, pipe.scheduler
    for start in range(0, n, batch):
        part = range(start, min(start + batch, n))
        begun = time.perf_counter()
        drawn = draw(
            pipe, [asked[k].prompt for k in part], [seed + k for k in part], options, capture=False
        )
        seconds += time.perf_counter() - begun
        images.append(drawn.images)
    pipe.scheduler = scheduler
    fields = [one.fields for one in asked]
    seen, child = embed(encoder, np.concatenate(images)), is_child(fields)
    scores = score_tasks(seen, asked_labels(fields), [str(k) for k in range(n)], n_resamples=2)
    points = {
        name: round(100 * (float(balanced_accuracy(score.counts)) - real.accuracy[name]), 1)
        for name, score in scores.items()
        if name in real.accuracy
    }
    frechet = {
        group: round(
            frechet_distance(seen.features[child == one], real.seen.features[real.child == one]), 2
        )
        for group, one in zip(GROUPS, (False, True), strict=True)
        if (child == one).sum() > 1 and (real.child == one).sum() > 1
    }
    return {
        **{k: v for k, v in asdict(options).items() if k in COLUMNS},
        "seconds": round(seconds / n, 4),
        "frechet": frechet,
        "ratio": {k: round(v / real.floor[k], 2) for k, v in frechet.items() if real.floor.get(k)},
        "points": points,
        "mean_points": round(float(np.mean(list(points.values()))), 1) if points else None,
    }


def interval_text(interval: Sequence[float] | None) -> str:
    """`(200, 800)` -> `200-800`; None -> `all`."""
    return "all" if interval is None else f"{interval[0]:g}-{interval[1]:g}"


def best_trades(rows: Sequence[Mapping[str, Any]]) -> list[int]:
    """Rows that no other beats or equals in obedience, distance and seconds at once."""

    def losses(row: Mapping[str, Any]) -> tuple[float, ...]:
        ratios = list((row["ratio"] or row["frechet"]).values())
        mean = float(np.mean(ratios)) if ratios else 0.0
        return (-(row["mean_points"] or 0.0), mean, row["seconds"])

    every = [losses(row) for row in rows]
    return [
        k
        for k, mine in enumerate(every)
        if not any(
            all(a <= b for a, b in zip(other, mine, strict=True)) and other != mine
            for other in every
        )
    ]


def markdown(rows: Sequence[Mapping[str, Any]], told: Mapping[str, Any], command: str) -> str:
    """The table for docs/RESULTS.md; the best trades are bold."""
    tasks = list(dict.fromkeys(name for row in rows for name in row["points"]))
    head = ["steps", "scheduler", "guidance", "where", "s a picture"]
    head += [f"Fréchet, {group} (÷ floor)" for group in GROUPS]
    head += [f"{name}, points" for name in tasks] + ["mean points"]
    lines = ["| " + " | ".join(head) + " |", "|" + " --- |" * len(head)]
    best = set(best_trades(rows))
    for k, row in enumerate(rows):
        cells = [str(row["steps"]), row["scheduler"], f"{row['guidance']:g}"]
        cells += [interval_text(row["guidance_interval"]), f"{row['seconds']:.3f}"]
        for group in GROUPS:
            distance, ratio = row["frechet"].get(group), row["ratio"].get(group)
            cells.append("–" if distance is None else f"{distance:.1f} ({ratio} ×)")
        cells += [f"{row['points'][name]:+.1f}" if name in row["points"] else "–" for name in tasks]
        cells.append("–" if row["mean_points"] is None else f"{row['mean_points']:+.1f}")
        cells[0] = f"**{cells[0]}**" if k in best else cells[0]
        lines.append("| " + " | ".join(cells) + " |")
    floor = ", ".join(f"{group} {value:g}" for group, value in told["floor"].items())
    lines += [
        "",
        f"{told['n']} pictures a row, the same prompts and seeds (from {told['seed']}) in each; points are "
        "balanced accuracy minus the judge's own on real test films; Fréchet distances of so few "
        f"pictures are high for every row alike, floor of two halves of real films: {floor}. Bold: no "
        f"other row is at least as good in mean points, distance and seconds. Weights "
        f"`{told['model_hash']}`, judge `{told['encoder']}`. By `{command}`.",
    ]
    return "\n".join(lines)
