"""Refinements, the clean-up, and the finished mask."""

from __future__ import annotations

import numpy as np
import pytest

from lungsynth import refine as refine_module
from lungsynth.classes import ClassSpec
from lungsynth.errors import ConfigError, MaskError
from lungsynth.pipeline import finish_mask
from lungsynth.refine import REFINEMENTS, RefineConfig, clean, refine, refinement

PLAIN = RefineConfig(method="none")


def blobs() -> np.ndarray:
    """Three parts of 400, 300 and 100 pixels; the first has a hole."""
    mask = np.zeros((60, 80), bool)
    mask[5:25, 5:25] = mask[5:20, 50:70] = mask[40:50, 10:20] = True
    mask[10:14, 10:14] = False
    return mask


def one_hot(ids: np.ndarray, n: int, *, sure: float = 0.9) -> np.ndarray:
    p = np.full((n, *ids.shape), (1 - sure) / (n - 1), np.float32)
    for k in range(n):
        p[k][ids == k] = sure
    return p


def test_the_two_largest_parts_stay_and_holes_are_filled() -> None:
    expected = blobs()
    expected[40:50, 10:20] = False
    expected[10:14, 10:14] = True
    assert np.array_equal(clean(blobs()), expected)
    assert clean(blobs(), n_parts=1).sum() == 400
    assert clean(blobs(), n_parts=3).sum() == 800


def test_small_parts_go_but_the_largest_stays() -> None:
    mask = np.zeros((100, 100), bool)
    mask[2:5, 2:5] = True
    assert np.array_equal(clean(mask, min_part=0.5), mask)
    mask[50, 50] = True
    assert clean(mask, min_part=0.0005).sum() == 9
    assert not clean(np.zeros((9, 9), bool)).any()


def test_parts_that_touch_at_a_corner_are_one() -> None:
    mask = np.eye(8, dtype=bool)
    assert np.array_equal(clean(mask, n_parts=1), mask)


def test_an_unknown_method_lists_those_there_are() -> None:
    p = one_hot(blobs().astype(int), 2)
    with pytest.raises(ConfigError, match=r"'magic' is unknown; there are .*crf.*none"):
        refine(p, np.zeros(p.shape[1:], np.uint8), RefineConfig(method="magic"))


def test_a_registered_refinement_is_known(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(refine_module, "REFINEMENTS", dict(REFINEMENTS))

    @refinement("flip")
    def flip(p: np.ndarray, image: np.ndarray, config: RefineConfig) -> np.ndarray:
        return p[::-1]

    p = one_hot(blobs().astype(int), 2)
    out = refine_module.refine(p, np.zeros(p.shape[1:], np.uint8), RefineConfig(method="flip"))
    assert np.array_equal(out, p[::-1])


def test_the_finished_mask_has_the_classes_ids_and_scores() -> None:
    ids = np.zeros((60, 80), int)
    ids[10:50, 5:30], ids[10:50, 45:75] = 1, 2
    specs = [ClassSpec(7, "left", word="l"), ClassSpec(200, "right", word="r")]
    coarse, mask, scores = finish_mask(one_hot(ids, 3), np.zeros((60, 80), np.uint8), specs, PLAIN)
    assert np.array_equal(coarse, np.array([0, 7, 200], np.uint8)[ids])
    assert np.array_equal(mask, coarse)
    assert scores["left"] == {"area": round(1000 / 4800, 5), "parts": 1, "stability": 1.0}
    assert list(scores) == ["left", "right"]


def test_a_class_inside_another_is_not_filled_over() -> None:
    ids = np.zeros((60, 60), int)
    ids[10:50, 10:50] = 1
    ids[25:35, 25:35] = 2
    specs = [ClassSpec(1, "chest", word="c"), ClassSpec(2, "heart", word="h")]
    _, mask, _ = finish_mask(one_hot(ids, 3), np.zeros((60, 60), np.uint8), specs, PLAIN)
    assert np.array_equal(mask, ids)


def test_each_class_keeps_as_many_parts_as_it_may_have() -> None:
    p = one_hot(blobs().astype(int), 2)
    image = np.zeros(blobs().shape, np.uint8)
    for n_parts, area in ((1, 400), (2, 700), (3, 800)):
        _, mask, scores = finish_mask(
            p, image, [ClassSpec(1, "x", word="x", n_parts=n_parts)], PLAIN
        )
        assert (mask == 1).sum() == area and scores["x"]["parts"] == n_parts
    config = RefineConfig(method="none", clean_up=False)
    _, mask, _ = finish_mask(p, image, [ClassSpec(1, "x", word="x")], config)
    assert np.array_equal(mask == 1, blobs())


def test_an_empty_class_is_scored_as_empty() -> None:
    p = one_hot(np.zeros((20, 20), int), 2)
    _, mask, scores = finish_mask(
        p, np.zeros((20, 20), np.uint8), [ClassSpec(1, "x", word="x")], PLAIN
    )
    assert not mask.any() and scores["x"] == {"area": 0.0, "parts": 0, "stability": 0.0}


def test_a_broken_probability_is_refused() -> None:
    p = one_hot(np.zeros((20, 20), int), 2)
    p[0, 3, 3] = np.nan
    with pytest.raises(MaskError, match="NaN"):
        finish_mask(p, np.zeros((20, 20), np.uint8), [ClassSpec(1, "x", word="x")], PLAIN)
