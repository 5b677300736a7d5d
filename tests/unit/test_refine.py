"""Refinements, the clean-up, and the finished mask."""

from __future__ import annotations

import re
from typing import Any

import numpy as np
import pytest
import torch
from phantom import Phantom, phantom

from lungsynth.errors import ConfigError, MaskError, ShapeError
from lungsynth.masks import refine as refine_module
from lungsynth.masks.chain import run
from lungsynth.masks.classes import ClassSpec
from lungsynth.masks.crf import CrfConfig
from lungsynth.masks.quality import clean
from lungsynth.masks.reading import read
from lungsynth.masks.refine import (
    RefineConfig,
    check_config,
    refine,
    refine_many,
    with_values,
)
from lungsynth.masks.registry import REFINEMENTS, needs_affinity, refinement

PLAIN = RefineConfig(method="none")


def finished(p: np.ndarray, image: np.ndarray, specs: list[ClassSpec], config: RefineConfig) -> Any:
    """Coarse mask, mask and scores."""
    made = run(p, image, specs, config)
    return made.coarse, made.mask, made.scores


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
    monkeypatch.setitem(REFINEMENTS, "flip", REFINEMENTS["none"])

    @refinement("flip")
    def flip(
        p: np.ndarray, image: np.ndarray, config: RefineConfig, affinity: object
    ) -> np.ndarray:
        return p[::-1]

    p = one_hot(blobs().astype(int), 2)
    out = refine_module.refine(p, np.zeros(p.shape[1:], np.uint8), RefineConfig(method="flip"))
    assert np.array_equal(out, p[::-1])


def test_the_finished_mask_has_the_classes_ids_and_scores() -> None:
    ids = np.zeros((60, 80), int)
    ids[10:50, 5:30], ids[10:50, 45:75] = 1, 2
    specs = [
        ClassSpec(7, "left", word="l", organ="x"),
        ClassSpec(200, "right", word="r", organ="x"),
    ]
    coarse, mask, scores = finished(one_hot(ids, 3), np.zeros((60, 80), np.uint8), specs, PLAIN)
    assert np.array_equal(coarse, np.array([0, 7, 200], np.uint8)[ids])
    assert np.array_equal(mask, coarse)
    assert scores["left"] == {
        "area": round(1000 / 4800, 5),
        "parts": 1,
        "stability": 1.0,
        "trust": None,
    }
    assert list(scores) == ["left", "right"]


def test_a_class_inside_another_is_not_filled_over() -> None:
    ids = np.zeros((60, 60), int)
    ids[10:50, 10:50] = 1
    ids[25:35, 25:35] = 2
    specs = [ClassSpec(1, "chest", word="c", organ="x"), ClassSpec(2, "heart", word="h", organ="x")]
    _, mask, _ = finished(one_hot(ids, 3), np.zeros((60, 60), np.uint8), specs, PLAIN)
    assert np.array_equal(mask, ids)


def test_each_class_keeps_as_many_parts_as_it_may_have() -> None:
    p = one_hot(blobs().astype(int), 2)
    image = np.zeros(blobs().shape, np.uint8)
    for n_parts, area in ((1, 400), (2, 700), (3, 800)):
        _, mask, scores = finished(p, image, [ClassSpec(1, "x", word="x", n_parts=n_parts)], PLAIN)
        assert (mask == 1).sum() == area and scores["x"]["parts"] == n_parts
    config = RefineConfig(method="none", clean_up=False)
    _, mask, _ = finished(p, image, [ClassSpec(1, "x", word="x")], config)
    assert np.array_equal(mask == 1, blobs())


def test_an_empty_class_is_scored_as_empty() -> None:
    p = one_hot(np.zeros((20, 20), int), 2)
    _, mask, scores = finished(
        p, np.zeros((20, 20), np.uint8), [ClassSpec(1, "x", word="x")], PLAIN
    )
    assert not mask.any() and scores["x"] == {
        "area": 0.0,
        "parts": 0,
        "stability": 0.0,
        "trust": None,
    }


def test_a_broken_probability_is_refused() -> None:
    p = one_hot(np.zeros((20, 20), int), 2)
    p[0, 3, 3] = np.nan
    with pytest.raises(MaskError, match="NaN"):
        finished(p, np.zeros((20, 20), np.uint8), [ClassSpec(1, "x", word="x")], PLAIN)


def test_evidence_outweighs_area() -> None:
    """An arm twice the lung's size, of little probability before refinement, loses."""
    mask = np.zeros((60, 80), bool)
    mask[5:25, 5:15] = mask[5:55, 60:75] = True
    weight = np.where(np.arange(80) < 40, 0.9, 0.2)[None].repeat(60, 0).astype(np.float32)
    lung, arm = mask & (np.arange(80) < 40), mask & (np.arange(80) > 40)
    assert np.array_equal(clean(mask, n_parts=1), arm)
    assert np.array_equal(clean(mask, n_parts=1, weight=weight), lung)
    assert np.array_equal(clean(mask, n_parts=2, weight=weight), mask)
    # 150 of 4800 pixels' worth: below 4 %, above 3 %
    assert np.array_equal(clean(mask, weight=weight, min_part=0.04), lung)
    assert np.array_equal(clean(mask, weight=weight, min_part=0.03), mask)
    with pytest.raises(ShapeError, match=r"\(60, 79\).*\(60, 80\)"):
        clean(mask, weight=weight[:, 1:])


def test_the_finished_mask_keeps_the_part_of_most_evidence() -> None:
    ids = np.zeros((60, 80), int)
    ids[5:25, 5:15] = ids[5:33, 60:70] = 1  # 200 and 280 pixels, of 0.9 and 0.59
    p = one_hot(ids, 2)
    p[:, :, 40:] = p[:, :, 40:] * 0.2 + np.array([0.39, 0.41])[:, None, None]
    _, mask, _ = finished(p, np.zeros((60, 80), np.uint8), [ClassSpec(1, "x", word="x")], PLAIN)
    assert mask[:, :40].any() and not mask[:, 40:].any()


def test_the_band_of_doubt_is_ignored() -> None:
    p = np.zeros((2, 20, 41), np.float32)
    p[1] = np.linspace(0, 1, 41)
    p[0] = 1 - p[1]
    image, specs = np.zeros((20, 41), np.uint8), [ClassSpec(1, "x", word="x")]
    _, plain, scores = finished(p, image, specs, PLAIN)
    assert set(np.unique(plain)) == {0, 1}
    config = RefineConfig(method="none", ignore_band=0.11)
    _, mask, same = finished(p, image, specs, config)
    doubtful = p.max(0) < 0.61
    assert 0 < doubtful.sum() == (mask == 255).sum()
    assert np.array_equal(mask[~doubtful], plain[~doubtful]) and same == scores


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        ({"beta": 0}, "beta=0: expected a number above 0"),
        ({"beta": float("inf")}, "beta=inf"),
        ({"n_steps": -1}, "n_steps=-1: expected 0 to"),
        ({"gammas": ()}, "one level or more"),
        ({"gammas": (0.5, 1.0)}, "each above 0 and under 1"),
        ({"fusion_weight": 1.2}, "fusion_weight=1.2"),
        ({"n_rounds": 0}, "n_rounds=0: expected 1"),
        ({"ignore_band": 0.5}, "ignore_band=0.5"),
        ({"ignore_band": -0.1}, r"0 \(off\) or more"),
        ({"label_confidence": 0.5}, "label_confidence"),
        ({"min_part": 1}, "min_part=1"),
        ({"crf": CrfConfig(theta_beta=0)}, "CRF theta_beta=0"),
        ({"threshold": "li"}, "'li' is unknown; there are auto, gamma, gmm, half, otsu"),
    ],
)
def test_values_out_of_range_are_refused(changes: dict[str, Any], message: str) -> None:
    check_config(RefineConfig())
    with pytest.raises(ConfigError, match=message):
        check_config(RefineConfig(**changes))


def test_the_numbers_of_the_walk_reach_it() -> None:
    shape = phantom()
    masks = {}
    walking = {*filter(needs_affinity, REFINEMENTS)}
    for name, options in {
        "plain": {},
        "β": {"beta": 2.0},
        "t": {"n_steps": 16},
        "w": {"fusion_weight": 0.9},
        "rounds": {"n_rounds": 4},
        "γ": {"gammas": (0.3,)},
        "crf": {"crf": CrfConfig(unary="hard")},
    }.items():
        for method in walking:
            config = RefineConfig(method=method, **options)
            masks[name, method] = refine(shape.probability, shape.image, config, shape.field)

    def moved(name: str) -> set[str]:
        return {m for m in walking if np.abs(masks[name, m] - masks["plain", m]).max() > 1e-3}

    assert moved("t") >= {"affinity", "sequential", "cross-product", "cross-mutual"} <= moved("β")
    assert (moved("w"), moved("rounds"), moved("γ")) == (
        {"cross-product"},
        {"cross-mutual"},
        {"cross"},
    )
    assert moved("crf") == walking - {"affinity"}


def read_classes(specs: list[ClassSpec], config: RefineConfig, **given: Any) -> np.ndarray:
    """The reading, which needs no checkpoint once the maps are there."""
    return read(specs, given.get("logits", {}), 0, lambda word: given["heat"], config)


def test_a_named_threshold_moves_learnt_tokens_too() -> None:
    logits = {
        k: torch.from_numpy(np.random.default_rng(k).normal(-1, 2, (1, 20, 30))) for k in (1, 2)
    }
    specs = [ClassSpec(1, "a", word="a", organ="x"), ClassSpec(2, "b", word="b", organ="x")]
    auto = read_classes(specs, RefineConfig(), logits=logits)
    assert np.allclose(read_classes(specs, RefineConfig(threshold="half"), logits=logits), auto)
    moved = read_classes(specs, RefineConfig(threshold="otsu"), logits=logits)
    both = (auto.argmax(0) > 0) & (moved.argmax(0) > 0)
    assert (auto.argmax(0) != moved.argmax(0)).any()
    assert np.array_equal(auto.argmax(0)[both], moved.argmax(0)[both])
    mixed = {1: logits[1]}
    heat = np.linspace(0, 1, 600).reshape(20, 30)
    one = read_classes(specs, RefineConfig(threshold="half"), logits=mixed, heat=heat)
    other = read_classes(specs, RefineConfig(threshold="otsu"), logits=mixed, heat=heat)
    assert not np.allclose(one, other)


def test_words_are_thresholded_but_for_the_search_of_levels() -> None:
    heat = np.linspace(0, 0.8, 600).reshape(20, 30) ** 2
    specs = [ClassSpec(1, "a", word="a")]
    shares = {
        t: (read_classes(specs, RefineConfig(threshold=t), heat=heat).argmax(0) == 1).mean()
        for t in ("gamma", "otsu", "half")
    }
    assert len(set(shares.values())) == 3
    p = read_classes(specs, RefineConfig(method="cross"), heat=heat)
    assert np.allclose(p[1], heat / heat.max(), atol=2e-3)


def test_levels_tried_for_words_are_diffumasks(monkeypatch: pytest.MonkeyPatch) -> None:
    seen: list[Any] = []
    monkeypatch.setitem(REFINEMENTS, "none", REFINEMENTS["none"])  # put back at the end
    refinement("none")(lambda p, image, config, field: seen.append(config) or p)
    p = one_hot(blobs().astype(int), 2)
    image = np.zeros(p.shape[1:], np.uint8)
    finished(p, image, [ClassSpec(1, "x", word="x")], PLAIN)
    finished(p, image, [ClassSpec(1, "x", word="x")], RefineConfig(method="none", gammas=(0.7,)))
    first, second = (config.gammas for config in seen)
    assert (first[0], first[-1], len(first)) == (0.35, 0.54, 20) and second == (0.7,)


@pytest.fixture(scope="module")
def several() -> list[Phantom]:
    return [phantom(48, 64), phantom(64, 48), phantom(48, 48)]


def test_two_processes_give_the_same_in_order(several: list[Phantom]) -> None:
    given = [s.probability for s in several], [s.image for s in several]
    fields = [s.field for s in several]
    config = RefineConfig(method="sequential")
    one = list(refine_many(*given, config, fields, workers=1))
    two = list(refine_many(*given, config, fields, workers=2))
    for p, a, b in zip(given[0], one, two, strict=True):
        assert a.shape == p.shape and np.array_equal(a, b)


def test_an_error_in_a_process_comes_through(several: list[Phantom]) -> None:
    given = [s.probability for s in several], [s.image for s in several]
    broken = [np.full_like(p, np.nan) for p in given[0]]
    with pytest.raises(MaskError, match="NaN"):
        list(refine_many(broken, given[1], RefineConfig(), workers=2))
    with pytest.raises(ConfigError, match="3 probabilities, 2 images, 2 fields"):
        refine_many(given[0], given[1][:2], RefineConfig())
    with pytest.raises(ConfigError, match="'magic' is unknown"):
        refine_many(*given, RefineConfig(method="magic"))


def test_the_benchmark_measures() -> None:
    from click.testing import CliRunner

    from benchmarks.refine import refine_command

    arguments = ["--size", "64", "-n", "1", "--masks", "4"]
    done = CliRunner().invoke(refine_command, arguments, catch_exceptions=False)
    assert done.exit_code == 0 and "two / one" in done.output
    assert "walk, 16x16 nodes" in done.output
    difference = re.search(r"off 256 dense products in float64 by (\S+)", done.output)
    assert difference is not None and float(difference[1]) < 1e-5
    assert all(f"  {name} " in done.output for name in REFINEMENTS)


def test_parameters_are_given_by_name() -> None:
    got = with_values(
        RefineConfig(),
        [
            "beta=16",
            "crf.theta_beta=8",
            "clean_up=false",
            "gammas=0.3,0.5",
            "n_steps=12",
            "method=none",
        ],
    )
    assert (got.beta, got.crf.theta_beta, got.clean_up, got.gammas, got.n_steps, got.method) == (
        16.0,
        8.0,
        False,
        (0.3, 0.5),
        12,
        "none",
    )
    assert got.crf.theta_alpha == RefineConfig().crf.theta_alpha


@pytest.mark.parametrize(
    ("text", "says"),
    [
        ("beta", "NAME=VALUE"),
        ("gamma=3", "one of"),
        ("crf=3", "one of"),
        ("crf.beta=3", "one of"),
        ("beta=much", "beta=much: expected a number"),
        ("clean_up=perhaps", "true or false"),
        ("n_steps=2.5", "expected a whole number"),
        ("gammas=a", "numbers"),
        ("beta=-1", "above 0"),
        ("method=best", "unknown"),
    ],
)
def test_parameters_that_do_not_fit_are_refused(text: str, says: str) -> None:
    with pytest.raises(ConfigError, match=says):
        with_values(RefineConfig(), [text])
