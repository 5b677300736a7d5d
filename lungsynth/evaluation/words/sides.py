"""Is the side of a finding obeyed? Pairs of prompts equal but for left ↔ right, drawn with one seed.

    left, right, normal prompt, one seed -> three pictures, lungs of the normal one
    left picture - right picture         -> which lung is brighter when its side is asked for
    picture - normal picture             -> which lung brightened more

Sides are the patient's, as radiologists' texts have them. The finding is taken to be an opacity, so
the asked lung should turn brighter. A model that ignores the side gives chance.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from itertools import pairwise
from typing import Any

import numpy as np

from lungsynth.arrays import Float64Array, UInt8Array
from lungsynth.errors import DataError
from lungsynth.evaluation.common import Interval, resample_clusters
from lungsynth.evaluation.copies.memorisation import proportion
from lungsynth.evaluation.tables import aligned, confusion, percent, shown
from lungsynth.evaluation.words.judgement import balanced_accuracy

SIDES = ("left", "right")
LUNG_IDS = {"left": 1, "right": 2}  # in `Pair.lungs`
MIN_PAIRS = 4
MIN_LUNG = 0.02  # share of the picture; a smaller lung is not measured
ROUNDING = 2  # grey levels; what batched products may move, and so no difference
CLEAR = 5  # grey levels of contrast from which a side can be seen


@dataclass(frozen=True, slots=True)
class Pair:
    """Three pictures of one seed, (H, W) uint8, and the lungs of the normal one."""

    left: UInt8Array
    right: UInt8Array
    normal: UInt8Array
    lungs: UInt8Array  # 1 = the patient's left lung, 2 = the right, 0 = neither
    finding: str

    def has_lungs(self) -> bool:
        """Both lungs are there to be measured."""
        return all(float((self.lungs == one).mean()) >= MIN_LUNG for one in LUNG_IDS.values())

    def differs(self) -> bool:
        """The side changed some pixel by more than rounding does."""
        return bool(np.abs(_minus(self.left, self.right)).max() > ROUNDING)


def _minus(a: UInt8Array, b: UInt8Array) -> Float64Array:
    return a.astype(np.float64) - b.astype(np.float64)


def lung_means(values: Float64Array, lungs: UInt8Array) -> tuple[float, float]:
    """Mean of (H, W) values in the patient's left and in the right lung."""
    left, right = (float(values[lungs == LUNG_IDS[side]].mean()) for side in SIDES)
    return left, right


def swap_contrast(pair: Pair) -> float:
    """Grey levels by which the swap brightens the asked lung more than the other, twice.

    Of `left - right`: its mean in the left lung minus its mean in the right lung. Positive where the
    side is obeyed; a change of the whole picture, or one that comes with either side, cancels.
    """
    in_left, in_right = lung_means(_minus(pair.left, pair.right), pair.lungs)
    return in_left - in_right


def changed_side(picture: UInt8Array, pair: Pair) -> int:
    """Index into `SIDES` of the lung that turned brighter than in the pair's normal picture."""
    change = np.clip(_minus(picture, pair.normal), 0, None)
    in_left, in_right = lung_means(change, pair.lungs)
    return 0 if in_left > in_right else 1


def swap_share(pairs: Sequence[Pair], seed: int) -> dict[str, Any]:
    """How often the swap brightens the asked lung: exact interval over the pairs that differ.

    Pairs whose two pictures are the same say nothing, and do not count.
    """
    contrast = np.array([swap_contrast(pair) for pair in pairs if pair.differs()])
    n, count = len(contrast), int((contrast > 0).sum())
    if n == 0:
        unknown, none = Interval(0.5, 0.0, 1.0), Interval(0.0, 0.0, 0.0)
        return {**unknown.report(), "count": 0, "n": 0, "contrast": none.report()}
    times = np.random.default_rng(seed).integers(0, n, (1000, n))
    return {
        **proportion(count, n).report(),
        "count": count,
        "n": n,
        "contrast": Interval.of(float(contrast.mean()), contrast[times].mean(1)).report(),
    }


def side_confusion(pairs: Sequence[Pair], seed: int) -> dict[str, Any]:
    """Asked side against the lung that brightened more; interval by bootstrap over pairs."""
    counts = np.zeros((len(pairs), 2, 2))
    for row, pair in zip(counts, pairs, strict=True):
        for asked, picture in enumerate((pair.left, pair.right)):
            row[asked, changed_side(picture, pair)] += 1
    draws = resample_clusters(counts, np.random.default_rng(seed), 1000)
    share = Interval.of(float(balanced_accuracy(counts.sum(0))), balanced_accuracy(draws))
    return {
        "n": 2 * len(pairs),
        "classes": list(SIDES),
        "share": share.report(),
        "confusion": counts.sum(0).astype(int).tolist(),
    }


def verdict(swap: Mapping[str, Any]) -> str:
    """What `swap_share` says."""
    low, high = swap["low"], swap["high"]
    if swap["n"] == 0:
        return "it changes nothing"
    if low > 0.5:
        return "obeyed more often than chance"
    if high < 0.5:
        return "the other side more often than chance"
    return "not distinguishable from chance"


def evaluate_sides(pairs: Sequence[Pair], *, seed: int = 0) -> dict[str, Any]:
    """How often the asked side is the one that changes.

    Args:
        pairs: Drawn with one seed each.
        seed: Of the bootstrap.

    Returns:
        JSON. `n_differ` of `n_pairs` change at all when the side is swapped, by `difference` grey
        levels (`swap`), beside what the finding and another seed change. Of those with both lungs:
        `swap`, share of differing pairs whose asked lung turns brighter; `clear`, share of all pairs
        where it does so by `CLEAR` grey levels against the other; `opacity`, asked side against the
        lung that turned brighter than in the normal picture; `findings`, `swap` by finding;
        `verdict`, of `swap`.

    Raises:
        DataError: fewer than `MIN_PAIRS` pairs have two lungs.
    """
    measured = [pair for pair in pairs if pair.has_lungs()]
    if len(measured) < MIN_PAIRS:
        raise DataError(
            f"{len(measured)} of {len(pairs)} pairs show both lungs; need at least {MIN_PAIRS}. Raise "
            "--pairs, or take a checkpoint that draws chests."
        )
    swap = swap_share(measured, seed)
    clear = sum(swap_contrast(pair) >= CLEAR for pair in measured)
    findings = sorted({pair.finding for pair in measured})
    others = [np.abs(_minus(a.left, b.left)).mean() for a, b in pairwise(pairs)]
    changes = {
        "swap": [np.abs(_minus(p.left, p.right)).mean() for p in pairs],
        "finding": [np.abs(_minus(x, p.normal)).mean() for p in pairs for x in (p.left, p.right)],
        "other_seed": others,
    }
    differing = sum(pair.differs() for pair in pairs)
    return {
        "n_pairs": len(pairs),
        "n_measured": len(measured),
        "n_differ": differing,
        "differ": proportion(differing, len(pairs)).report(),
        "difference": {k: float(f"{np.mean(v):.6g}") for k, v in changes.items()},
        "swap": swap,
        "clear": {
            **proportion(clear, len(measured)).report(),
            "count": clear,
            "n": len(measured),
            "levels": CLEAR,
        },
        "opacity": side_confusion(measured, seed),
        "findings": {
            name: swap_share([p for p in measured if p.finding == name], seed) for name in findings
        },
        "verdict": verdict(swap),
        "seed": seed,
    }


def sides_table(report: dict[str, Any]) -> str:
    """Text: the shares, and the confusion matrix."""
    change, swap, clear, opacity = (report[k] for k in ("difference", "swap", "clear", "opacity"))
    rows: list[list[object]] = [
        ["swap: asked lung brighter", swap["n"], percent(swap)],
        [f"clear: by {CLEAR} grey levels or more, of all", clear["n"], percent(clear)],
    ]
    rows += [[f"  swap, {k}", told["n"], percent(told)] for k, told in report["findings"].items()]
    rows.append(["opacity: brighter, against normal", opacity["n"], percent(opacity["share"])])
    lines = [
        f"{report['n_differ']} of {report['n_pairs']} pairs differ when the side is swapped, by "
        f"{change['swap']:.2f} grey levels (finding against normal: {change['finding']:.2f}; another "
        f"seed: {change['other_seed']:.2f}). {report['n_measured']} show both lungs.",
        "",
        *aligned(["measure", "n", "on the asked side %"], rows),
        f"Side: {report['verdict']} (of swap; chance is 50 %); mean contrast "
        f"{shown(swap['contrast'], 2, sign=True)} grey levels.",
        *confusion(
            "opacity (rows asked, columns lung that brightened more)", SIDES, opacity["confusion"]
        ),
    ]
    return "\n".join(lines)
