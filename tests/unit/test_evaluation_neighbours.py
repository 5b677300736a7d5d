"""Copies are found; honest pictures are not flagged."""

from __future__ import annotations

import numpy as np
import pytest
from evaluation_films import image_set, random_encoder

from lungsynth.errors import DataError
from lungsynth.evaluation.common import ImageSet
from lungsynth.evaluation.copies.neighbours import MEASURES, Reference, evaluate_neighbours


def with_copy(samples: ImageSet, at: int, film: np.ndarray) -> ImageSet:
    """`samples` with a slightly noisy copy of `film` in place `at`."""
    noise = np.random.default_rng(0).normal(0, 0.6, film.shape)
    images = samples.images.copy()
    images[at] = np.clip(film + noise, 0, 255).round().astype(np.uint8)
    return ImageSet(images, samples.names, samples.fields)


def test_a_planted_copy_is_found_by_every_measure() -> None:
    train, test = image_set(40), image_set(20, seed=100)
    samples = with_copy(image_set(20, seed=200), 7, train.images[31])
    report, sheets = evaluate_neighbours(samples, train, test, random_encoder())
    assert "picture-207" in report["closer_than_test_0.1"]
    assert len(report["closer_than_test_0.1"]) < 10  # and not simply all of them
    line = report["pictures"][7]
    for measure in MEASURES:
        assert line[measure]["film"] == "picture-31", measure
        others = [p[measure]["distance"] for p in report["pictures"] if p is not line]
        assert line[measure]["distance"] < min(others), measure
        share = report["measures"][measure]["below_percentile_of_test"]["0.1"]["share"]
        assert share["value"] >= 1 / 20
    assert set(sheets) == {"encoder", "correlation"}
    # the copy leads the sheet: its first two cells look alike
    cells = np.asarray(sheets["correlation"].convert("L"), dtype=float)[:192]
    assert np.abs(cells[:, :192] - cells[:, 192:384]).mean() < 6


def test_test_films_against_themselves_are_not_suspicious() -> None:
    train, test = image_set(40), image_set(30, seed=100)
    report, _ = evaluate_neighbours(test, train, test, random_encoder())
    for measure in MEASURES:
        below = report["measures"][measure]["below_percentile_of_test"]
        assert below["5"]["share"]["value"] <= 0.07, measure


def test_search_agrees_with_comparing_every_pair() -> None:
    train, queries = image_set(30), image_set(5, seed=100)
    reference = Reference(train, random_encoder())
    found = reference.search(queries, batch_size=2)
    from lungsynth.model.encoder import embed

    features = embed(random_encoder(), queries.images).features
    every = np.linalg.norm(features[:, None] - reference.features[None], axis=2)
    np.testing.assert_array_equal(found["encoder"][1], every.argmin(1))
    np.testing.assert_allclose(found["encoder"][0], every.min(1), rtol=1e-6)


def test_empty_sets_are_refused() -> None:
    one, many = image_set(1), image_set(4)
    with pytest.raises(DataError, match=r"synthetic: 1 picture\(s\), need at least 2"):
        evaluate_neighbours(one, many, many, random_encoder())
