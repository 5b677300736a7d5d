"""Thresholds."""

from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from lungsynth.errors import ConfigError, MaskError
from lungsynth.masks.coarse import (
    THRESHOLDS,
    check_map,
    class_level,
    coarse_mask,
    gamma,
    gmm,
    half,
    otsu,
    shift_background,
)


def two_levels() -> np.ndarray:
    heat = np.full((12, 20), 0.2, np.float32)
    heat[3:9, 4:11] = 0.9
    return heat + np.random.default_rng(0).normal(0, 0.02, heat.shape).astype(np.float32)


def test_otsu_parts_two_levels() -> None:
    heat = two_levels()
    assert 0.25 < otsu(heat) < 0.85
    expected = np.zeros((12, 20), bool)
    expected[3:9, 4:11] = True
    assert (coarse_mask(heat) != expected).mean() < 0.02  # the threshold is the centre of a bin
    assert np.array_equal(coarse_mask(heat, "half"), expected)


def test_half_is_half_and_otsu_stands_in_where_it_finds_nothing() -> None:
    heat = two_levels()
    assert half(heat) == 0.5
    assert np.array_equal(coarse_mask(heat * 0.4, "half"), coarse_mask(heat, "otsu"))
    assert np.array_equal(coarse_mask(heat * 0.3 + 0.7, "half"), coarse_mask(heat, "otsu"))


@settings(max_examples=60, deadline=None)
@given(
    seed=st.integers(0, 10**6),
    scale=st.floats(1e-3, 1e3),
    method=st.sampled_from(sorted(THRESHOLDS)),
)
def test_a_mask_is_never_empty_and_never_everything(seed: int, scale: float, method: str) -> None:
    heat = (np.random.default_rng(seed).random((7, 5)) * scale).astype(np.float32)
    mask = coarse_mask(heat, method)
    assert mask.any() and not mask.all() and mask.dtype == bool


@pytest.mark.parametrize(
    "heat",
    [
        np.zeros((4, 4)),
        np.full((4, 4), 0.7),
        np.full((4, 4), np.nan),
        np.zeros((4, 4, 1)),
        np.array([[0.0, 1.0]]),
        np.array([[0.0, np.inf], [0, 1]]),
        np.zeros((0, 0)),
    ],
)
@pytest.mark.parametrize("method", sorted(THRESHOLDS))
def test_maps_that_say_nothing_are_refused(heat: np.ndarray, method: str) -> None:
    with pytest.raises(MaskError, match="`heat`"):
        coarse_mask(heat, method)


def test_a_flat_map_says_what_to_do() -> None:
    with pytest.raises(MaskError, match=r"flat at 0\.7.*another word or seed"):
        check_map(np.full((4, 4), 0.7))


def test_an_unknown_method_lists_those_there_are() -> None:
    with pytest.raises(ConfigError, match="'li' is unknown; there are gamma, gmm, half, otsu"):
        coarse_mask(two_levels(), "li")


def two_gaussians(low: float, high: float, share: float, sd: float = 0.05) -> np.ndarray:
    rng = np.random.default_rng(0)
    bright = rng.random((80, 100)) < share
    return np.where(bright, high, low) + rng.normal(0, sd, bright.shape)


def test_the_mixture_parts_where_both_are_equally_likely() -> None:
    assert gmm(two_gaussians(0.2, 0.8, 0.5)) == pytest.approx(0.5, abs=0.01)
    # log(9) sd² / (difference of means) beyond the middle, for one bright pixel in ten
    expected = 0.5 + np.log(9) * 0.01 / 0.6
    assert gmm(two_gaussians(0.2, 0.8, 0.1, sd=0.1)) == pytest.approx(expected, abs=0.02)
    assert gmm(two_gaussians(200, 800, 0.5, sd=50)) == pytest.approx(500, abs=10)


@settings(max_examples=25, deadline=None)
@given(seed=st.integers(0, 10**6), power=st.floats(0.1, 8), levels=st.integers(2, 50))
def test_thresholds_lie_within_their_map(seed: int, power: float, levels: int) -> None:
    heat = np.random.default_rng(seed).random((12, 9)) ** power
    heat = np.round(heat * levels) / levels
    heat[0, :2] = 0, 1
    for method in ("gamma", "gmm", "otsu"):
        assert heat.min() <= THRESHOLDS[method](heat) <= heat.max(), method
    assert 0.45 <= gamma(heat) < 0.53


def test_gamma_is_the_left_edge_of_the_fullest_bin() -> None:
    heat = np.linspace(0, 0.8, 400).reshape(20, 20)
    heat[3:6, 3:6] = 0.8 * 0.487
    assert gamma(heat) == pytest.approx(0.8 * 0.48)
    heat[heat < 0.5 * 0.8] = 0.1
    heat[10:, :] = 0.8  # nothing within the range: its lower end
    assert gamma(heat) == pytest.approx(0.8 * 0.45)
    assert gamma(heat, low=0.2, high=0.25) == pytest.approx(0.8 * 0.2)
    with pytest.raises(MaskError, match="no value above 0"):
        gamma(heat - 1)


def random_classes(seed: int = 0, n: int = 4) -> np.ndarray:
    p = np.random.default_rng(seed).dirichlet(np.full(n, 0.4), (13, 17))
    return p.transpose(2, 0, 1).astype(np.float32)


@settings(max_examples=40, deadline=None)
@given(seed=st.integers(0, 999), levels=st.lists(st.floats(0.05, 0.95), min_size=3, max_size=3))
def test_the_background_moves_to_the_level(seed: int, levels: list[float]) -> None:
    p = random_classes(seed)
    out = shift_background(p, levels)
    winner = p[1:].argmax(0)
    share = np.take_along_axis(p[1:], winner[None], 0)[0]
    odds = share / (share + p[0])
    level = np.array(levels)[winner]
    clear = np.abs(odds - level) > 1e-4
    assert np.array_equal((out.argmax(0) > 0)[clear], (odds > level)[clear])
    assert np.array_equal(out[1:].argmax(0), winner)  # which class is no matter of the level
    assert np.abs(out.sum(0) - 1).max() < 1e-5


def test_half_moves_nothing() -> None:
    assert np.allclose(shift_background(random_classes(), 0.5), random_classes(), atol=1e-6)


@pytest.mark.parametrize("levels", [0.0, 1.0, [0.5, 0.5], [0.5, 0.5, 1.5], float("nan")])
def test_levels_that_cannot_be_are_refused(levels: object) -> None:
    with pytest.raises(ConfigError, match="for each of 3 classes, above 0 and under 1"):
        shift_background(random_classes(), levels)


def test_the_level_of_a_class_is_bounded() -> None:
    p = np.zeros((2, 10, 10), np.float32)
    p[1, 2:5, 2:5] = 0.01
    p[0] = 1 - p[1]
    assert class_level(p, 1, "otsu") == 0.05
    assert class_level(p[::-1], 1, "otsu") == 0.95
    assert class_level(random_classes(), 2, "half") == 0.5
