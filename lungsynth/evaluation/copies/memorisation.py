"""The release gate: is a synthetic picture a copy of a training film, or of another picture?

A picture's score is its likeness to the training film most like it (`lungsynth.evaluation.copies.search`).
Two scales are laid beside it: real films that the generator never saw, which are no copies, and
copies planted on purpose. The threshold is set on one half of both and stated on the other.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from itertools import pairwise
from typing import Any

import numpy as np
from PIL import Image
from scipy.stats import binomtest
from sklearn.neighbors import NearestNeighbors

from lungsynth.arrays import BoolArray, Float64Array
from lungsynth.errors import DataError
from lungsynth.evaluation.common import ImageSet, Interval, need
from lungsynth.evaluation.copies.neighbours import (
    PERCENTILES,
    closest_sheet,
    percentiles,
    shares_below,
)
from lungsynth.evaluation.copies.planted import KINDS, plant
from lungsynth.evaluation.copies.search import Finder, Found
from lungsynth.evaluation.tables import aligned, percent
from lungsynth.model.encoder import Encoder, embed

MAX_FALSE_ALARMS, MIN_CAUGHT = 0.01, 0.95
"""Largest share of unseen real films above the threshold, least share of planted copies."""

MIN_REAL, MIN_PLANTED = 20, 2 * len(KINDS)
POINTS = {"min": 0, "q1": 1, "q5": 5, "median": 50, "q95": 95, "q99": 99, "max": 100}


def proportion(count: int, n: int) -> Interval:
    """A share with its exact (Clopper-Pearson) 95 % interval."""
    told = binomtest(count, n).proportion_ci(0.95, method="exact")
    return Interval(count / n, float(told.low), float(told.high))


def choose_threshold(real: Float64Array, planted: Float64Array) -> tuple[float, bool]:
    """The score from which a picture counts as a copy, by scores of real films and of planted copies.

    Returns:
        The threshold, and whether both demands can be met: it lies halfway between the least that
        keeps false alarms to `MAX_FALSE_ALARMS` and the largest that catches `MIN_CAUGHT`; where
        these cross, it is the former, and False.
    """
    falling = np.sort(real)[::-1]
    least = float(np.nextafter(falling[int(MAX_FALSE_ALARMS * len(real))], np.inf))
    rising = np.sort(planted)
    largest = float(rising[int((1 - MIN_CAUGHT) * len(planted))])
    return (least, False) if least > largest else ((least + largest) / 2, True)


def duplicates(found: Found, names: Sequence[str], threshold: float) -> list[dict[str, Any]]:
    """Pairs of pictures of a set searched against itself that are copies, once each, most alike first."""
    pairs: dict[tuple[int, int], float] = {}
    for i in np.flatnonzero(found.score >= threshold):
        pair = (min(int(i), int(found.index[i])), max(int(i), int(found.index[i])))
        pairs[pair] = max(pairs.get(pair, -1.0), float(found.score[i]))
    ranked = sorted(pairs.items(), key=lambda item: (-item[1], item[0]))
    return [{"pictures": [names[a], names[b]], "score": round(s, 6)} for (a, b), s in ranked]


def encoder_distances(
    encoder: Encoder, train: ImageSet, queries: Sequence[ImageSet]
) -> list[Float64Array]:
    """Distance of features to the nearest training film: one (N,) a set of queries."""
    nearest = NearestNeighbors(n_neighbors=1).fit(embed(encoder, train.images).features)
    return [nearest.kneighbors(embed(encoder, q.images).features)[0][:, 0] for q in queries]


def _check_sizes(sets: Mapping[str, ImageSet], n_planted: int) -> None:
    least = {"synthetic": 2, "train": MIN_PLANTED, "calibration": MIN_REAL, "test": MIN_REAL}
    for name, part in sets.items():
        need(part, least[name], name if name == "synthetic" else f"real {name}")
    if n_planted < MIN_PLANTED:
        raise DataError(
            f"{n_planted} planted copies; need at least {MIN_PLANTED}, two of each kind."
        )


def _alarms(names: Sequence[str], over: BoolArray) -> dict[str, Any]:
    """Real films taken for copies: share with its interval, count, and which."""
    count = int(over.sum())
    films = [names[int(i)] for i in np.flatnonzero(over)]
    return {**proportion(count, len(over)).report(), "count": count, "n": len(over), "films": films}


def _histogram(**parts: Any) -> dict[str, list[int]]:
    """Copy scores of each part in 50 bins from 0 to 1."""
    return {
        name: np.histogram(part.score, bins=50, range=(0, 1))[0].tolist()
        for name, part in parts.items()
    }


def _pictures(
    names: Sequence[str],
    films: Sequence[str],
    distances: Mapping[str, tuple[Float64Array, Float64Array]],
) -> list[dict[str, Any]]:
    """Each synthetic picture with the training film most like it and its distance by each measure."""
    return [
        {
            "picture": name,
            "film": films[i],
            **{m: {"distance": float(f"{ours[i]:.6g}")} for m, (ours, _) in distances.items()},
        }
        for i, name in enumerate(names)
    ]


def evaluate_memorisation(
    synthetic: ImageSet,
    train: ImageSet,
    calibration: ImageSet,
    test: ImageSet,
    encoder: Encoder,
    *,
    n_planted: int = 800,
    seed: int = 0,
    quiet: bool = True,
) -> tuple[dict[str, Any], Image.Image]:
    """Copies among synthetic pictures, and how surely a copy would have been found.

    Args:
        synthetic: Pictures to be released.
        train: Every film the generator was trained on.
        calibration: Real films it was not trained on; with half of the planted copies they set the
            threshold.
        test: Other real films it was not trained on; with the other half they say how good it is.
        encoder: What measures features, reported beside the score.
        n_planted: Copies planted, each of another training film, at most as many as there are.
        seed: Of the draw of those films and of their changes.
        quiet: No progress bar.

    Returns:
        JSON: `threshold`, `caught`, `false_alarms`, `n`, `copies` (names of pictures at or above the
        threshold), `duplicates`, `passed`, and every measure; and a contact sheet of the 16 most alike
        pairs (picture left, film right).

    Raises:
        DataError: a set is too small to set or state a threshold.
    """
    sets = {"synthetic": synthetic, "train": train, "calibration": calibration, "test": test}
    _check_sizes(sets, n_planted)
    rng = np.random.default_rng(seed)
    films = rng.permutation(len(train))[:n_planted]
    copies, kinds = plant(train.images[films], seed=seed)
    queries = [synthetic.images, calibration.images, test.images, copies]
    found = Finder(train.images, quiet=quiet).search(np.concatenate(queries))
    drawn, held, real, planted = _parts(found, [len(q) for q in queries])
    half = np.arange(len(films)) // len(KINDS) % 2 == 0  # every kind in both halves
    hit = planted.index == films
    threshold, possible = choose_threshold(held.score, planted.score[half])
    caught = _caught(planted.score >= threshold, hit, kinds, ~half)
    named = [synthetic.names[i] for i in np.flatnonzero(drawn.score >= threshold)]
    among = Finder(synthetic.images, quiet=quiet).search(synthetic.images, itself=True)
    twins = duplicates(among, synthetic.names, threshold)
    near, near_real = encoder_distances(encoder, train, [synthetic, test])
    distances = {
        "copy score": (1 - drawn.score, 1 - real.score),
        "ssim": (1 - drawn.ssim, 1 - real.ssim),
        "encoder": (near, near_real),
    }
    limit = np.percentile(1 - real.score, PERCENTILES[0])
    report = {
        "threshold": round(threshold, 6),
        "calibrated": possible,
        "caught": caught,
        "false_alarms": {
            **_alarms(test.names, real.score >= threshold),
            "calibration": round(float((held.score >= threshold).mean()), 6),
        },
        "n": {**{name: len(part) for name, part in sets.items()}, "planted": len(films)},
        "copies": sorted(named),
        "duplicates": twins,
        "passed": not named
        and caught["value"] >= MIN_CAUGHT
        and float((real.score >= threshold).mean()) <= MAX_FALSE_ALARMS,
        "targets": {"caught": MIN_CAUGHT, "false_alarms": MAX_FALSE_ALARMS},
        "scores": {
            "synthetic": _points(drawn.score),
            "real_calibration": _points(held.score),
            "real_test": _points(real.score),
            "planted": _points(planted.score),
            "among_synthetic": _points(among.score),
        },
        "histogram": _histogram(synthetic=drawn, real_test=real, planted=planted),
        "measures": {
            name: _measure(ours, theirs, seed) for name, (ours, theirs) in distances.items()
        },
        "closer_than_test_0.1": sorted(
            synthetic.names[i] for i in np.flatnonzero(1 - drawn.score < limit)
        ),
        "pictures": _pictures(
            synthetic.names, [train.names[int(i)] for i in drawn.index], distances
        ),
        "seed": seed,
    }
    return report, closest_sheet(synthetic, train, 1 - drawn.score, drawn.index)


def _parts(found: Found, sizes: Sequence[int]) -> list[Found]:
    ends = np.cumsum([0, *sizes])
    return [
        Found(found.score[a:b], found.ssim[a:b], found.index[a:b])
        for a, b in pairwise(ends.tolist())
    ]


def _caught(
    above: BoolArray, hit: BoolArray, kinds: Sequence[str], stated: BoolArray
) -> dict[str, Any]:
    """Share of planted copies at or above the threshold, in all and by kind."""
    kind = np.array(kinds)

    def share(chosen: BoolArray) -> dict[str, Any]:
        count, n = int(above[chosen].sum()), int(chosen.sum())
        return {**proportion(count, n).report(), "count": count, "n": n}

    return share(stated) | {
        "calibration": round(float(above[~stated].mean()), 6),
        "right_film": round(float(hit[stated].mean()), 6),
        "kinds": {name: share(stated & (kind == name)) for name in KINDS},
    }


def _points(values: Float64Array) -> dict[str, float]:
    return percentiles(values, POINTS)


def _measure(ours: Float64Array, theirs: Float64Array, seed: int) -> dict[str, Any]:
    """Distances of pictures beside those of real films, as `evaluate neighbours` reports them."""
    return {
        "synthetic": _points(ours),
        "real_test": _points(theirs),
        "below_percentile_of_test": shares_below(ours, theirs, np.random.default_rng(seed)),
    }


def memorisation_table(report: dict[str, Any]) -> str:
    """The report as text: how good the gate is, then what it found."""

    def line(title: str, told: dict[str, Any]) -> list[object]:
        return [title, f"{percent(told)} %", f"{told['count']} of {told['n']}"]

    n, caught = report["n"], report["caught"]
    shares = [
        line("planted copies caught", caught),
        *(line(f"  {kind}", told) for kind, told in caught["kinds"].items()),
        line("false alarms on unseen real films", report["false_alarms"]),
    ]
    scores = [
        [name.replace("_", " "), *(f"{told[k]:.3f}" for k in ("median", "q95", "q99", "max"))]
        for name, told in report["scores"].items()
    ]
    lines = [
        f"copy = score at or above {report['threshold']:.3f}; set on {n['calibration']} real films and "
        f"half of {n['planted']} planted copies",
        *aligned(["of", "share", "count"], shares),
        *aligned(["score", "median", "95 %", "99 %", "largest"], scores),
    ]
    if not report["calibrated"]:
        lines.append("no threshold meets both demands: false alarms are kept, copies are missed")
    lines.append(f"copies of training films: {len(report['copies'])} of {n['synthetic']}")
    lines += [f"  {name}" for name in report["copies"][:10]]
    lines.append(f"duplicates inside the set: {len(report['duplicates'])} pair(s)")
    lines.append("gate: " + ("passed" if report["passed"] else "NOT passed"))
    return "\n".join(lines)
