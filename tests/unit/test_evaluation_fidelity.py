"""Distances between sets, similarity of pairs."""

from __future__ import annotations

import numpy as np
import pytest
from evaluation_films import fields_of, image_set, picture, random_encoder

from lungsynth.errors import DataError, ShapeError
from lungsynth.evaluation.fidelity import (
    balanced,
    diversity,
    evaluate_fidelity,
    frechet_distance,
    kernel_distance,
    subsampled,
)
from lungsynth.evaluation.labels import film_labels
from lungsynth.evaluation.similarity import ms_ssim, ssim, thumbnails, unit_vectors


def test_frechet_of_a_set_with_itself_is_zero() -> None:
    x = np.random.default_rng(0).normal(size=(200, 6))
    assert frechet_distance(x, x) == pytest.approx(0, abs=1e-9)


def test_frechet_of_a_shift_is_its_square() -> None:
    x = np.random.default_rng(0).normal(size=(200, 6))
    shift = np.array([1.0, -2.0, 0.0, 0.5, 0.0, 0.0])
    assert frechet_distance(x, x + shift) == pytest.approx(float(shift @ shift))


def test_frechet_of_a_scaling_is_that_of_the_standard_deviations() -> None:
    x = np.random.default_rng(0).normal(size=(300, 4))
    x -= x.mean(0)
    expected = np.trace(np.cov(x, rowvar=False)) * (3 - 1) ** 2
    assert frechet_distance(x, 3 * x) == pytest.approx(float(expected))


def test_frechet_is_symmetric_for_correlated_features() -> None:
    rng = np.random.default_rng(1)
    x = rng.normal(size=(80, 5)) @ rng.normal(size=(5, 5))
    y = rng.normal(size=(90, 5)) @ rng.normal(size=(5, 5)) + 1
    assert frechet_distance(x, y) == pytest.approx(frechet_distance(y, x))


def test_kernel_distance_is_unbiased_and_grows_with_a_shift() -> None:
    rng = np.random.default_rng(0)
    same = [
        kernel_distance(rng.normal(size=(40, 3)), rng.normal(size=(40, 3))) for _ in range(200)
    ]
    assert abs(np.mean(same)) < 3 * np.std(same) / np.sqrt(len(same))
    assert min(same) < 0  # a biased estimate never is
    x, y = rng.normal(size=(200, 3)), rng.normal(size=(200, 3))
    assert kernel_distance(x, y + 0.5) < kernel_distance(x, y + 1.0)


def test_kernel_distance_by_hand() -> None:
    x, y = np.array([[1.0], [0.0]]), np.array([[2.0], [0.0]])
    # within x: k(1, 0) = 1; within y: 1; across: (27 + 1 + 1 + 1) / 4
    assert kernel_distance(x, y) == pytest.approx(1 + 1 - 2 * 30 / 4)


def test_subsamples_hold_half_of_each_set_without_repeats() -> None:
    seen: list[tuple[int, int]] = []

    def spy(a: np.ndarray, b: np.ndarray) -> float:
        seen.append((len(np.unique(a)), len(np.unique(b))))
        return float(len(seen))

    x = np.arange(20.0)[:, None]
    interval = subsampled(spy, x, x, 30, np.random.default_rng(0))
    assert set(seen) == {(10, 10)}
    assert len(seen) == 30
    assert interval.value == pytest.approx(15.5)
    assert interval.low < interval.value < interval.high


def test_balancing_keeps_as_many_of_each() -> None:
    fields = [fields_of(0)] * 12 + [fields_of(1)] * 5
    images = image_set(17, fields=fields)
    half = balanced(images, film_labels(fields)[:, 0], np.random.default_rng(0), "x")
    assert film_labels(half.fields)[:, 0].tolist() == [1] * 5 + [0] * 5
    assert len(set(half.names)) == 10


def test_balancing_without_children_names_the_switch() -> None:
    images = image_set(4, fields=[fields_of(1)] * 4)
    with pytest.raises(DataError, match=r"real test: 4 adult\(s\), 0 child.*--no-match"):
        balanced(images, np.zeros(4, dtype=np.int64), np.random.default_rng(0), "real test")


def test_darker_samples_are_farther_than_real_films() -> None:
    train, test = image_set(40), image_set(40, seed=100)
    report = evaluate_fidelity(
        image_set(40, seed=200, tone=160), train, test, random_encoder(), n_subsamples=20, n_pairs=8
    )["groups"]
    assert set(report) == {"all", "adults", "children"}
    for measure in ("frechet", "kernel"):
        values = report["all"][measure]
        assert values["synthetic"]["low"] > values["floor"]["high"]


def test_too_few_pictures_are_named() -> None:
    few, enough = image_set(6), image_set(40)
    with pytest.raises(DataError, match=r"synthetic: 6 picture\(s\), need at least 16"):
        evaluate_fidelity(few, enough, enough, random_encoder())


def test_ssim_of_flat_pictures_is_the_luminance_term() -> None:
    x, y = (np.full((1, 32, 32), v, dtype=np.uint8) for v in (51, 102))
    expected = (2 * 0.2 * 0.4 + 1e-4) / (0.2**2 + 0.4**2 + 1e-4)
    assert ssim(x, y)[0] == pytest.approx(expected, rel=1e-4)


def test_ssim_agrees_with_scikit_image() -> None:
    metrics = pytest.importorskip("skimage.metrics")
    x, y = picture(0, pixels=64), picture(1, pixels=64)
    # the reference pads at the border, so compare its map where windows fit whole
    _, reference = metrics.structural_similarity(
        x, y, gaussian_weights=True, sigma=1.5, use_sample_covariance=False, data_range=255,
        full=True,
    )  # fmt: skip
    assert ssim(x[None], y[None])[0] == pytest.approx(reference[5:-5, 5:-5].mean(), abs=1e-3)


def test_ms_ssim_orders_pairs() -> None:
    x = np.stack([picture(0), picture(0), picture(0)])
    noisy = np.clip(x[1] + np.random.default_rng(0).normal(0, 20, x[1].shape), 0, 255)
    y = np.stack([x[0], noisy.astype(np.uint8), picture(1)])
    same, near, far = ms_ssim(x, y)
    assert same == pytest.approx(1.0, abs=1e-5)
    assert same > near > far >= 0


def test_ms_ssim_refuses_small_pictures() -> None:
    x = np.zeros((1, 128, 128), dtype=np.uint8)
    with pytest.raises(ShapeError, match="128×128; need at least 176"):
        ms_ssim(x, x)
    with pytest.raises(ShapeError, match="two equal"):
        ssim(x, x[:, :64])


def test_copies_are_less_diverse() -> None:
    copies = image_set(6).take(np.zeros(6, dtype=np.int64))
    rng = np.random.default_rng(0)
    assert diversity(copies, 6, rng).value == pytest.approx(1.0, abs=1e-5)
    assert diversity(image_set(6), 6, rng).high < 0.9


def test_unit_vectors_give_correlations() -> None:
    x = thumbnails(np.stack([picture(0), picture(1)]), 16)
    vectors = unit_vectors(x)
    expected = np.corrcoef(x.reshape(2, -1))[0, 1]
    assert float(vectors[0] @ vectors[1]) == pytest.approx(expected, abs=1e-5)
    assert not unit_vectors(np.zeros((1, 4, 4), dtype=np.uint8)).any()
