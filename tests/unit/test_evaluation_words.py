"""Maps of words: figures by hand, rivals that have not seen the film, films and boxes read."""

from __future__ import annotations

import json
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
import pytest
from tiny import film, png

from lungsynth.errors import DataError
from lungsynth.evaluation.words.hearing import Passes
from lungsynth.evaluation.words.map_figures import (
    WordMap,
    bootstrap,
    compare,
    correlations,
    figures,
    grey,
    rival_heats,
)
from lungsynth.evaluation.words.map_reading import (
    PIXELS,
    boxed_films,
    film_caption,
    film_maps,
    lung_regions,
    masked_films,
)
from lungsynth.model.measured import read_measured

SIDE = 16


def square(row: int, column: int, size: int = 4) -> np.ndarray:
    region = np.zeros((SIDE, SIDE), bool)
    region[row : row + size, column : column + size] = True
    return region


def word_map(region: np.ndarray, heat: np.ndarray, patient: str = "a") -> WordMap:
    return WordMap(grey(heat.astype(np.float64)), region, np.ones_like(region), patient)


def test_figures_of_a_map_that_is_the_region() -> None:
    region = square(2, 3)
    found = figures([word_map(region, region)])
    assert found.auc.tolist() == [1.0]
    assert found.pointing.tolist() == [1.0]
    assert found.energy.tolist() == [SIDE * SIDE / 16]
    assert found.iou.shape == (1, 255)
    assert (found.iou == 1.0).all()


def test_figures_by_hand() -> None:
    heat = np.array([[255, 100], [100, 0]], np.uint8)
    region = np.array([[True, True], [False, False]])
    found = figures([WordMap(heat, region, np.ones((2, 2), bool), "a")])
    # pairs (255, 100) and (255, 0) and (100, 0) are right, (100, 100) is half
    assert found.auc[0] == pytest.approx(3.5 / 4)
    assert found.energy[0] == pytest.approx(355 / 455 / 0.5)
    assert found.iou[0, 50] == pytest.approx(2 / 3)
    assert found.iou[0, 200] == pytest.approx(1 / 2)
    hidden = figures([WordMap(heat, region, np.array([[True, False], [True, True]]), "a")])
    assert hidden.auc[0] == 1.0  # the pixel that is not valid counts neither way


def test_a_flat_map_tells_nothing() -> None:
    region = square(2, 3)
    found = figures([word_map(region, np.full((SIDE, SIDE), 255.0))])
    assert found.auc[0] == 0.5
    assert found.energy[0] == 1.0
    assert found.pointing[0] == pytest.approx(region.mean())


def test_rivals_have_not_seen_the_film() -> None:
    """Two patients whose regions lie apart: what the others show is wrong for each."""
    first, second = square(0, 0), square(8, 8)
    maps = [word_map(first, first, "a"), word_map(first, first, "a"), word_map(second, second, "b")]
    heats = rival_heats(maps)
    for name in ("mean map", "mean region"):
        assert np.array_equal(heats[name][0] == 255, second)
        assert np.array_equal(heats[name][2] == 255, first)
    report = compare(maps, 0)
    assert report is not None
    assert report["map"]["auc"]["value"] == 1.0
    assert report["rivals"]["mean region"]["auc"]["value"] < 0.5
    assert report["above"]["mean map"]["low"] > 0.5
    assert (report["n"], report["n_patients"]) == (3, 2)
    assert set(rival_heats(maps[:2])) == {"centre"}


def test_a_region_that_is_not_there_is_not_compared() -> None:
    nothing = np.zeros((SIDE, SIDE), bool)
    assert compare([word_map(nothing, square(0, 0))], 0) is None
    report = compare([word_map(nothing, square(0, 0)), word_map(square(0, 0), square(0, 0))], 0)
    assert report is not None
    assert report["n"] == 1


def test_iou_is_told_at_one_level_for_all_films() -> None:
    """Each map has a perfect level of its own, but no level is right for both."""
    region = square(0, 0)
    bright, dim = np.where(region, 255, 200), np.where(region, 100, 0)
    dim[15, 15] = 255
    report = compare([word_map(region, bright, "a"), word_map(region, dim, "b")], 0)
    assert report is not None
    assert report["map"]["iou"]["value"] < 0.6


def test_films_of_one_patient_are_drawn_together() -> None:
    values = np.array([1.0] * 20 + [0.0] * 20)
    alone = bootstrap(values, [str(i) for i in range(40)], 0)
    paired = bootstrap(values, ["a"] * 20 + ["b"] * 20, 0)
    assert (paired.low, paired.high) == (0.0, 1.0)
    assert alone.low > 0.3


def test_correlation_of_one_map_with_itself_and_another() -> None:
    a, b = grey(square(0, 0).astype(float)), grey(square(8, 8).astype(float))
    rows = [{"anatomy": a, "finding": a, "filler": b}] * 3
    told = correlations(rows, ["x", "y", "z"], 0)
    assert told["anatomy and finding"]["value"] == 1.0
    assert told["anatomy and filler"]["value"] < 0.1
    assert told["n"] == 3


def test_regions_are_the_patients_sides() -> None:
    _, mask = film(3, height=100, width=100)
    mask[:4] = 127
    regions, valid = lung_regions(mask)
    columns = {k: np.nonzero(v)[1].mean() for k, v in regions.items()}
    assert columns["right lung"] < columns["left lung"]  # as a film is looked at
    assert np.array_equal(regions["left lung"] | regions["right lung"], regions["lungs"])
    assert not valid[:4].any()
    one = mask.copy()
    one[:, 50:] = 0
    assert set(lung_regions(one)[0]) == {"lungs"}


def test_masked_films_are_kept_apart_by_convention(parquet: Path, tmp_path: Path) -> None:
    rows = []
    for i in range(6):
        image, mask = film(i)
        told = {"v7": "v7: to the spine", "nlm": "nlm: without the heart"}["v7" if i % 2 else "nlm"]
        rows.append(
            {
                "id": str(i),
                "image": {"bytes": png(image)},
                "mask": None if i == 5 else {"bytes": png(mask)},
                "mask_convention": told,
                "split": "test",
                "patient": str(i // 2),
            }
        )
    pq.write_table(pa.Table.from_pylist(rows), tmp_path / "films.parquet")
    found = masked_films([str(tmp_path / "films.parquet")], 64, split="test", limit=None)
    assert {k: len(v) for k, v in found.items()} == {"v7": 2, "nlm": 3}
    assert found["nlm"][0].image.shape == (64, 64)
    assert found["nlm"][0].valid.shape == (PIXELS, PIXELS)
    limited = masked_films([str(tmp_path / "films.parquet")], 64, split="test", limit=1)
    assert all(len(films) == 1 for films in limited.values())


@pytest.fixture
def boxes(tmp_path: Path) -> Path:
    """Three boxes on two films, one in another split."""
    rows = []
    for name, split, box in (
        ("a", "test", [10.0, 10.0, 30.0, 40.0]),
        ("a", "test", [60.0, 10.0, 90.0, 40.0]),
        ("b", "train", [0.0, 0.0, 100.0, 100.0]),
    ):
        image, _ = film(1, height=100, width=100)
        rows.append(
            {
                "id": name,
                "image": {"bytes": png(image)},
                "width": 100,
                "height": 100,
                "box": box,
                "split": split,
                "view": "AP",
                "age": "60",
                "sex": "M",
                "patient": "7",
            }
        )
    path = tmp_path / "boxes.parquet"
    pq.write_table(pa.Table.from_pylist(rows), path)
    return path


def test_boxes_of_a_film_are_one_region(boxes: Path) -> None:
    (one,) = boxed_films(str(boxes), 64, split="test")
    assert one.regions["finding"].mean() == pytest.approx((20 * 30 + 30 * 30) / 100**2, abs=0.01)
    assert film_caption(one, "x") == "Frontal AP chest X-ray of a 60-year-old man. x"
    assert len(boxed_films(str(boxes), 64, split=None)) == 2
    with pytest.raises(DataError, match="no box of split 'val'"):
        boxed_films(str(boxes), 64, split="val")


def test_a_source_without_boxes_is_refused(parquet: Path) -> None:
    with pytest.raises(DataError, match="no column box, height, width"):
        boxed_films(str(parquet), 64, split="test")


def test_maps_are_of_the_film_whatever_the_batch(pipe: Any) -> None:
    images = [film(i, height=64, width=64)[0] for i in range(3)]
    prompt = "Chest X-ray of a man. Left lung, heart and right lung"
    words = [["right lung", "of"], ["right lung"], ["left lung"]]
    how = Passes(timesteps=(300, 700), precision="fp32")
    together = film_maps(pipe, images, [prompt] * 3, words, how)
    alone = film_maps(pipe, images, [prompt] * 3, words, replace(how, batch=1))
    assert [list(maps) for maps in together] == words
    for a, b in zip(together, alone, strict=True):
        for word in a:
            assert a[word].shape == (PIXELS, PIXELS)
            assert np.abs(a[word].astype(int) - b[word]).max() <= 1
    other = film_maps(pipe, images[:1], [prompt], [["right lung"]], Passes(timesteps=(10,)))
    assert not np.array_equal(other[0]["right lung"], together[0]["right lung"])


def test_the_command_writes_a_report(
    checkpoint: Path,
    parquet: Path,
    boxes: Path,
    tmp_path: Path,
    run_cli: Callable[..., Any],
) -> None:
    out = tmp_path / "out"
    done = run_cli(
        *("evaluate", "words", "--data", parquet, "--boxes", boxes, "--checkpoint", checkpoint),
        *("--out", out, "--samples", 2, "--steps", 2, "--finding-word", "pneumonia", "--quiet"),
    )
    assert done.code == 0, done.err
    report = json.loads((out / "words.json").read_text())
    assert set(report["films"]) == {"v7"}
    assert set(report["films"]["v7"]) == {"left lung", "right lung", "lungs"}
    assert report["boxes"]["pneumonia"]["n"] == 1
    assert set(report["samples"]["words"]) <= {"left lung", "right lung"}
    assert report["correlation"]["n"] >= 1  # sick films
    assert "correlation of maps, median" in done.out
    assert set(read_measured(out).words) == {"left lung", "right lung", "lungs", "pneumonia"}
    assert not read_measured(checkpoint).words  # only with --into-checkpoint
