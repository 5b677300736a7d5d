"""Is the age obeyed? Age asked against age judged, by ridge regression on an encoder's features.

The judge is fitted to the ages of real training films and is told by its error on real test films.
What it says of samples regresses to the mean as much as what it says of films, so the samples'
correlation and slope stand beside the films'.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np
from sklearn.linear_model import RidgeCV

from lungsynth.arrays import Float64Array
from lungsynth.errors import DataError
from lungsynth.evaluation.common import ImageSet
from lungsynth.evaluation.tables import aligned, shown
from lungsynth.evaluation.words.map_figures import bootstrap
from lungsynth.model.encoder import Encoder, embed
from lungsynth.verify.asked import asked_years

ADULT, OLDEST = 18, 100  # years; children's ages are hardly known, so they are not regressed
MIN_FILMS = 30
PENALTIES = tuple(float(v) for v in 10.0 ** np.arange(-1, 6))


def years_of(fields: Mapping[str, str]) -> float:
    """An adult's age in years, of a film's field or of a prompt; NaN where neither tells it."""
    told = fields.get("age", "").strip()
    years = int(told) if told.isdigit() else asked_years(fields.get("prompt", ""))
    return float(years) if years is not None and ADULT <= years <= OLDEST else float("nan")


def _with_ages(images: ImageSet, what: str) -> tuple[ImageSet, Float64Array]:
    ages = np.array([years_of(told) for told in images.fields])
    known = np.flatnonzero(np.isfinite(ages))
    if len(known) < MIN_FILMS:
        raise DataError(
            f"{what}: {len(known)} of {len(images)} pictures tell an adult's age; need at least "
            f"{MIN_FILMS}. Films need a column `age`; samples an age in their prompt, as `evaluate "
            "draw` writes them."
        )
    return images.take(known), ages[known]


def fit_judge(features: Float64Array, ages: Float64Array) -> Any:
    """Ridge regression (N, D) -> years, of scikit-learn; the penalty by leave-one-out."""
    return RidgeCV(alphas=PENALTIES).fit(features, ages)


def _pearson(pairs: Float64Array) -> Float64Array:
    """(N, 2) -> Pearson's r; 0 where one of the two does not vary."""
    x, y = (pairs - pairs.mean(0)).T
    size = np.sqrt((x @ x) * (y @ y))
    return np.asarray((x @ y) / size if size > 0 else 0.0)


def _slope(pairs: Float64Array) -> Float64Array:
    x, y = (pairs - pairs.mean(0)).T
    return np.asarray((x @ y) / max(float(x @ x), 1e-12))


def _error(pairs: Float64Array) -> Float64Array:
    return np.asarray(np.abs(pairs[:, 1] - pairs[:, 0]).mean())


def agreement(
    told: Float64Array, judged: Float64Array, patients: Sequence[str], seed: int
) -> dict[str, Any]:
    """Pearson's r, slope of judged on told, and mean absolute error in years, with intervals.

    Args:
        told: (N,) years asked for, or true.
        judged: (N,) years.
        patients: Of each; resampled together.
        seed: Of the bootstrap.
    """
    pairs = np.stack([told, judged], 1)
    measures = {"pearson": _pearson, "slope": _slope, "error_years": _error}
    return {"n": len(pairs)} | {
        key: bootstrap(pairs, patients, seed, measure).report() for key, measure in measures.items()
    }


def evaluate_age(
    samples: ImageSet,
    train: ImageSet,
    test: ImageSet,
    encoder: Encoder,
    *,
    seed: int = 0,
    quiet: bool = True,
) -> dict[str, Any]:
    """Age asked against age judged on samples, beside real test films.

    Args:
        samples: With `age` among their fields, or an age in their prompt.
        train: Real films the judge is fitted to.
        test: Real films of other patients.
        encoder: Whose features are regressed.
        seed: Of the bootstrap.
        quiet: No progress bar.

    Raises:
        DataError: fewer than `MIN_FILMS` adults of known age in a set.
    """
    sets = {}
    for name, images in (("train", train), ("real", test), ("samples", samples)):
        kept, ages = _with_ages(images, name)
        sets[name] = (kept, ages, embed(encoder, kept.images, quiet=quiet).features)
    judge = fit_judge(sets["train"][2], sets["train"][1])
    report: dict[str, Any] = {"n_train": len(sets["train"][1]), "seed": seed}
    for name in ("real", "samples"):
        kept, ages, features = sets[name]
        report[name] = agreement(ages, judge.predict(features), kept.clusters(), seed)
    mean = np.full_like(sets["real"][1], sets["train"][1].mean())
    report["mean_age_error_years"] = round(float(np.abs(mean - sets["real"][1]).mean()), 3)
    return report


def age_table(report: Mapping[str, Any]) -> str:
    """Text: r, slope and error of samples and of real test films."""
    measures = ("pearson", "slope", "error_years")
    rows = [
        [name, report[name]["n"], *(shown(report[name][k]) for k in measures)]
        for name in ("samples", "real")
    ]
    return "\n".join(
        [
            *aligned(["adults", "n", "Pearson r", "slope", "error, years"], rows),
            f"Ridge regression fitted to {report['n_train']} real films; saying their mean age of every "
            f"test film errs by {report['mean_age_error_years']:.1f} years.",
        ]
    )
