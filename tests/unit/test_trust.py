"""Trust: what is usual of a shape, what is fitted, and what it says of sound and broken pictures."""

from __future__ import annotations

import json
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch

from lungsynth.errors import CheckpointError, DataError
from lungsynth.evaluation.masks.trust import per_picture, trust_figures
from lungsynth.masks.chain import Aids, run
from lungsynth.masks.classes import ClassSpec
from lungsynth.masks.quality import overall_trust
from lungsynth.masks.reading import no_word, read
from lungsynth.masks.refine import RefineConfig
from lungsynth.training.trust.fit import fit_trust
from lungsynth.training.trust.samples import (
    FILM,
    INVERTED,
    NO_FILM,
    Picture,
    Sample,
    broken,
    no_films,
    true_iou,
)
from lungsynth.trust.score import (
    FEATURES,
    Seen,
    TrustModel,
    expected_iou,
    load_trust,
    plausibilities,
    save_trust,
    timestep_agreement,
)
from lungsynth.trust.shape import fit_shapes

LUNGS = [
    ClassSpec(1, "left lung", word="l", convention="nlm"),
    ClassSpec(2, "right lung", word="r", convention="nlm"),
]
NAMES = [spec.output for spec in LUNGS]
PLAIN = RefineConfig(method="none")


def chest(seed: int) -> tuple[np.ndarray, list[np.ndarray]]:
    """A film of 64 pixels with two dark ellipses, a little different each time."""
    rng = np.random.default_rng(seed)
    y, x = np.mgrid[:64, :64] / 64
    regions = []
    for centre in (0.68, 0.30):
        cx, cy = centre + rng.normal(0, 0.01), 0.5 + rng.normal(0, 0.02)
        rx, ry = 0.15 + rng.normal(0, 0.008), 0.32 + rng.normal(0, 0.015)
        regions.append(((x - cx) / rx) ** 2 + ((y - cy) / ry) ** 2 < 1)
    image = np.where(regions[0] | regions[1], 70, 170) + rng.normal(0, 8, x.shape)
    return image.clip(0, 255).astype(np.uint8), regions


@pytest.fixture(scope="module")
def shape() -> Any:
    films = [chest(k) for k in range(60)]
    return fit_shapes(NAMES, [r for _, r in films], [i for i, _ in films])


def test_unseen_masks_are_usual_and_odd_ones_are_not(shape: Any) -> None:
    unseen = [chest(1000 + k) for k in range(20)]
    values = [shape.score(regions, image).value for image, regions in unseen]
    assert np.median(values) > 0.15 and min(values) < 0.9
    image, (left, right) = chest(2000)
    odd = {
        "swapped": [right, left],
        "upside": [left[:, ::-1], right[:, ::-1]],
        "small": [left & (np.arange(64) < 40)[:, None], right],
        "holes": [left & (np.indices(left.shape).sum(0) % 4 > 0), right],
        "empty": [left, np.zeros_like(right)],
        "speckled": [np.roll(left, 14, 0), right],
    }
    for name, regions in odd.items():
        assert shape.score(regions, image).value < 0.05, name
    assert shape.score([left, right], 255 - image).value < 0.05  # bright where lungs are dark


def test_too_few_masks_are_refused() -> None:
    films = [chest(k) for k in range(5)]
    with pytest.raises(DataError, match="5 of 5 masks"):
        fit_shapes(NAMES, [r for _, r in films], [i for i, _ in films])


def samples(n: int = 200) -> list[Sample]:
    """IoU that two features tell, one does not, and broken pictures that the film check knows."""
    rng = np.random.default_rng(0)
    out = []
    for k in range(n):
        value = float(np.clip(rng.normal(0.88, 0.05), 0, 1))
        values = {
            "student": value + rng.normal(0, 0.01),
            "stability": 0.9 + 0.2 * (value - 0.88) + rng.normal(0, 0.005),
            "distance": rng.normal(),
            "film": 4.0 + rng.normal(0, 0.01),
        }
        out.append(Sample("a", FILM, NAMES[k % 2], value, values, k // 2))
    for k in range(60):
        values = {"student": rng.uniform(0, 1), "stability": 0.9, "distance": 1.0, "film": -4.0}
        out.append(Sample("a", INVERTED, NAMES[0], 0.0, values, n + k))
    return out


def test_trust_is_a_calibrated_prediction_of_iou() -> None:
    model = fit_trust(samples(), {})
    rows = per_picture(samples(), model)
    figures = trust_figures(rows)
    assert figures["spearman"]["value"] > 0.6 and figures["auc"]["value"] > 0.98
    assert abs(figures["mean_trust"] - figures["mean_iou"]) < 0.03
    assert figures["broken"]["inverted"]["mean_trust"] < 0.1
    assert set(model.weights) == {"student", "stability", "distance", "film"}
    trusts = np.array([t for _, kind, t, _ in rows if kind == FILM])
    assert len(np.unique(trusts.round(5))) > 50  # no plateaus: films can be put in an order


def test_shares_near_one_are_told_apart() -> None:
    model = fit_trust(samples(), {})
    assert model.spread == ("student", "stability")
    step = {k: v for k, v in model.middle.items() if k != "student"}
    low, middle, high = (model.raw({**step, "student": share}) for share in (0.9, 0.97, 0.991))
    # 0.97 is as far from 0.9 in odds as 0.991 is from 0.97
    assert high - middle == pytest.approx(middle - low, rel=0.05) and high > middle > low
    plain = replace(model, spread=())  # as files of before say it
    a, b, c = (plain.raw({**step, "student": share}) for share in (0.9, 0.97, 0.991))
    assert (c - b) / (b - a) == pytest.approx(0.3, abs=0.01)


def test_the_iou_to_be_expected_is_that_of_certain_probabilities() -> None:
    inside = np.zeros((4, 4), bool)
    inside[:2] = True
    assert expected_iou(inside.astype(np.float32), inside) == 1.0
    half = np.where(inside, 0.75, 0.25).astype(np.float32)
    assert expected_iou(half, inside) == pytest.approx(6 / 10)  # 8 of 0.75; 8 + 8 of 0.25
    assert expected_iou(np.zeros((4, 4), np.float32), np.zeros((4, 4), bool)) == 0.0


def test_what_cannot_be_had_says_nothing() -> None:
    model = fit_trust(samples(), {})
    one = dict(samples()[0].values)
    without = {k: v for k, v in one.items() if k != "film"}
    usual = {**without, "film": model.middle["film"]}
    assert model.raw(without) == pytest.approx(model.raw(usual))
    assert model.raw({**without, "unknown": 3.0}) == model.raw(without)


def test_files_round_trip_and_broken_ones_are_refused(shape: Any, tmp_path: Path) -> None:
    model = fit_trust(samples(), {"nlm/lung": shape}, info={"annotated": ["a.parquet"]})
    save_trust(model, tmp_path)
    again = load_trust(tmp_path)
    for one in samples()[:20]:
        assert again.of(one.values) == pytest.approx(model.of(one.values))
    image, regions = chest(3000)
    mask = (1 * regions[0] + 2 * regions[1]).astype(np.uint8)
    a, b = (plausibilities(m.shapes, LUNGS, mask, image)["lung"] for m in (model, again))
    assert a.value == pytest.approx(b.value, abs=0.02)
    about = json.loads((tmp_path / "trust.json").read_text())
    about["weights"]["magic"] = 1.0
    (tmp_path / "trust.json").write_text(json.dumps(about))
    with pytest.raises(CheckpointError, match=r"magic.*train trust"):
        load_trust(tmp_path)


def judged(model: TrustModel, image: np.ndarray, regions: list[np.ndarray]) -> dict[str, Any]:
    """The scores of a mask read from logits of these regions."""
    logits = {
        s.id: torch.from_numpy(np.where(r, 3.0, -3.0))[None].float()
        for s, r in zip(LUNGS, regions, strict=True)
    }
    p = read(LUNGS, logits, 0, no_word, PLAIN)
    seen = Seen(timestep_agreement(LUNGS, [logits, logits], 0), 0.9)
    aids = Aids(judge=lambda p, i, s, made: model.judge(p, i, s, made, None, seen))
    return run(p, image, LUNGS, PLAIN, aids).scores


def test_the_chain_asks_the_judge(shape: Any) -> None:
    model = fit_trust(samples(), {"nlm/lung": shape})
    image, regions = chest(4000)
    scores = judged(model, image, regions)
    for one in scores.values():
        assert 0 < one["trust"] <= 1 and one["plausibility"] > 0.01
    assert overall_trust(scores) is not None
    empty = judged(model, image, [regions[0], np.zeros_like(regions[1])])
    assert empty["right lung"]["trust"] == 0.0 and empty["left lung"]["plausibility"] == 0.0
    plain = run(np.zeros((3, 64, 64), np.float32) + 1 / 3, image, LUNGS, PLAIN).scores
    assert all(one["trust"] is None for one in plain.values())


def test_readings_that_differ_agree_less() -> None:
    _, regions = chest(1)
    same = {
        s.id: torch.from_numpy(np.where(r, 3.0, -3.0))[None].float()
        for s, r in zip(LUNGS, regions, strict=True)
    }
    moved = {k: torch.roll(v, 8, 2) for k, v in same.items()}
    assert timestep_agreement(LUNGS, [same, same], 0)["left lung"] == 1.0
    assert timestep_agreement(LUNGS, [same, moved], 0)["left lung"] < 0.7
    assert timestep_agreement(LUNGS, [same], 0) == {}


def test_moved_films_take_their_truth_along() -> None:
    image, regions = chest(5)
    truth = {name: r.astype(np.uint8) for name, r in zip(NAMES, regions, strict=True)}
    found = broken([Picture(image, truth, FILM, "a")] * 3, 2)
    assert [one.kind for one in found] == ["inverted", "upside down", "turned"] * 2
    assert true_iou(regions[0], found[0].truth[NAMES[0]]) == 1.0
    for one in found[1:3]:
        dark = one.image < 120
        assert true_iou(dark, np.maximum(*one.truth.values())) > 0.95
    ignored = np.where(regions[0], 1, 255).astype(np.uint8)
    assert true_iou(np.ones_like(regions[0]), ignored) == 1.0
    assert true_iou(np.ones_like(regions[0]), None) == 0.0


def test_pictures_that_are_no_films_are_of_the_models_side() -> None:
    found = no_films(9, 64, seed=0)
    assert len(found) == 9 and all(one.image.shape == (64, 64) for one in found)
    assert {one.kind for one in found} == {NO_FILM} and not any(one.truth for one in found)


def test_features_have_names_that_are_kept() -> None:
    assert len(set(FEATURES)) == len(FEATURES)
