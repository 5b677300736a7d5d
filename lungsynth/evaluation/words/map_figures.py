"""Figures of a word's map against a region: AUC, IoU, energy, pointing game, each beside trivial rivals.

    map (P, P), 0-255; region (P, P) -> counts of each grey level inside and outside -> figures

A map may look right only because chests lie alike. So every figure stands beside that of a rival that
has not seen the film: the mean of the word's maps, or of the regions, of other patients, and a blob in
the middle.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, replace
from typing import Any

import numpy as np
from numpy.typing import NDArray

from lungsynth.arrays import BoolArray, Float64Array, UInt8Array
from lungsynth.evaluation.common import Interval

RIVALS = ("mean map", "mean region", "centre")
CENTRE_WIDTH = 0.25  # standard deviation of the blob in the middle, in sides of the picture
N_RESAMPLES = 1000


@dataclass(frozen=True, slots=True)
class WordMap:
    """A word's map of one picture, and where the thing lies that it names."""

    heat: UInt8Array  # (P, P), 255 = its highest value
    region: BoolArray  # (P, P)
    valid: BoolArray  # (P, P), False where the region is not known
    patient: str

    def there(self) -> bool:
        """There is something to be found, and something else."""
        inside = self.region & self.valid
        return bool(inside.any() and (self.valid & ~self.region).any())


@dataclass(frozen=True, slots=True)
class Figures:
    """Of N maps."""

    auc: Float64Array  # (N,) share of pixel pairs (inside, outside) the map orders rightly
    energy: Float64Array  # (N,) share of the map inside, divided by the region's share of the area
    pointing: Float64Array  # (N,) share of the brightest pixels that lie inside
    iou: Float64Array  # (N, 255) intersection over union of `map > l`, l = 0 … 254


def grey(heat: NDArray[np.floating]) -> UInt8Array:
    """(P, P) of any range above 0 -> 0-255, its highest value at 255."""
    return np.asarray((heat / max(float(heat.max()), 1e-12) * 255).round().clip(0, 255), np.uint8)


def figures(maps: Sequence[WordMap]) -> Figures:
    """Figures of maps with something to be found, see `WordMap.there`."""
    rows = [_one(one) for one in maps]
    auc, energy, pointing, iou = (np.array(column) for column in zip(*rows, strict=True))
    return Figures(auc, energy, pointing, iou)


def _one(one: WordMap) -> tuple[float, float, float, Float64Array]:
    inside = np.bincount(one.heat[one.region & one.valid], minlength=256).astype(np.float64)
    outside = np.bincount(one.heat[one.valid & ~one.region], minlength=256).astype(np.float64)
    n_in, n_out = inside.sum(), outside.sum()
    below = np.concatenate([[0.0], np.cumsum(outside)[:-1]])
    auc = float((inside * (below + outside / 2)).sum() / (n_in * n_out))
    levels = np.arange(256)
    mass = float((levels * (inside + outside)).sum())
    share = float((levels * inside).sum()) / mass if mass else n_in / (n_in + n_out)
    top = int(np.flatnonzero(inside + outside)[-1])
    pointing = float(inside[top] / (inside[top] + outside[top]))
    hits, false = (np.cumsum(counts[::-1])[::-1][1:] for counts in (inside, outside))
    return auc, share / float(n_in / (n_in + n_out)), pointing, hits / (n_in + false)


def bootstrap(
    values: Float64Array,
    patients: Sequence[str],
    seed: int,
    statistic: Callable[[Float64Array], Any] = lambda v: v.mean(0),
) -> Interval:
    """A statistic of values (N, …) with its 95 % interval; patients are drawn with replacement."""
    people, owner = np.unique(patients, return_inverse=True)
    rng = np.random.default_rng(seed)
    times = rng.multinomial(len(people), np.full(len(people), 1 / len(people)), N_RESAMPLES)
    draws = np.array([statistic(np.repeat(values, row[owner], axis=0)) for row in times])
    return Interval.of(float(statistic(values)), draws)


def _report(found: Figures, patients: Sequence[str], seed: int) -> dict[str, Any]:
    level = int(found.iou.mean(0).argmax())
    return {
        "auc": bootstrap(found.auc, patients, seed).report(),
        "iou": {**bootstrap(found.iou[:, level], patients, seed).report(), "level": level / 255},
        "energy": bootstrap(found.energy, patients, seed).report(),
        "pointing": bootstrap(found.pointing, patients, seed).report(),
    }


def rival_heats(maps: Sequence[WordMap]) -> dict[str, list[UInt8Array]]:
    """Rival -> one heat a map, made of other patients' maps and regions alone.

    The means are left out where there is a single patient.
    """
    pixels = maps[0].heat.shape[0]
    grid = (np.arange(pixels) + 0.5) / pixels - 0.5
    blob = grey(np.exp(-(grid[:, None] ** 2 + grid[None] ** 2) / (2 * CENTRE_WIDTH**2)))
    rivals = {"centre": [blob] * len(maps)}
    if len({one.patient for one in maps}) < 2:
        return rivals
    for name, planes in (
        ("mean map", [one.heat.astype(np.float64) for one in maps]),
        ("mean region", [one.region.astype(np.float64) for one in maps]),
    ):
        total, own = sum(planes), dict[str, Float64Array]()
        for one, plane in zip(maps, planes, strict=True):
            own[one.patient] = own.get(one.patient, 0.0) + plane
        rivals[name] = [grey(np.maximum(total - own[one.patient], 0.0)) for one in maps]
    return rivals


def compare(maps: Sequence[WordMap], seed: int) -> dict[str, Any] | None:
    """Figures of a word's maps beside those of the rivals; None where no map has anything to find.

    Returns:
        JSON: `n`, `n_patients`, `area` (share of the picture), `map`, `rivals`, and `above`: by how
        much the map's AUC is above each rival's.
    """
    maps = [one for one in maps if one.there()]
    if not maps:
        return None
    patients = [one.patient for one in maps]
    ours = figures(maps)
    report: dict[str, Any] = {
        "n": len(maps),
        "n_patients": len(set(patients)),
        "area": round(float(np.mean([one.region.mean() for one in maps])), 4),
        "map": _report(ours, patients, seed),
        "rivals": {},
        "above": {},
    }
    heats = rival_heats(maps)
    for name in (name for name in RIVALS if name in heats):
        theirs = figures(
            [replace(one, heat=heat) for one, heat in zip(maps, heats[name], strict=True)]
        )
        report["rivals"][name] = _report(theirs, patients, seed)
        report["above"][name] = bootstrap(ours.auc - theirs.auc, patients, seed).report()
    return report


def correlations(
    triples: Sequence[Mapping[str, UInt8Array]], patients: Sequence[str], seed: int
) -> dict[str, Any]:
    """Median Pearson correlation of the maps of two kinds of words of one prompt.

    Each of `triples` is a picture's kind of word ("anatomy", "finding", "filler") -> its map (P, P).

    Returns:
        JSON: pair of kinds -> median with interval, and `all` over the mean of a picture's pairs.
    """
    pairs = [("anatomy", "finding"), ("anatomy", "filler"), ("finding", "filler")]
    rows = np.array([[_pearson(maps[a], maps[b]) for a, b in pairs] for maps in triples])
    median = bootstrap_median(rows.mean(1), patients, seed)
    out = {"n": len(triples), "all": median.report()}
    for column, (a, b) in enumerate(pairs):
        out[f"{a} and {b}"] = bootstrap_median(rows[:, column], patients, seed).report()
    return out


def bootstrap_median(values: Float64Array, patients: Sequence[str], seed: int) -> Interval:
    """Median of (N,) with its interval by patient."""
    return bootstrap(values, patients, seed, lambda v: np.median(v))


def _pearson(a: UInt8Array, b: UInt8Array) -> float:
    """Of two maps; a map without any contrast tells as much as its rival, so 1."""
    x, y = a.astype(np.float64).ravel(), b.astype(np.float64).ravel()
    x, y = x - x.mean(), y - y.mean()
    size = float(np.sqrt((x @ x) * (y @ y)))
    return float(x @ y) / size if size else 1.0
