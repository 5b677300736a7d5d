"""Figures of masks, what expert masks mean, intervals and trust: against cases worked out by hand."""

from __future__ import annotations

import json
from collections.abc import Iterator
from pathlib import Path
from typing import Any, ClassVar, cast

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from tiny import film

from lungsynth.errors import ConfigError, DataError
from lungsynth.evaluation.masks import measure as masks_module
from lungsynth.evaluation.masks.figures import (
    ALL,
    Spill,
    TruthSpec,
    auroc,
    dice,
    iou,
    iou_by_level,
    parse_class_ids,
    side_swapped,
)
from lungsynth.evaluation.masks.measure import MeasureOptions, _made, measure
from lungsynth.evaluation.masks.reading import counted_classes, read_masked, usable_methods
from lungsynth.evaluation.masks.report import (
    best_scored,
    mean_interval,
    patients,
    ranks_correlate,
    resample_films,
    summarise,
    table,
    trust_report,
    write_csv,
)
from lungsynth.films.data import Record
from lungsynth.masks.chain import Aids
from lungsynth.masks.classes import ClassSpec
from lungsynth.masks.refine import RefineConfig
from lungsynth.masks.registry import REFINEMENTS, needs_affinity
from lungsynth.pipeline import Synthesizer


def halves(n: int = 8) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    a, b, valid = np.zeros((n, n), bool), np.zeros((n, n), bool), np.ones((n, n), bool)
    a[:, : n // 2], b[: n // 2] = True, True
    return a, b, valid


def test_overlap_of_two_halves() -> None:
    a, b, valid = halves()
    assert iou(a, b, valid) == pytest.approx(1 / 3)
    assert dice(a, b, valid) == pytest.approx(1 / 2)
    valid[:, 4:] = False  # what is left: b's quarter lies in a's half
    assert iou(a, b, valid) == pytest.approx(1 / 2)
    nothing = np.zeros_like(a)
    assert iou(nothing, nothing, valid) == dice(nothing, nothing, valid) == 1.0
    assert iou(a, nothing, valid) == dice(a, nothing, valid) == 0.0


def test_area_under_roc() -> None:
    truth, _, valid = halves()
    heat = np.where(truth, 0.8, 0.2).astype(np.float32)
    assert auroc(heat, truth, valid) == 1.0
    assert auroc(1 - heat, truth, valid) == 0.0
    assert auroc(heat * 0, truth, valid) == 0.5
    assert np.isnan(auroc(heat, truth & False, valid))
    heat[:, 0] = 0.0  # a quarter of the class below everything else
    assert auroc(heat, truth, valid) == pytest.approx(0.75)
    valid[:, 0] = False
    assert auroc(heat, truth, valid) == 1.0


@settings(max_examples=30, deadline=None)
@given(st.integers(0, 10**6))
def test_every_level_agrees_with_the_mask_at_it(seed: int) -> None:
    rng = np.random.default_rng(seed)
    heat = rng.integers(0, 256, (6, 7)).astype(np.uint8)
    truth, valid = rng.random((2, 6, 7)) < 0.7
    by_level = iou_by_level(heat, truth, valid)
    for level in (0, 1, 100, 200, 254):
        assert by_level[level] == pytest.approx(iou(heat > level, truth, valid))


def test_truth_is_read_as_told() -> None:
    mask = np.array([[0, 1, 2], [127, 255, 3]], np.uint8)
    regions, valid = TruthSpec().regions(mask)
    assert regions[ALL].tolist() == [[False, False, False], [False, True, False]]
    assert valid.tolist() == [[True, True, True], [False, True, True]]
    spec = TruthSpec(classes=parse_class_ids("1=left lung, 2 = right lung"), ignore=(255, 3))
    regions, valid = spec.regions(mask)
    assert set(regions) == {ALL, "left lung", "right lung"}
    assert regions[ALL].sum() == 2 and regions["right lung"][0, 2]
    assert valid.tolist() == [[True] * 3, [True, False, False]]


@pytest.mark.parametrize("text", ["1", "1=", "300=x", "a=x", "1=x,1=y", "1=x,2=x", "1=all"])
def test_class_ids_that_say_nothing_are_refused(text: str) -> None:
    with pytest.raises(ConfigError, match="Class ids"):
        parse_class_ids(text)


def test_a_value_cannot_count_and_be_ignored() -> None:
    with pytest.raises(ConfigError, match="255 is both"):
        TruthSpec(ignore=(127, 255))


def test_sides() -> None:
    labels = np.zeros((4, 8), np.uint8)
    labels[:, 1:3], labels[:, 5:7] = 2, 1
    ids = {"left lung": 1, "right lung": 2, "heart": 3}
    assert not side_swapped(labels, ids)  # the patient's left is on the right of the picture
    assert side_swapped(labels[:, ::-1], ids)
    assert not side_swapped(np.where(labels == 1, 0, labels).astype(np.uint8), ids)
    assert not side_swapped(labels[:, ::-1], {"heart": 1, "liver": 2})


def test_a_spill_gives_back_what_it_was_given() -> None:
    rng = np.random.default_rng(0)
    planes = rng.integers(0, 256, (5, 3, 4, 6)).astype(np.uint8)
    with Spill() as spill:
        for one in planes:
            spill.append(one)
        assert len(spill) == 5
        np.testing.assert_array_equal(np.stack(list(spill)), planes)
        np.testing.assert_array_equal(spill[3], planes[3])
        spill.append(planes[0])  # after reading too
        np.testing.assert_array_equal(spill[5], planes[0])
        with pytest.raises(ValueError, match="planes"):
            spill.append(planes[0][:2])
        with pytest.raises(IndexError):
            spill[6]


def test_patients_are_resampled_whole() -> None:
    fields = [
        {"patient": "a"},
        {"patient": "b"},
        {"patient": "a"},
        {},
        {"patient": "a", "source_set": "x"},
    ]
    assert patients(fields).tolist() == [0, 1, 0, 2, 3]
    times = resample_films(fields, n_resamples=400)
    assert times.shape == (400, 5)
    np.testing.assert_array_equal(times[:, 0], times[:, 2])
    assert (times[:, [0, 1, 3, 4]].sum(1) == 4).all()
    assert times.mean(0) == pytest.approx(1.0, abs=0.15)


def test_the_interval_of_a_mean_is_that_of_theory() -> None:
    values = np.random.default_rng(1).normal(5, 2, 400)
    got = mean_interval(values, resample_films([{}] * 400, n_resamples=2000))
    half = 1.96 * values.std() / 20
    assert got.value == pytest.approx(values.mean())
    assert (got.low, got.high) == pytest.approx((got.value - half, got.value + half), abs=0.03)
    # clustered values are worth less: forty patients of ten equal films
    few = np.repeat(values[:40], 10)
    wide = mean_interval(few, resample_films([{"patient": str(i // 10)} for i in range(400)]))
    assert wide.high - wide.low > 2.5 * (got.high - got.low)
    holes = np.where(np.arange(400) < 3, np.nan, values)
    assert mean_interval(holes, resample_films([{}] * 400)).value == pytest.approx(
        values[3:].mean()
    )
    assert np.isnan(mean_interval(values * np.nan, np.ones((3, 400))).value)


def test_rank_correlation_and_the_best_scored() -> None:
    trust, values = np.arange(10.0), np.array([1, 2, 3, 4, 5, 6, 7, 8, 10, 9.0])
    assert ranks_correlate(trust, values) == pytest.approx(1 - 6 * 2 / (10 * 99))
    assert ranks_correlate(trust, -trust) == -1.0
    assert np.isnan(ranks_correlate(trust * 0, values))
    one = np.ones((1, 10))
    assert best_scored(trust, values, one)[0] == pytest.approx((10 + 9 + 8) / 3)
    assert best_scored(trust, values, one, share=0.15)[0] == pytest.approx((9 + 10 / 2) / 1.5)
    # a resample that drew the best film ten times holds nothing else
    assert best_scored(trust, values, np.eye(10)[[9]] * 10)[0] == 9.0


def test_trust_that_knows_and_trust_that_does_not() -> None:
    rng = np.random.default_rng(0)
    values, times = rng.random(200), resample_films([{}] * 200)
    good = trust_report(values + rng.normal(0, 0.1, 200), values, times)
    assert good["spearman"]["low"] > 0.8
    assert good["best_minus_all"]["low"] > 0.2
    assert good["iou_of_best"]["low"] <= good["iou_of_best"]["value"] <= good["iou_of_best"]["high"]
    none = trust_report(rng.random(200), values, times)
    assert none["spearman"]["low"] < 0 < none["spearman"]["high"]
    assert none["best_minus_all"]["low"] < 0 < none["best_minus_all"]["high"]
    assert "spearman" not in trust_report(np.ones(200), values, times)
    assert trust_report(np.array([np.nan, 0.1, 0.2]), values[:3], times[:, :3]) == {"n": 2}


class Oracle:
    """A stand-in for a checkpoint that reads a film's lungs off its grey values, to any sharpness."""

    def __init__(self, real: Synthesizer, *, affinity: Any = None) -> None:
        self.pipe, self.classes, self.name = real.pipe, real.classes, "oracle"
        self.affinity_field, self.passes = affinity, 0
        self._images: Any = None

    def read_tokens(
        self, latents: Any, embeddings: Any, seeds: list[int], *, each: list[Any]
    ) -> dict[int, Any]:
        self.passes += 1
        dark = torch.from_numpy(self._images < 120)
        side = torch.arange(dark.shape[-1]) < dark.shape[-1] // 2
        body = torch.from_numpy(np.stack([_inside(i) for i in self._images]))
        return {
            s.id: torch.where(dark & body & (side == (s.id == 2)), 3.0, -3.0) for s in self.classes
        }

    aids = Synthesizer.aids
    seen = Synthesizer.seen
    measured_ratios = Synthesizer.measured_ratios
    trust = None
    ratios: ClassVar[list[Any]] = []
    student = None


def _inside(image: np.ndarray) -> np.ndarray:
    """The middle of the film, without its dark corners."""
    y, x = np.indices(image.shape) / len(image)
    return (abs(y - 0.5) < 0.36) & (abs(x - 0.5) < 0.4)


@pytest.fixture(scope="module")
def real(checkpoint: Path) -> Synthesizer:
    return Synthesizer(str(checkpoint), device="cpu")


@pytest.fixture
def oracle(real: Synthesizer, monkeypatch: pytest.MonkeyPatch) -> Iterator[Oracle]:
    made = Oracle(real)

    def encode(pipe: Any, images: np.ndarray) -> torch.Tensor:
        made._images = images
        return torch.zeros(len(images), 4, 2, 2)

    monkeypatch.setattr(masks_module, "encode_images", encode)
    yield made


def records(n: int = 6) -> list[Record]:
    out = []
    for i in range(n):
        image, mask = film(i)
        sides = mask.copy()
        sides[(mask == 255) & (np.indices(mask.shape)[1] < mask.shape[1] // 2)] = 2
        sides[sides == 255] = 1
        out.append(Record(image, "", sides, {"id": f"f{i}", "patient": f"p{i // 2}"}))
    return out


def test_a_student_that_counts_nothing_is_in_no_stage(real: Synthesizer) -> None:
    p = np.full((3, 32, 32), 1 / 3, np.float32)
    config = RefineConfig(method="none", student_weight=0.0)
    aids = Aids(student=cast("Any", object()))  # trust may want it all the same
    found = _made(p, np.zeros((32, 32), np.uint8), real.classes, config, aids)
    assert list(found) == ["none + clean-up"]


SIDES = TruthSpec(classes={1: "left lung", 2: "right lung"})


def test_a_reader_that_is_right_scores_so(oracle: Oracle, tmp_path: Path) -> None:
    ellipse = np.zeros((64, 64), bool)
    ellipse[20:40, 10:54] = True
    rivals = {
        "mean training mask": lambda b: np.repeat(ellipse[None], len(b.images), 0),
        "heat": lambda b: np.repeat(np.where(ellipse, 0.7, 0.2)[None], len(b.images), 0),
        "flat": lambda b: np.full(b.images.shape, 0.5, np.float32),
    }
    with Spill() as spill:
        out = measure(
            oracle,
            iter(records()),
            SIDES,
            spill,
            MeasureOptions(methods=["none", "crf"], rivals=rivals, batch=4, quiet=True),
        )
        assert oracle.passes == 2  # one reading a batch, whatever is made of it
        report = summarise(out, pixels=64, n_resamples=200)
        write_csv(out, tmp_path / "m.csv", pixels=64)
    stages = report["stages"]
    assert [s for s in out.stages if not stages[s]["rival"]] == [
        "raw: best threshold",
        "raw: argmax",
        "raw: gamma",
        "raw: gmm",
        "raw: otsu",
        "none + clean-up",
        "crf + clean-up",
    ]
    assert out.rivals == [
        "mean training mask",
        "heat: best threshold",
        "heat: gamma",
        "heat: gmm",
        "heat: otsu",
        "flat: best threshold",
        "flat: gamma",
        "flat: gmm",
        "flat: otsu",
    ]
    ours = stages["none + clean-up"]["regions"]
    assert set(ours) == {ALL, "left lung", "right lung"}
    for entry in ours.values():
        assert entry["iou"]["value"] > 0.85
        assert entry["mean_distance"]["value"] < 1.0
        assert entry["hd95_percent"]["value"] == pytest.approx(
            100 * entry["hd95"]["value"] / 64, rel=1e-5
        )
    assert report["auroc"]["raw"]["value"] > 0.95
    assert report["auroc"]["flat"]["value"] == 0.5
    # a two-valued map has one best mask, and every threshold finds it
    best = stages["heat: best threshold"]["regions"][ALL]
    same = stages["mean training mask"]["regions"][ALL]
    assert best["iou"] == same["iou"] == stages["heat: otsu"]["regions"][ALL]["iou"]
    assert 0.2 <= best["level"] < 0.7
    # a flat map has no mask, and is as far off as can be
    assert stages["flat: otsu"]["regions"][ALL]["hd95"]["value"] == pytest.approx(
        64 * 2**0.5, rel=1e-5
    )
    gap = ours[ALL]["iou minus mean training mask"]
    assert gap["low"] > 0.2
    assert gap["value"] == pytest.approx(ours[ALL]["iou"]["value"] - same["iou"]["value"], abs=1e-5)
    assert "iou minus none + clean-up" in stages["crf + clean-up"]["regions"][ALL]
    assert (report["n"], report["n_patients"], report["swapped"]) == (6, 3, 0)
    assert report["main"] == "crf + clean-up"
    text = table(report)
    assert "rival: heat: otsu" in text and "left lung:" in text and "- mean mask" in text
    json.dumps(report, allow_nan=False)
    lines = (tmp_path / "m.csv").read_text().splitlines()
    assert len(lines) == 1 + 6 * (7 * 3 + 9)


def test_a_reader_of_the_wrong_side_is_found_out(oracle: Oracle) -> None:
    oracle.classes = [
        ClassSpec(id=2, name="left lung", token=oracle.classes[0].token),
        ClassSpec(id=1, name="right lung", token=oracle.classes[1].token),
    ]
    with Spill() as spill:
        out = measure(
            oracle, records(3), SIDES, spill, MeasureOptions(methods=["none"], quiet=True)
        )
        assert summarise(out, pixels=64, n_resamples=20)["swapped"] == 3
        left = np.array(out.values["none + clean-up", "left lung"])[:, 0]
        together = np.array(out.values["none + clean-up", ALL])[:, 0]
    assert left.max() < 0.05
    assert together.min() > 0.85


def test_ignored_pixels_hide_what_is_wrong_there(oracle: Oracle) -> None:
    films = records(2)
    hidden = [
        Record(
            f.image,
            "",
            np.where(np.indices(f.mask.shape)[1] < 56, 127, f.mask).astype(np.uint8),
            f.fields,
        )
        for f in films
        if f.mask is not None
    ]
    with Spill() as a, Spill() as b:
        full = measure(oracle, films, SIDES, a, MeasureOptions(methods=["none"], quiet=True))
        half = measure(oracle, hidden, SIDES, b, MeasureOptions(methods=["none"], quiet=True))
    key = ("none + clean-up", "right lung")  # the right lung lies in the ignored half
    assert np.array(full.values[key])[:, 0].min() > 0.8
    assert np.array(half.values[key])[:, 0].min() == 1.0  # nothing to find, nothing held against


def test_the_best_threshold_is_the_best(oracle: Oracle) -> None:
    """A map that is right above 0.3 and empty above 0.5: its own best level lies between."""
    films = records(4)

    def low(batch: Any) -> np.ndarray:
        inside = np.stack([_inside(i) & (i < 120) for i in batch.images])
        return np.where(inside, 0.4, 0.3)

    with Spill() as spill:
        out = measure(
            oracle, films, SIDES, spill, MeasureOptions(methods=[], rivals={"low": low}, quiet=True)
        )
    assert 0.299 <= out.levels["low: best threshold", ALL] < 0.4
    assert np.array(out.values["low: best threshold", ALL])[:, 0].mean() > 0.85
    assert out.main == "raw: argmax"


def test_methods_without_their_affinity_are_left_out_and_said_so(oracle: Oracle) -> None:
    usable, skipped = usable_methods(oracle, REFINEMENTS, RefineConfig())
    assert set(usable) | set(skipped) == set(REFINEMENTS)
    assert set(skipped) == {*filter(needs_affinity, REFINEMENTS)}
    assert all("train affinity" in why for why in skipped.values())
    oracle.affinity_field = lambda image: "a field"
    assert usable_methods(oracle, REFINEMENTS, RefineConfig()) == (list(REFINEMENTS), {})
    with pytest.raises(ConfigError, match="nonsense"):
        usable_methods(oracle, ["nonsense"], RefineConfig())


def test_classes_that_the_checkpoint_lacks_are_refused(real: Synthesizer) -> None:
    names = [s.name for s in counted_classes(real.classes, TruthSpec(), None)]
    assert names == ["left lung", "right lung"]
    assert len(counted_classes(real.classes, TruthSpec(), ["right lung"])) == 1
    assert len(counted_classes(real.classes, TruthSpec(classes={5: "left lung"}), None)) == 1
    for spec, wanted in ((TruthSpec(), ["heart"]), (TruthSpec(classes={3: "heart"}), None)):
        with pytest.raises(ConfigError, match="no class 'heart'; it has left lung, right lung"):
            counted_classes(real.classes, spec, wanted)


def test_nothing_to_measure_is_an_error(oracle: Oracle) -> None:
    with Spill() as spill, pytest.raises(DataError, match="no film"):
        measure(oracle, [], SIDES, spill, MeasureOptions(quiet=True))
    with (
        Spill() as spill,
        pytest.raises(DataError, match=r"No pixel of value 9 in 2 masks.*holds 0, 1, 2"),
    ):
        measure(
            oracle,
            records(2),
            TruthSpec(foreground=(9,)),
            spill,
            MeasureOptions(methods=["none"], quiet=True),
        )


def test_conventions_are_never_mixed(tmp_path: Path) -> None:
    import pyarrow as pa
    import pyarrow.parquet as pq
    from tiny import png

    rows = []
    for i in range(8):
        image, mask = film(i)
        rows.append(
            {
                "id": str(i),
                "image": {"bytes": png(image)},
                "mask": {"bytes": png(mask)},
                "split": "test",
                "mask_convention": "v7: more" if i % 2 else "nlm",
            }
        )
    path = tmp_path / "two.parquet"
    pq.write_table(pa.Table.from_pylist(rows), path)
    with pytest.raises(ConfigError, match="not comparable; choose one with --convention"):
        list(read_masked(str(path), split="test"))
    chosen = list(read_masked(str(path), split="test", convention="V7"))
    assert {r.fields["id"] for r in chosen} == {"1", "3", "5", "7"}
    assert [r.fields["id"] for r in chosen] != sorted(r.fields["id"] for r in chosen)  # drawn order
    again = list(read_masked(str(path), split="test", convention="v7", limit=2))
    assert [r.fields["id"] for r in again] == [r.fields["id"] for r in chosen[:2]]
    with pytest.raises(DataError, match="no mask of the convention 'cxr'; there is"):
        list(read_masked(str(path), split="test", convention="cxr"))
    for row, told in zip(rows, ("nlm", "", "v7"), strict=False):
        row["mask_convention"] = told
    pq.write_table(pa.Table.from_pylist(rows[:3]), path)
    for seed in range(8):  # in whatever order, and with a film between that tells none
        with pytest.raises(ConfigError, match="not comparable"):
            list(read_masked(str(path), split="test", seed=seed))
