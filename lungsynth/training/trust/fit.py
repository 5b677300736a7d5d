"""The fit of trust: usual shapes, a logistic regression, its calibration.

Shapes are learnt from expert masks and from the masks of training films without any.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np
from numpy.typing import NDArray
from sklearn.isotonic import IsotonicRegression
from sklearn.linear_model import LogisticRegression
from tqdm import tqdm

from lungsynth.arrays import BoolArray, UInt8Array
from lungsynth.errors import DataError
from lungsynth.masks.classes import ClassSpec
from lungsynth.masks.reading import organs
from lungsynth.masks.student import student_maps
from lungsynth.pipeline import Synthesizer
from lungsynth.training.trust.samples import FILM, Picture, Sample
from lungsynth.trust.score import FEATURES, SHARES, TrustModel, log_odds, shape_key
from lungsynth.trust.shape import MIN_MASKS, ShapeModel, fit_shapes

BROKEN_SHARE = 0.1
"""What all samples that are no sound films weigh, of the whole."""


def fit_all_shapes(
    synthesizer: Synthesizer,
    annotated: Mapping[str, Sequence[Picture]],
    films: Sequence[UInt8Array],
    sets: Mapping[str, Sequence[ClassSpec]],
    *,
    quiet: bool = False,
) -> dict[str, ShapeModel]:
    """Shapes of every organ: from expert masks, and from the student's masks of other films.

    Args:
        synthesizer: Its student labels `films`, for the organs it knows.
        annotated: Set of classes -> films with expert masks of it.
        films: Training films (P, P) without masks.
        sets: Set of classes -> its classes.
        quiet: No progress bar.
    """
    found: dict[str, tuple[list[str], list[list[BoolArray]], list[UInt8Array]]] = {}
    for specs in sets.values():
        for rows in organs(specs).values():
            mine = [specs[row] for row in rows]
            found.setdefault(shape_key(mine[0]), ([spec.output for spec in mine], [], []))
    pictures = {id(one): one for some in annotated.values() for one in some}.values()
    for outputs, masks, images in found.values():
        for one in pictures:
            if set(outputs) <= set(one.truth):
                masks.append([one.truth[output] == 1 for output in outputs])
                images.append(one.image)
    student = synthesizer.student
    for film in tqdm(films if student else [], desc="shapes", disable=quiet):
        assert student is not None
        told = student_maps(student, film)
        for outputs, masks, images in found.values():
            p = told.probability(outputs)
            if p is not None:
                best = p.argmax(0)
                masks.append([best == 1 + k for k in range(len(outputs))])
                images.append(film)
    return {
        key: fit_shapes(outputs, masks, images)
        for key, (outputs, masks, images) in found.items()
        if len(masks) >= MIN_MASKS
    }


def _matrix(samples: Sequence[Sample], names: Sequence[str]) -> NDArray[np.float64]:
    return np.array([[one.values.get(k, np.nan) for k in names] for one in samples], np.float64)


def fit_trust(
    samples: Sequence[Sample],
    shapes: Mapping[str, ShapeModel],
    *,
    info: Mapping[str, Any] | None = None,
) -> TrustModel:
    """Fit the logistic regression and its calibration.

    Args:
        samples: From `gather_samples`.
        shapes: Kept with the model.
        info: Facts kept with the model.

    Raises:
        DataError: too few samples, or none of sound films.
    """
    samples = [one for one in samples if not one.empty]
    sound = np.array([one.kind == FILM for one in samples])
    if sound.sum() < 20:
        raise DataError(
            f"{int(sound.sum())} classes of films with expert masks; trust needs at least 20."
        )
    x, y = _matrix(samples, FEATURES), np.array([one.iou for one in samples])
    names = [
        k for k, column in zip(FEATURES, x.T, strict=True) if np.isfinite(column[sound]).sum() >= 20
    ]
    spread = tuple(k for k in names if k in SHARES)
    x = _matrix(samples, names)
    shares = [names.index(k) for k in spread]
    x[:, shares] = log_odds(x[:, shares])
    middle, scale = np.nanmean(x[sound], 0), np.nanstd(x, 0) + 1e-6
    z = (np.where(np.isfinite(x), x, middle) - middle) / scale
    weight = np.where(sound, 1 / sound.sum(), 0.0)
    if (~sound).any():
        weight = (1 - BROKEN_SHARE) * weight + BROKEN_SHARE * (~sound) / (~sound).sum()
    # a fractional target is one case of each kind, weighed by it
    model = LogisticRegression(C=3.0, max_iter=2000)
    n = len(y)
    model.fit(
        np.concatenate([z, z]),
        np.concatenate([np.ones(n), np.zeros(n)]),
        sample_weight=n * np.concatenate([weight * y, weight * (1 - y)]),
    )
    bias, w = float(model.intercept_[0]), model.coef_[0]
    raw = bias + z @ w
    steps = IsotonicRegression(y_min=0.0, y_max=1.0).fit(raw, y, sample_weight=weight)
    return TrustModel(
        {k: round(float(v), 6) for k, v in zip(names, w, strict=True)},
        {k: round(float(v), 6) for k, v in zip(names, middle, strict=True)},
        {k: round(float(v), 6) for k, v in zip(names, scale, strict=True)},
        round(bias, 6),
        _knots(raw, np.asarray(steps.predict(raw)), weight),
        dict(shapes),
        {"n_samples": n, "n_sound": int(sound.sum()), **(info or {})},
        spread,
    )


def _knots(
    raw: NDArray[np.float64], fitted: NDArray[np.float64], weight: NDArray[np.float64]
) -> tuple[tuple[float, ...], tuple[float, ...]]:
    """The middle of every step of an isotonic fit: lines between them rise where steps would not."""
    at, value = [], []
    for level in np.unique(fitted.round(6)):
        inside = np.abs(fitted - level) < 1e-6
        if not inside.any():
            continue
        at.append(float(np.average(raw[inside], weights=weight[inside] + 1e-12)))
        value.append(float(level))
    order = np.argsort(at)
    low, high = float(raw.min()), float(raw.max())
    xs = [low - 1.0, *(at[i] for i in order), high + 1.0]
    ys = [value[order[0]] * 0.5, *(value[i] for i in order), min(1.0, value[order[-1]] + 0.005)]
    return tuple(round(v, 6) for v in xs), tuple(round(v, 6) for v in ys)
