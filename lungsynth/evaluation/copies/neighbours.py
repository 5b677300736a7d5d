"""Nearest training films of synthetic pictures: has the model memorised any?

A generator that copies lies closer to its training films than unseen films do. So the distances of
real test films to the training films give the scale: of a model that does not copy, about q % lie
below their q-th percentile.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import numpy as np
from PIL import Image

from lungsynth.arrays import Float64Array, IntArray, UInt8Array
from lungsynth.evaluation.common import ImageSet, Interval, need
from lungsynth.evaluation.similarity import ssim, thumbnails, unit_vectors
from lungsynth.evaluation.tables import aligned, percent
from lungsynth.images import contact_sheet
from lungsynth.model.encoder import Encoder, embed

MEASURES = ("encoder", "correlation", "ssim")
"""Euclidean distance of features; 1 - correlation; 1 - SSIM, both at 64 × 64."""

PERCENTILES = (0.1, 1.0, 5.0)
QUARTILES = {"min": 0, "q25": 25, "median": 50, "q75": 75}
N_CANDIDATES = 20  # encoder neighbours whose SSIM is measured
MIN_IMAGES = 2


Found = dict[str, tuple[Float64Array, IntArray]]
"""Measure -> (N,) distance to the nearest training film of each picture, and (N,) its row."""


class Reference:
    """Training films, ready to be searched."""

    def __init__(self, films: ImageSet, encoder: Encoder, *, quiet: bool = True) -> None:
        self.films, self.encoder, self.quiet = films, encoder, quiet
        self.features = embed(encoder, films.images, quiet=quiet).features
        self.small = thumbnails(films.images)
        self.vectors = unit_vectors(self.small)

    def search(self, queries: ImageSet, *, batch_size: int = 64) -> Found:
        """Nearest training film of every query.

        Features and correlation are compared with every training film, SSIM with the
        `N_CANDIDATES` nearest by features.

        Args:
            queries: N pictures.
            batch_size: Pictures at a time; changes nothing but memory.
        """
        features = embed(self.encoder, queries.images, quiet=self.quiet).features
        small = thumbnails(queries.images)
        found = [
            self._search(features[start : start + batch_size], small[start : start + batch_size])
            for start in range(0, len(queries), batch_size)
        ]
        return {
            m: (
                np.concatenate([one[m][0] for one in found]),
                np.concatenate([one[m][1] for one in found]),
            )
            for m in MEASURES
        }

    def _search(self, features: Float64Array, small: UInt8Array) -> Found:
        rows = np.arange(len(features))
        square = (
            (features**2).sum(1)[:, None]
            + (self.features**2).sum(1)[None]
            - 2 * features @ self.features.T
        )
        n_candidates = min(N_CANDIDATES, len(self.features))
        near = np.argpartition(square, n_candidates - 1, axis=1)[:, :n_candidates]
        by_encoder = near[rows, np.take_along_axis(square, near, 1).argmin(1)]
        exact = np.linalg.norm(features - self.features[by_encoder], axis=1)
        correlation = unit_vectors(small) @ self.vectors.T
        by_correlation = correlation.argmax(1)
        likeness = ssim(np.repeat(small, n_candidates, axis=0), self.small[near.ravel()]).reshape(
            near.shape
        )
        best = likeness.argmax(1)
        return {
            "encoder": (exact, by_encoder),
            "correlation": (
                1.0 - correlation[rows, by_correlation].astype(np.float64),
                by_correlation,
            ),
            "ssim": (1.0 - likeness[rows, best], near[rows, best]),
        }


def evaluate_neighbours(
    synthetic: ImageSet,
    train: ImageSet,
    test: ImageSet,
    encoder: Encoder,
    *,
    seed: int = 0,
    quiet: bool = True,
) -> tuple[dict[str, Any], dict[str, Image.Image]]:
    """Distances to the nearest training film, of synthetic pictures and of real test films.

    Args:
        synthetic: Pictures.
        train: Every film the generator was trained on.
        test: Real films it was not trained on.
        encoder: What measures features.
        seed: Of the bootstrap.
        quiet: No progress bar.

    Returns:
        JSON with a summary by measure and a line a picture; and contact sheets of the 16 closest
        pairs by encoder and by correlation (synthetic left, training film right).

    Raises:
        DataError: a set has fewer than 2 pictures.
    """
    for what, images in (("synthetic", synthetic), ("real train", train), ("real test", test)):
        need(images, MIN_IMAGES, what)
    reference = Reference(train, encoder, quiet=quiet)
    drawn, real = reference.search(synthetic), reference.search(test)
    rng = np.random.default_rng(seed)
    summary: dict[str, Any] = {}
    suspects: set[int] = set()
    for measure in MEASURES:
        ours, theirs = drawn[measure][0], real[measure][0]
        below = shares_below(ours, theirs, rng)
        suspects |= set(np.flatnonzero(ours < below["0.1"]["threshold"]).tolist())
        summary[measure] = {
            "synthetic": percentiles(ours, QUARTILES),
            "real_test": percentiles(theirs, QUARTILES),
            "below_percentile_of_test": below,
        }
    pairs = [
        {
            "picture": synthetic.names[i],
            **{
                m: {
                    "film": train.names[drawn[m][1][i]],
                    "distance": float(f"{drawn[m][0][i]:.6g}"),
                }
                for m in MEASURES
            },
        }
        for i in range(len(synthetic))
    ]
    report = {
        "n": {"synthetic": len(synthetic), "train": len(train), "test": len(test)},
        "measures": summary,
        "closer_than_test_0.1": sorted(synthetic.names[i] for i in suspects),
        "pictures": pairs,
        "seed": seed,
    }
    sheets = {m: closest_sheet(synthetic, train, *drawn[m]) for m in ("encoder", "correlation")}
    return report, sheets


def percentiles(values: Float64Array, points: Mapping[str, float]) -> dict[str, float]:
    """Name -> the percentile of that number, to 6 significant digits."""
    return {name: float(f"{np.percentile(values, q):.6g}") for name, q in points.items()}


def shares_below(
    ours: Float64Array, theirs: Float64Array, rng: np.random.Generator
) -> dict[str, dict[str, Any]]:
    """Percentile of real test films' distances -> that distance, and the share of ours below it."""
    below = {}
    for q in PERCENTILES:
        threshold = float(np.percentile(theirs, q))
        share = float((ours < threshold).mean())
        draws = rng.binomial(len(ours), share, 1000) / len(ours)
        below[f"{q:g}"] = {"threshold": threshold, "share": Interval.of(share, draws).report()}
    return below


def closest_sheet(
    pictures: ImageSet,
    films: ImageSet,
    distances: Float64Array,
    indices: IntArray,
    n_pairs: int = 16,
) -> Image.Image:
    """The closest pairs, four a row: picture, then its nearest film."""
    shown: list[Image.Image] = []
    labels: list[str] = []
    for i in np.argsort(distances, kind="stable")[:n_pairs]:
        film = int(indices[i])
        shown += [Image.fromarray(pictures.images[i]), Image.fromarray(films.images[film])]
        labels += [f"{distances[i]:.3f} {pictures.names[i]}", f"film {films.names[film]}"]
    return contact_sheet(shown, labels, n_columns=8, pixels=192)


def neighbours_table(report: dict[str, Any]) -> str:
    """Text table: a line a measure; medians, and shares below the percentiles of test films."""
    rows = []
    for measure, values in report["measures"].items():
        pairs = [values[side][k] for k in ("median", "min") for side in ("synthetic", "real_test")]
        below = values["below_percentile_of_test"]
        shares = [percent(below[f"{q:g}"]["share"]) for q in PERCENTILES]
        rows.append([measure, *(f"{one:.4g}" for one in pairs), *shares])
    head = ["measure", "median", "of test", "closest", "of test"]
    head += [f"% below {q:g} % of test" for q in PERCENTILES]
    end = f"{len(report['closer_than_test_0.1'])} picture(s) to look at (in the JSON)"
    return "\n".join([*aligned(head, rows), end])
