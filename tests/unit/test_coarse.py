"""Thresholds."""

from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from lungsynth.coarse import check_map, coarse_mask, half, otsu
from lungsynth.errors import ConfigError, MaskError


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
    seed=st.integers(0, 10**6), scale=st.floats(1e-3, 1e3), method=st.sampled_from(["otsu", "half"])
)
def test_a_mask_is_never_empty_and_never_everything(seed: int, scale: float, method: str) -> None:
    heat = (np.random.default_rng(seed).random((7, 5)) * scale).astype(np.float32)
    mask = coarse_mask(heat, method)
    assert mask.any() and not mask.all() and mask.dtype == bool


@pytest.mark.parametrize("heat", [
    np.zeros((4, 4)), np.full((4, 4), 0.7), np.full((4, 4), np.nan), np.zeros((4, 4, 1)),
    np.array([[0.0, 1.0]]), np.array([[0.0, np.inf], [0, 1]]), np.zeros((0, 0)),
])  # fmt: skip
@pytest.mark.parametrize("method", ["otsu", "half"])
def test_maps_that_say_nothing_are_refused(heat: np.ndarray, method: str) -> None:
    with pytest.raises(MaskError, match="`heat`"):
        coarse_mask(heat, method)


def test_a_flat_map_says_what_to_do() -> None:
    with pytest.raises(MaskError, match=r"flat at 0\.7.*another word or seed"):
        check_map(np.full((4, 4), 0.7))


def test_an_unknown_method_lists_those_there_are() -> None:
    with pytest.raises(ConfigError, match="'li' is unknown; there are half, otsu"):
        coarse_mask(two_levels(), "li")
