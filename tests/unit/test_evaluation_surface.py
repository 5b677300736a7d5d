"""Surface distances against shapes worked out by hand and against brute force."""

from __future__ import annotations

import math
from typing import NamedTuple

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from lungsynth.evaluation.masks import figures
from lungsynth.evaluation.masks.figures import surface


class Apart(NamedTuple):
    hd95: float
    mean: float


def surface_distance(mask: np.ndarray, truth: np.ndarray, valid: np.ndarray | None = None) -> Apart:
    """Everywhere, where no place is named."""
    everywhere = np.ones_like(mask)
    return Apart(*figures.surface_distance(mask, truth, everywhere if valid is None else valid))


def box(
    top: int, left: int, bottom: int, right: int, shape: tuple[int, int] = (40, 50)
) -> np.ndarray:
    mask = np.zeros(shape, bool)
    mask[top:bottom, left:right] = True
    return mask


def brute(a: np.ndarray, b: np.ndarray) -> tuple[float, float]:
    """Every surface pixel against every other, by the definition."""

    def border(mask: np.ndarray) -> np.ndarray:
        padded = np.pad(mask, 1)
        inner = padded[:-2, 1:-1] & padded[2:, 1:-1] & padded[1:-1, :-2] & padded[1:-1, 2:]
        return np.argwhere(mask & ~inner)

    table = np.linalg.norm(border(a)[:, None] - border(b)[None], axis=-1)
    there, back = table.min(1), table.min(0)
    hd95 = max(np.percentile(there, 95), np.percentile(back, 95))
    return float(hd95), float(np.concatenate([there, back]).mean())


def test_the_surface_of_a_box_is_its_rim_also_at_the_image_s_edge() -> None:
    assert surface(box(5, 5, 9, 10)).sum() == 4 * 5 - 2 * 3
    assert surface(box(0, 0, 40, 50)).sum() == 40 * 50 - 38 * 48


def test_equal_masks_are_0_apart() -> None:
    result = surface_distance(box(3, 4, 20, 30), box(3, 4, 20, 30))
    assert (result.hd95, result.mean) == (0.0, 0.0)


def test_single_pixels_are_as_far_apart_as_they_lie() -> None:
    result = surface_distance(box(2, 3, 3, 4), box(5, 7, 6, 8))
    assert result.hd95 == result.mean == 5.0  # 3-4-5 triangle


def test_a_line_moved_sideways_is_that_far_everywhere() -> None:
    result = surface_distance(box(10, 5, 30, 6), box(10, 12, 30, 13))
    assert result.hd95 == result.mean == 7.0


def test_a_short_line_on_a_long_one_is_not_symmetric() -> None:
    """100 pixels against the 10 at their start: 0 one way, 0…0, 1, 2, … 90 the other."""
    short, long = box(0, 0, 1, 10, (1, 100)), box(0, 0, 1, 100, (1, 100))
    back = np.concatenate([np.zeros(10), np.arange(1, 91)])
    result = surface_distance(short, long)
    assert result.hd95 == pytest.approx(np.percentile(back, 95))  # pooled, it would be less
    assert result.mean == pytest.approx(back.sum() / 110)
    assert surface_distance(long, short) == result


def test_one_empty_mask_is_the_diagonal_away_and_two_are_not_apart() -> None:
    empty, full = np.zeros((30, 40), bool), box(1, 1, 9, 9, (30, 40))
    for pair in ((empty, full), (full, empty)):
        result = surface_distance(*pair)
        assert result.hd95 == result.mean == 50.0
    assert surface_distance(empty, empty).mean == 0.0
    assert surface_distance(empty, empty).hd95 == 0.0


def test_what_is_ignored_draws_no_border() -> None:
    """The truth ends at a place nobody annotated; going on into it costs nothing."""
    truth, mask = box(10, 10, 20, 30), box(10, 10, 30, 30)
    valid = np.ones_like(truth)
    valid[20:] = False
    assert surface_distance(mask, truth).mean > 1
    assert surface_distance(mask, truth, valid).mean == 0.0
    # and a border that is wrong elsewhere still counts
    assert surface_distance(box(6, 10, 30, 30), truth, valid).hd95 == 4.0


def test_a_mask_wholly_in_the_ignored_place_is_empty() -> None:
    valid = np.ones((40, 50), bool)
    valid[20:] = False
    result = surface_distance(box(25, 5, 35, 20), box(5, 5, 15, 20), valid)
    assert result.hd95 == pytest.approx(math.hypot(40, 50))


@settings(max_examples=60, deadline=None)
@given(
    st.integers(0, 10**6), st.sampled_from([0.02, 0.3, 0.9]), st.integers(2, 14), st.integers(1, 14)
)
def test_agrees_with_brute_force(seed: int, share: float, height: int, width: int) -> None:
    rng = np.random.default_rng(seed)
    a, b = rng.random((2, height, width)) < share
    if not a.any() or not b.any():
        return
    result = surface_distance(a, b)
    assert (result.hd95, result.mean) == pytest.approx(brute(a, b), abs=1e-9)
    assert result.mean <= math.hypot(height, width)
