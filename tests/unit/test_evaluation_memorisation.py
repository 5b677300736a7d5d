"""Planted copies are caught whatever was done to them; honest pictures are not."""

from __future__ import annotations

import json
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from evaluation_films import image_set, random_encoder
from tiny import png

from lungsynth.errors import DataError
from lungsynth.evaluation.common import ImageSet
from lungsynth.evaluation.copies import alignment
from lungsynth.evaluation.copies import search as copies
from lungsynth.evaluation.copies.alignment import details, view_map, warp
from lungsynth.evaluation.copies.memorisation import (
    choose_threshold,
    evaluate_memorisation,
    memorisation_table,
    proportion,
)
from lungsynth.evaluation.copies.planted import KINDS, plant
from lungsynth.evaluation.copies.search import Finder, views

COPY, TWINS = 5, (2, 9)


@pytest.fixture(scope="module", autouse=True)
def _few_candidates() -> Iterator[None]:
    """A small training set needs few candidates, and sharp shapes few steps."""
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(copies, "N_COARSE", 4)
        patch.setattr(copies, "N_FINE", 1)
        for pixels in alignment.STEPS:
            patch.setitem(alignment.STEPS, pixels, 6)
            patch.setitem(alignment.RATES, pixels, 2 * alignment.RATES[pixels])
        yield


@pytest.fixture(scope="module")
def report() -> dict[str, Any]:
    train = image_set(24)
    drawn = image_set(12, seed=300)
    drawn.images[COPY] = KINDS["combined"](train.images[17], np.random.default_rng(0))
    drawn.images[TWINS[1]] = KINDS["re-exposed"](drawn.images[TWINS[0]], np.random.default_rng(0))
    return evaluate_memorisation(
        drawn,
        train,
        image_set(20, seed=100),
        image_set(20, seed=200),
        random_encoder(),
        n_planted=16,
    )[0]


def test_a_changed_copy_and_a_duplicate_are_named_and_nothing_else(report: dict[str, Any]) -> None:
    assert report["copies"] == ["picture-305"]
    assert report["pictures"][COPY]["film"] == "picture-17"
    assert [set(d["pictures"]) for d in report["duplicates"]] == [{"picture-302", "picture-309"}]
    assert report["passed"] is False
    assert "picture-305" in memorisation_table(report)


def test_the_gate_says_how_good_it_is_on_films_that_did_not_set_it(report: dict[str, Any]) -> None:
    assert report["n"] == {
        "synthetic": 12,
        "train": 24,
        "calibration": 20,
        "test": 20,
        "planted": 16,
    }
    assert report["caught"]["n"] == 8 and report["caught"]["value"] >= 7 / 8
    assert set(report["caught"]["kinds"]) == set(KINDS)
    assert sum(k["n"] for k in report["caught"]["kinds"].values()) == 8
    assert report["false_alarms"]["count"] == 0 and report["false_alarms"]["high"] > 0.1
    assert report["scores"]["real_test"]["max"] < report["threshold"]


def test_the_report_is_also_one_that_the_publisher_reads(
    report: dict[str, Any], tmp_path: Path
) -> None:
    from publish.build.finish import memorisation_report

    path = tmp_path / "memorisation.json"
    path.write_text(json.dumps(report))
    kept = memorisation_report(path)
    assert "picture-305" in kept["closer_than_test_0.1"]
    assert "picture-17" not in json.dumps(kept)  # no training film is named in a release


@pytest.mark.parametrize("kind", sorted(KINDS))
def test_every_kind_changes_the_film_and_keeps_its_size(kind: str) -> None:
    film = image_set(1).images[0]
    first, again = (KINDS[kind](film, np.random.default_rng(3)) for _ in range(2))
    assert first.shape == film.shape and first.dtype == np.uint8
    assert (first != film).mean() > 0.1
    np.testing.assert_array_equal(first, again)


def test_kinds_take_turns() -> None:
    changed, kinds = plant(image_set(9).images, seed=1)
    assert kinds == [*KINDS, next(iter(KINDS))] and len(changed) == 9


def test_a_warp_is_undone_by_the_search() -> None:
    import torch

    films = image_set(6).images
    view = view_map(0.53, 0.46, 0.85, 4.0)[None]
    moved = warp(torch.from_numpy(films[4])[None, None].float(), view)[0]
    picture = moved[0].round().to(torch.uint8).numpy()[:, :, ::-1].copy()
    found = Finder(films).search(picture)
    assert found.index[0] == 4 and found.score[0] > 0.9 and found.ssim[0] > 0.8


def test_exposure_and_black_margins_leave_no_detail() -> None:
    film = image_set(1).images[0]
    film[:40] = 0
    plain, dark = (
        details(f[None], 128)[0, 0].numpy() for f in (film, (film * 0.6).astype(np.uint8))
    )
    assert np.abs(plain[:6]).max() == 0
    assert np.corrcoef(plain.ravel(), dark.ravel())[0, 1] > 0.97


def test_views_cover_the_film() -> None:
    maps = views().numpy()
    assert maps.shape == (153, 2, 3)
    corners = np.abs(maps[:, :, 2]).max(0)
    assert np.allclose(corners, 0.22, atol=1e-6)  # squares of 78 % reach every edge


def test_the_threshold_lies_between_both_demands() -> None:
    real, planted = np.linspace(0, 0.6, 200), np.linspace(0.8, 1, 200)
    threshold, possible = choose_threshold(real, planted)
    assert possible and 0.69 < threshold < 0.72
    assert (real >= threshold).mean() <= 0.01 and (planted >= threshold).mean() >= 0.95
    threshold, possible = choose_threshold(real, real)
    assert not possible and (real >= threshold).mean() <= 0.01  # false alarms come first


def test_a_share_has_the_exact_interval() -> None:
    told = proportion(0, 100)
    assert told.low == 0 and told.high == pytest.approx(1 - 0.025 ** (1 / 100))


def test_what_cannot_be_calibrated_is_refused() -> None:
    few, enough = image_set(3), image_set(20)
    with pytest.raises(DataError, match=r"real calibration: 3 picture\(s\), need at least 20"):
        evaluate_memorisation(few, enough, few, enough, random_encoder())
    with pytest.raises(DataError, match="15 planted copies; need at least 16"):
        evaluate_memorisation(few, enough, enough, enough, random_encoder(), n_planted=15)


def test_the_command_writes_the_report_and_the_gate_fails(tmp_path: Path, run_cli: Any) -> None:
    films = write(
        tmp_path / "films.parquet", image_set(84), ["train"] * 44 + ["val"] * 20 + ["test"] * 20
    )
    drawn = tmp_path / "dataset"  # as published
    (drawn / "data").mkdir(parents=True)
    write(drawn / "data" / "train-00000-of-00001.parquet", image_set(2, seed=10))
    out = tmp_path / "out"
    ran = run_cli(
        "evaluate",
        "memorisation",
        "--data",
        films,
        "--synthetic",
        drawn,
        "--out",
        out,
        "--planted",
        16,
        "--gate",
        "--quiet",
    )
    assert ran.code == 1 and "copies of training films: 2 of 2" in ran.out, ran.err
    report = json.loads((out / "memorisation.json").read_text())
    assert report["copies"] == ["picture-10", "picture-11"] and (out / "closest.png").is_file()


def write(path: Path, films: ImageSet, splits: list[str] | None = None) -> Path:
    import pyarrow as pa
    import pyarrow.parquet as pq

    rows = [
        {"id": name, "image": {"bytes": png(image), "path": None}}
        | ({} if splits is None else {"split": splits[i]})
        for i, (name, image) in enumerate(zip(films.names, films.images, strict=True))
    ]
    pq.write_table(pa.Table.from_pylist(rows), path)
    return path
