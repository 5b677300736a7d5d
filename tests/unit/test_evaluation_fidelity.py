"""Distances between sets, similarity of pairs."""

from __future__ import annotations

import warnings

import numpy as np
import pytest
import torch
from evaluation_films import fields_of, image_set, picture, random_encoder

from lungsynth.errors import DataError
from lungsynth.evaluation.common import ImageSet
from lungsynth.evaluation.fidelity.distances import frechet_distance, kernel_distance, subsampled
from lungsynth.evaluation.fidelity.extractors import EncoderExtractor, RadiomicsExtractor
from lungsynth.evaluation.fidelity.manifolds import Distances, precision_recall_density_coverage
from lungsynth.evaluation.fidelity.measure import (
    FLOORS,
    FidelityOptions,
    balanced,
    diversity,
    evaluate_fidelity,
    fidelity_table,
    manifold_measures,
)
from lungsynth.evaluation.similarity import SCALE_WEIGHTS, ms_ssim, ssim, thumbnails, unit_vectors
from lungsynth.evaluation.words.labels import film_labels


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
    same = [kernel_distance(rng.normal(size=(40, 3)), rng.normal(size=(40, 3))) for _ in range(200)]
    assert abs(np.mean(same)) < 3 * np.std(same) / np.sqrt(len(same))
    assert min(same) < 0  # a biased estimate never is
    x, y = rng.normal(size=(200, 3)), rng.normal(size=(200, 3))
    assert kernel_distance(x, y + 0.5) < kernel_distance(x, y + 1.0)


def test_kernel_distance_by_hand() -> None:
    x, y = np.array([[1.0], [0.0]]), np.array([[2.0], [0.0]])
    # within x: k(1, 0) = 1; within y: 1; across: (27 + 1 + 1 + 1) / 4
    assert kernel_distance(x, y) == pytest.approx(1 + 1 - 2 * 30 / 4)


class Passing(torch.nn.Module):
    """Hands features through torchmetrics, which expects a network of pictures."""

    def __init__(self, width: int) -> None:
        super().__init__()
        self.num_features = width

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        return x.flatten(1).double()


def sets_of_features() -> tuple[np.ndarray, np.ndarray]:
    rng = np.random.default_rng(3)
    return (
        rng.normal(size=(90, 6)) @ rng.normal(size=(6, 6)),
        rng.normal(size=(80, 6)) @ rng.normal(size=(6, 6)) + 0.5,
    )


def given_to(metric: torch.nn.Module, x: np.ndarray, y: np.ndarray) -> torch.nn.Module:
    """A metric of torchmetrics with x as the real pictures and y as the others."""
    for features, real in ((x, True), (y, False)):
        metric.update(torch.from_numpy(features)[:, :, None, None], real=real)  # type: ignore[operator]
    return metric


def test_frechet_agrees_with_torchmetrics() -> None:
    from torchmetrics.image.fid import FrechetInceptionDistance

    x, y = sets_of_features()
    metric = FrechetInceptionDistance(Passing(6), input_img_size=(6, 1, 1)).set_dtype(torch.float64)
    told = float(given_to(metric, x, y).compute())
    assert frechet_distance(x, y) == pytest.approx(told, rel=1e-6)


def test_kernel_distance_agrees_with_torchmetrics() -> None:
    from torchmetrics.image.kid import KernelInceptionDistance

    x, y = sets_of_features()
    x = x[:80]  # one subset of all pictures: nothing is left to chance but their order
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", UserWarning)  # it warns that it keeps all features
        metric = KernelInceptionDistance(Passing(6), subsets=1, subset_size=80)
    mean, _ = given_to(metric, x, y).compute()
    assert kernel_distance(x, y) == pytest.approx(float(mean), rel=1e-5)


@pytest.mark.parametrize("shift", [0.0, 0.4, 3.0])
def test_precision_recall_density_coverage_agree_with_prdc(shift: float) -> None:
    from prdc import compute_prdc

    x, y = sets_of_features()
    y = y + shift
    told = compute_prdc(real_features=x, fake_features=y, nearest_k=5)
    ours = precision_recall_density_coverage(Distances.of(x, y), 5)
    assert ours == pytest.approx({k: float(v) for k, v in told.items()})
    assert 0 < ours["precision"] < 1 or shift == 3.0


def test_sets_of_one_distribution_cover_each_other() -> None:
    rng = np.random.default_rng(0)
    x, y = rng.normal(size=(400, 3)), rng.normal(size=(400, 3))
    told = precision_recall_density_coverage(Distances.of(x, y))
    assert told["density"] == pytest.approx(1, abs=0.15)
    assert told["coverage"] == pytest.approx(1 - 2**-5, abs=0.03)
    assert min(told["precision"], told["recall"]) > 0.9


def test_precision_sees_outliers_and_recall_and_coverage_a_missing_mode() -> None:
    rng = np.random.default_rng(0)
    modes = np.repeat([[0.0, 0.0], [20.0, 0.0]], 100, axis=0)
    real = modes + rng.normal(size=(200, 2))
    one = rng.normal(size=(200, 2))
    missed = precision_recall_density_coverage(Distances.of(real, one))
    assert missed["recall"] == pytest.approx(0.5, abs=0.1)
    assert missed["coverage"] == pytest.approx(0.5, abs=0.1)
    assert missed["precision"] > 0.9
    strange = modes + rng.normal(size=(200, 2))
    strange[:50] += 500 + 100 * np.arange(50)[:, None]
    told = precision_recall_density_coverage(Distances.of(real, strange))
    assert told["precision"] == pytest.approx(0.75, abs=0.05)


def test_far_from_zero_the_measures_are_the_same() -> None:
    x, y = sets_of_features()
    near, far = (precision_recall_density_coverage(Distances.of(x + c, y + c)) for c in (0.0, 1e6))
    assert near == pytest.approx(far)


def test_parts_of_distances_are_those_of_parts() -> None:
    x, y = sets_of_features()
    rows, columns = np.arange(0, 90, 2), np.arange(5, 60)
    part, fresh = Distances.of(x, y).part(rows, columns), Distances.of(x[rows], y[columns])
    assert np.allclose(part.across, fresh.across) and np.allclose(part.drawn, fresh.drawn)
    assert np.allclose(part.real, fresh.real)


def test_intervals_of_the_measures_are_of_halves() -> None:
    x, y = sets_of_features()
    told = manifold_measures(y, x, 20, np.random.default_rng(0))
    whole = precision_recall_density_coverage(Distances.of(x, y))
    assert {k: v["all_pictures"] for k, v in told.items()} == pytest.approx(whole, rel=1e-5)
    for values in told.values():
        assert values["low"] <= values["value"] <= values["high"]


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
    extractor = EncoderExtractor(random_encoder(), "ab")
    report = evaluate_fidelity(
        image_set(40, seed=200, tone=160),
        train,
        test,
        extractor,
        FidelityOptions(n_subsamples=20, n_pairs=8),
    )
    groups = report["groups"]
    assert set(groups) == {"all", "adults", "children"}
    for measure in ("frechet", "kernel"):
        values = groups["all"][measure]
        assert values["synthetic"]["low"] > values["floor"]["high"]
    for measure in ("precision", "coverage"):
        assert groups["all"][measure]["synthetic"]["high"] < groups["all"][measure]["floor"]["low"]
    told = groups["all"]["frechet"]
    ratio = told["synthetic"]["value"] / told["floor"]["value"]
    assert told["ratio"] == pytest.approx(ratio, rel=1e-4)
    about = report["extractor"]
    assert (about["name"], about["checksum"], about["features"]) == ("lungsynth", "ab", 8)
    table = fidelity_table(report)
    assert all(f"  {measure} " in table for measure in FLOORS)
    assert "features: 8 of lungsynth ab" in table and "biased" not in table


def test_radiomic_distances_stand_beside_their_floor_and_say_they_are_biased() -> None:
    noise = np.random.default_rng(0).normal(0, 25, (16, 256, 256))
    drawn = image_set(16, seed=200)
    rough = ImageSet(
        (drawn.images + noise).clip(0, 255).astype(np.uint8), drawn.names, drawn.fields
    )
    report = evaluate_fidelity(
        rough,
        image_set(16),
        image_set(16, seed=100),
        RadiomicsExtractor(),
        FidelityOptions(match=False, n_subsamples=20, n_pairs=2),
    )
    told = report["groups"]["all"]["kernel"]
    assert told["synthetic"]["low"] > told["floor"]["high"]
    table = fidelity_table(report)
    assert "Frechet distances of 8 pictures in 96 features are biased" in table


def test_too_few_pictures_are_named() -> None:
    few, enough = image_set(6), image_set(40)
    with pytest.raises(DataError, match=r"synthetic: 6 picture\(s\), need at least 16"):
        evaluate_fidelity(few, enough, enough, EncoderExtractor(random_encoder()))


def test_ssim_of_flat_pictures_is_the_luminance_term() -> None:
    x, y = (np.full((1, 32, 32), v, dtype=np.uint8) for v in (51, 102))
    expected = (2 * 0.2 * 0.4 + 1e-4) / (0.2**2 + 0.4**2 + 1e-4)
    assert ssim(x, y)[0] == pytest.approx(expected, rel=1e-4)


def test_ssim_agrees_with_scikit_image() -> None:
    metrics = pytest.importorskip("skimage.metrics")
    x, y = picture(0, pixels=64), picture(1, pixels=64)
    # the reference pads at the border, so compare its map where windows fit whole
    _, reference = metrics.structural_similarity(
        x,
        y,
        gaussian_weights=True,
        sigma=1.5,
        use_sample_covariance=False,
        data_range=255,
        full=True,
    )
    assert ssim(x[None], y[None])[0] == pytest.approx(reference[5:-5, 5:-5].mean(), abs=1e-3)


def test_ms_ssim_orders_pairs() -> None:
    x = np.stack([picture(0), picture(0), picture(0)])
    noisy = np.clip(x[1] + np.random.default_rng(0).normal(0, 20, x[1].shape), 0, 255)
    y = np.stack([x[0], noisy.astype(np.uint8), picture(1)])
    same, near, far = ms_ssim(x, y)
    assert same == pytest.approx(1.0, abs=1e-5)
    assert same > near > far >= 0


def test_ms_ssim_agrees_with_torchmetrics() -> None:
    from torchmetrics.functional.image import structural_similarity_index_measure as index
    from torchmetrics.functional.image.ssim import _ssim_update

    x = np.stack([picture(0), picture(1)])
    y = np.stack([picture(2), np.clip(x[1] + 9.0, 0, 255).astype(np.uint8)])
    a, b = (torch.from_numpy(z)[:, None].float() / 255 for z in (x, y))
    expected = torch.ones(2)
    for scale, weight in enumerate(SCALE_WEIGHTS):
        if scale:
            a, b = (torch.nn.functional.avg_pool2d(z, 2) for z in (a, b))
        _, value = _ssim_update(a, b, data_range=1.0, return_contrast_sensitivity=True)
        if scale == len(SCALE_WEIGHTS) - 1:
            # its own last scale also counts windows that reach over the border
            _, whole = index(a, b, data_range=1.0, reduction=None, return_full_image=True)
            value = whole[..., 5:-5, 5:-5].mean((1, 2, 3))
        expected *= value.clamp_min(0) ** weight
    assert ms_ssim(x, y) == pytest.approx(expected.double().numpy(), abs=1e-4)


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
