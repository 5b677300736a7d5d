"""Scores that need no truth, and the sides of the lungs."""

from __future__ import annotations

import numpy as np
import pytest

from lungsynth.masks.quality import (
    count_parts,
    overall_trust,
    ratio,
    split_sides,
    stability,
)


def pair() -> np.ndarray:
    mask = np.zeros((60, 100), bool)
    mask[10:50, 10:40] = mask[10:50, 60:90] = True
    return mask


def test_a_sharp_border_is_stable_and_a_soft_one_is_not() -> None:
    assert stability(pair().astype(np.float32)) == 1.0
    ramp = np.repeat(np.linspace(0, 1, 101)[None], 5, 0)
    assert stability(ramp) == pytest.approx(35 / 65, abs=0.02)
    assert stability(np.zeros((4, 4))) == 0.0
    assert stability(ramp, offset=0.3) < stability(ramp, offset=0.1)


def test_parts_are_counted_without_specks() -> None:
    mask = pair()
    assert count_parts(mask) == 2
    mask[0, 0] = True
    assert count_parts(mask) == 2 and count_parts(mask, min_share=0) == 3
    assert count_parts(np.zeros((5, 5), bool)) == 0


def test_the_patients_right_lung_is_on_the_left_of_the_picture() -> None:
    left, right = split_sides(pair())
    assert right[:, :50].sum() == 1200 and not right[:, 50:].any()
    assert left[:, 50:].sum() == 1200 and not left[:, :50].any()


def test_parts_stay_whole() -> None:
    mask = pair()
    mask[40:45, 40:52] = True  # a tongue of the right lung over the middle
    left, right = split_sides(mask)
    assert right[42, 51] and not left[42, 51]
    assert np.array_equal(left | right, mask) and not (left & right).any()


def test_one_part_across_both_sides_is_cut_in_the_middle() -> None:
    mask = pair()
    mask[30:33] = False
    mask[30:33, 10:90] = True
    left, right = split_sides(mask)
    assert np.array_equal(left | right, mask) and not (left & right).any()
    assert right[:, :50].sum() == right.sum() == left.sum() == left[:, 50:].sum()


def test_nothing_has_no_sides() -> None:
    left, right = split_sides(np.zeros((8, 9), bool))
    assert left.shape == right.shape == (8, 9) and not left.any() and not right.any()


def test_the_cardiothoracic_ratio_is_the_whole_heart_over_the_widest_row_of_both_lungs() -> None:
    mask = np.zeros((40, 100), np.uint8)
    mask[10:30, 10:30], mask[10:30, 70:90] = 2, 1  # 80 wide between outer borders
    mask[30:38, 0:100] = 2  # a row without the other lung does not count
    mask[12:20, 40:55], mask[20:28, 50:70] = 3, 3  # 30 wide in all
    assert ratio(mask, [3], [[1], [2]]) == pytest.approx(30 / 80)
    assert ratio(np.where(mask == 3, 0, mask), [3], [[1], [2]]) is None
    assert ratio(np.where(mask == 1, 0, mask), [3], [[1], [2]]) is None


def test_the_trust_of_a_mask_is_the_mean_of_its_classes_or_unknown() -> None:
    assert overall_trust({"a": {"trust": 0.9}, "b": {"trust": 0.5}}) == pytest.approx(0.7)
    assert overall_trust({"a": {"trust": 0.9}, "b": {"trust": None}}) is None
    assert overall_trust({"a": {"stability": 0.9}}) is None and overall_trust({}) is None
