"""Fidelity and diversity: how far synthetic pictures are from real test films as a set.

A distance has no meaning alone: it depends on the number of pictures and on the mix. So every
distance stands beside its floor, the same distance between real training films and the same test
films with the same number of each.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import numpy as np
from numpy.typing import NDArray

from lungsynth.errors import DataError
from lungsynth.evaluation.common import ImageSet, Interval, need
from lungsynth.evaluation.encoder import Encoder, embed
from lungsynth.evaluation.labels import UNKNOWN, asked_labels, film_labels
from lungsynth.evaluation.similarity import ms_ssim

Array = NDArray[np.float64]
Distance = Callable[[Array, Array], float]
MIN_IMAGES = 16  # of each set


def frechet_distance(x: Array, y: Array) -> float:
    """Squared Frechet distance of two Gaussians fitted to features.

    `|μ_x - μ_y|² + tr(C_x + C_y - 2 (C_x C_y)^½)`, with the trace of the root taken from the
    eigenvalues of `C_x^½ C_y C_x^½`, which is symmetric.

    Args:
        x: (N, D) features.
        y: (M, D) features.

    Source:
        Heusel et al., NeurIPS 2017; here on our own encoder's features, so not comparable to
        distances on Inception features.
    """
    gap = x.mean(0) - y.mean(0)
    cov_x, cov_y = np.cov(x, rowvar=False), np.cov(y, rowvar=False)
    values, vectors = np.linalg.eigh(cov_x)
    root = (vectors * np.sqrt(np.clip(values, 0, None))) @ vectors.T
    inner = np.linalg.eigvalsh(root @ cov_y @ root)
    cross = np.sqrt(np.clip(inner, 0, None)).sum()
    return float(gap @ gap + np.trace(cov_x) + np.trace(cov_y) - 2 * cross)


def kernel_distance(x: Array, y: Array) -> float:
    """Unbiased squared maximum mean discrepancy with the kernel `(x·y / D + 1)³`.

    Args:
        x: (N, D) features, N > 1.
        y: (M, D) features, M > 1.

    Returns:
        About 0 for sets of one distribution; may be slightly negative.

    Source:
        Binkowski et al., "Demystifying MMD GANs", ICLR 2018.
    """
    n_x, n_y = len(x), len(y)

    def kernel(a: Array, b: Array) -> Array:
        return (a @ b.T / a.shape[1] + 1.0) ** 3

    within_x, within_y = kernel(x, x), kernel(y, y)
    return float(
        (within_x.sum() - np.trace(within_x)) / (n_x * (n_x - 1))
        + (within_y.sum() - np.trace(within_y)) / (n_y * (n_y - 1))
        - 2 * kernel(x, y).mean()
    )


def subsampled(
    distance: Distance, x: Array, y: Array, n_subsamples: int, rng: np.random.Generator
) -> Interval:
    """A distance with its interval, over random halves of both sets.

    Halves drawn without replacement spread about as much as fresh sets of the full number would,
    and unlike a bootstrap hold no picture twice.

    Args:
        distance: Of two feature arrays.
        x: (N, D) features.
        y: (M, D) features.
        n_subsamples: Pairs of halves.
        rng: Source of randomness.

    Returns:
        Mean and 2.5-97.5 percentiles over the halves; all of it at N/2 pictures a set.
    """
    draws = np.array([
        distance(
            x[rng.choice(len(x), len(x) // 2, replace=False)],
            y[rng.choice(len(y), len(y) // 2, replace=False)],
        )
        for _ in range(n_subsamples)
    ])  # fmt: skip
    return Interval.of(float(draws.mean()), draws)


def diversity(images: ImageSet, n_pairs: int, rng: np.random.Generator) -> Interval:
    """Mean MS-SSIM of random pairs of different pictures; lower is more diverse.

    Args:
        images: At least 2 pictures.
        n_pairs: Pairs drawn.
        rng: Source of randomness.
    """
    first = rng.integers(0, len(images), n_pairs)
    second = (first + rng.integers(1, len(images), n_pairs)) % len(images)
    values = ms_ssim(images.images[first], images.images[second])
    times = rng.multinomial(n_pairs, np.full(n_pairs, 1.0 / n_pairs), size=1000)
    return Interval.of(float(values.mean()), times @ values / n_pairs)


def balanced(
    images: ImageSet, ages: NDArray[np.int64], rng: np.random.Generator, what: str
) -> ImageSet:
    """As many adults as children: all of the fewer, a draw of the others.

    Args:
        images: Pictures.
        ages: (N,) index into `HEADS["age_group"]`.
        rng: Source of randomness.
        what: Name of the set, for the error.

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


def evaluate_fidelity(
    synthetic: ImageSet, train: ImageSet, test: ImageSet, encoder: Encoder, *, match: bool = True,
    n_subsamples: int = 40, n_pairs: int = 200, seed: int = 0, quiet: bool = True,
) -> dict[str, Any]:  # fmt: skip
    """Distances of synthetic pictures and of real training films to real test films.

    Args:
        synthetic: Pictures; `age_group` or `age` in the fields adds results by age group.
        train: Real films for the floor.
        test: Real films that everything is compared with.
        encoder: What measures.
        match: Balance adults and children in every set whose ages are known.
        n_subsamples: Random halves behind each interval.
        n_pairs: Random pairs behind each MS-SSIM.
        seed: Of every draw.
        quiet: No progress bar.

    Returns:
        JSON: `{"groups": {"all" | "children" | "adults": …}, "match": …}`.

    Raises:
        DataError: a set has fewer than `MIN_IMAGES` pictures, or balancing lacks a group.
    """
    rng = np.random.default_rng(seed)
    sets = {"synthetic": synthetic, "real train": train, "real test": test}
    ages = {
        k: (asked_labels if k == "synthetic" else film_labels)(v.fields)[:, 0]
        for k, v in sets.items()
    }
    chosen = dict(sets)
    if match:
        chosen = {
            k: v if (ages[k] == UNKNOWN).any() else balanced(v, ages[k], rng, k)
            for k, v in sets.items()
        }
    groups = {"all": chosen}
    for index, name in enumerate(("adults", "children")):
        of_group = {k: v.take(np.flatnonzero(ages[k] == index)) for k, v in sets.items()}
        if min(len(v) for v in of_group.values()) >= MIN_IMAGES:
            groups[name] = of_group
    report = {
        name: _compare(group, encoder, n_subsamples, n_pairs, seed, quiet)
        for name, group in groups.items()
    }
    return {"groups": report, "match": match, "n_subsamples": n_subsamples, "seed": seed}


def _compare(
    sets: dict[str, ImageSet], encoder: Encoder, n_subsamples: int, n_pairs: int, seed: int,
    quiet: bool,
) -> dict[str, Any]:  # fmt: skip
    for what, images in sets.items():
        need(images, MIN_IMAGES, what)
    n_images = min(len(v) for v in sets.values())
    sets = {k: v.limited(n_images, seed + i) for i, (k, v) in enumerate(sets.items())}
    features = {k: embed(encoder, v.images, quiet=quiet).features for k, v in sets.items()}
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
    out["ms_ssim"] = {
        "synthetic": diversity(sets["synthetic"], n_pairs, rng).report(),
        "real": diversity(sets["real test"], n_pairs, rng).report(),
    }
    return out


def fidelity_table(report: dict[str, Any]) -> str:
    """Text table: a line a group and measure, synthetic beside real."""
    lines = [f"{'group':<10}{'n':>5}  {'measure':<10}{'synthetic':<28}{'real':<28}"]
    for group, values in report["groups"].items():
        for measure, real in (("frechet", "floor"), ("kernel", "floor"), ("ms_ssim", "real")):
            cells = [
                Interval(*(values[measure][key][k] for k in ("value", "low", "high")))
                for key in ("synthetic", real)
            ]
            lines.append(
                f"{group:<10}{values['n']:>5}  {measure:<10}{cells[0]!s:<28}{cells[1]!s:<28}"
            )
    lines.append("real: distances of training films to the same test films; MS-SSIM of real pairs")
    return "\n".join(line.rstrip() for line in lines)

