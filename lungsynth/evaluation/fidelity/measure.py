"""Fidelity and diversity: how far synthetic pictures are from real test films as a set.

A measure has no meaning alone: it depends on the number of pictures, on the mix and on the extractor
of features. So each stands beside its floor, the same measure between real training films and the
same test films with the same number of each, and a report names the extractor.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import numpy as np

from lungsynth.arrays import Float64Array, IntArray
from lungsynth.errors import DataError
from lungsynth.evaluation.common import ImageSet, Interval, need
from lungsynth.evaluation.fidelity.distances import (
    Distance,
    frechet_distance,
    halves,
    kernel_distance,
    subsampled,
)
from lungsynth.evaluation.fidelity.extractors import Extractor, Remembered
from lungsynth.evaluation.fidelity.manifolds import (
    MEASURES,
    NEIGHBOURS,
    Distances,
    precision_recall_density_coverage,
)
from lungsynth.evaluation.similarity import ms_ssim
from lungsynth.evaluation.tables import aligned
from lungsynth.evaluation.words.labels import UNKNOWN, asked_labels, film_labels

MIN_IMAGES = 16  # of each set


def manifold_measures(
    drawn: Float64Array, real: Float64Array, n_subsamples: int, rng: np.random.Generator
) -> dict[str, dict[str, float]]:
    """Precision, recall, density and coverage of (N, D) features, with intervals over random halves.

    Returns:
        JSON: a measure's name -> `value`, `low`, `high` over the halves, and `all_pictures`.
    """
    distances = Distances.of(real, drawn)
    draws = [
        precision_recall_density_coverage(distances.part(rows, columns))
        for columns, rows in halves(drawn, real, n_subsamples, rng)
    ]
    whole = precision_recall_density_coverage(distances)
    out = {}
    for name in MEASURES:
        values = np.array([draw[name] for draw in draws])
        out[name] = Interval.of(float(values.mean()), values).report()
        out[name]["all_pictures"] = float(f"{whole[name]:.6g}")
    return out


def diversity(images: ImageSet, n_pairs: int, rng: np.random.Generator) -> Interval:
    """Mean MS-SSIM of random pairs of different pictures, of at least 2; lower is more diverse."""
    first = rng.integers(0, len(images), n_pairs)
    second = (first + rng.integers(1, len(images), n_pairs)) % len(images)
    values = ms_ssim(images.images[first], images.images[second])
    times = rng.multinomial(n_pairs, np.full(n_pairs, 1.0 / n_pairs), size=1000)
    return Interval.of(float(values.mean()), times @ values / n_pairs)


def balanced(images: ImageSet, ages: IntArray, rng: np.random.Generator, what: str) -> ImageSet:
    """As many adults as children, by `ages` (N,) in `HEADS`: all of the fewer, a draw of the others.

    Raises:
        DataError: a group is empty.
    """
    groups = [np.flatnonzero(ages == k) for k in range(2)]
    least = min(len(group) for group in groups)
    if least == 0:
        raise DataError(
            f"{what}: {len(groups[0])} adult(s), {len(groups[1])} child(ren); balancing needs "
            "both. Add --data, or pass --no-match."
        )
    chosen = np.concatenate([rng.choice(group, least, replace=False) for group in groups])
    return images.take(np.sort(chosen))


@dataclass(frozen=True, kw_only=True)
class FidelityOptions:
    """How sets are compared."""

    match: bool = True  # balance adults and children in every set whose ages are known
    n_subsamples: int = 40  # random halves behind each interval
    n_pairs: int = 200  # random pairs behind each MS-SSIM
    seed: int = 0  # of every draw
    quiet: bool = True  # no progress bar


def evaluate_fidelity(
    synthetic: ImageSet,
    train: ImageSet,
    test: ImageSet,
    extractor: Extractor,
    options: FidelityOptions | None = None,
) -> dict[str, Any]:
    """Measures of synthetic pictures and of real training films against real test films.

    Args:
        synthetic: Pictures; `age_group` or `age` in the fields adds results by age group.
        train: Real films for the floor, and for what the extractor has to know of real films.
        test: Real films that everything is compared with.
        extractor: What turns pictures into features.
        options: See `FidelityOptions`.

    Returns:
        JSON: `{"groups": {"all" | "children" | "adults": {"n", measure: {"synthetic", "floor"}}},
        "extractor": {"name", "checksum", "features", "note"}, "match": …}`. Measures are `frechet`
        (with its `ratio` to the floor), `kernel`, `precision`, `recall`, `density`, `coverage`, and
        `ms_ssim` with `real` for the floor; each has `value`, `low`, `high` at half the pictures, and
        `all_pictures`.

    Raises:
        DataError: a set has fewer than `MIN_IMAGES` pictures, or balancing lacks a group.
    """
    options = options or FidelityOptions()
    rng = np.random.default_rng(options.seed)
    sets = {"synthetic": synthetic, "real train": train, "real test": test}
    for what, images in sets.items():
        need(images, MIN_IMAGES, what)
    ages = {
        k: (asked_labels if k == "synthetic" else film_labels)(v.fields)[:, 0]
        for k, v in sets.items()
    }
    chosen = dict(sets)
    if options.match:
        chosen = {
            k: v if (ages[k] == UNKNOWN).any() else balanced(v, ages[k], rng, k)
            for k, v in sets.items()
        }
    groups = {"all": chosen}
    for index, name in enumerate(("adults", "children")):
        of_group = {k: v.take(np.flatnonzero(ages[k] == index)) for k, v in sets.items()}
        if min(len(v) for v in of_group.values()) >= MIN_IMAGES:
            groups[name] = of_group
    extractor.fit(chosen["real train"].images, seed=options.seed, quiet=options.quiet)
    remembered = Remembered(extractor)
    report = {name: _compare(group, remembered, options) for name, group in groups.items()}
    return {
        "groups": report,
        "match": options.match,
        "n_subsamples": options.n_subsamples,
        "seed": options.seed,
        "neighbours": NEIGHBOURS,
        "extractor": {
            "name": extractor.name,
            "checksum": extractor.checksum,
            "features": remembered.n_features,
            "note": extractor.note,
        },
    }


def _compare(
    sets: dict[str, ImageSet], extractor: Remembered, options: FidelityOptions
) -> dict[str, Any]:
    n_subsamples, n_pairs, seed = options.n_subsamples, options.n_pairs, options.seed
    for what, images in sets.items():
        need(images, MIN_IMAGES, what)
    n_images = min(len(v) for v in sets.values())
    sets = {k: v.limited(n_images, seed + i) for i, (k, v) in enumerate(sets.items())}
    features = {k: extractor.features(v.images, quiet=options.quiet) for k, v in sets.items()}
    rng = np.random.default_rng(seed)
    out: dict[str, Any] = {"n": n_images}
    distances: dict[str, Distance] = {"frechet": frechet_distance, "kernel": kernel_distance}
    for name, distance in distances.items():
        values: dict[str, Any] = {}
        for key, label in (("synthetic", "synthetic"), ("real train", "floor")):
            half = subsampled(distance, features[key], features["real test"], n_subsamples, rng)
            values[label] = half.report()
            values[label]["all_pictures"] = float(
                f"{distance(features[key], features['real test']):.6g}"
            )
        out[name] = values
    told = out["frechet"]
    if told["floor"]["value"] > 0:
        told["ratio"] = float(f"{told['synthetic']['value'] / told['floor']['value']:.6g}")
    out["ms_ssim"] = {
        "synthetic": diversity(sets["synthetic"], n_pairs, rng).report(),
        "real": diversity(sets["real test"], n_pairs, rng).report(),
    }
    ours, floor = (
        manifold_measures(features[key], features["real test"], n_subsamples, rng)
        for key in ("synthetic", "real train")
    )
    out |= {name: {"synthetic": ours[name], "floor": floor[name]} for name in MEASURES}
    return out


FLOORS = {
    "frechet": "floor",
    "kernel": "floor",
    **dict.fromkeys(MEASURES, "floor"),
    "ms_ssim": "real",
}
"""Measure -> the name its real-against-real value has in a report, in the order of the table."""


def fidelity_table(report: dict[str, Any]) -> str:
    """Text table: a line a group and measure, synthetic beside real."""
    rows = [
        [
            group,
            values["n"],
            measure,
            *(
                str(Interval(*(values[measure][key][k] for k in ("value", "low", "high"))))
                for key in ("synthetic", real)
            ),
        ]
        for group, values in report["groups"].items()
        for measure, real in FLOORS.items()
    ]
    told = report["extractor"]
    lines = [
        *aligned(["group", "n", "measure", "synthetic", "real"], rows),
        "real: training films against the same test films; MS-SSIM of real pairs (lower: more varied)",
        f"features: {told['features']} of {told['name']} {told['checksum']}. {told['note']}",
    ]
    fewest = min(values["n"] for values in report["groups"].values()) // 2
    if fewest <= told["features"]:
        lines.append(
            f"Frechet distances of {fewest} pictures in {told['features']} features are biased "
            "upwards, the floor too; the kernel distance is not."
        )
    return "\n".join(lines)
