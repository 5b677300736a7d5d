"""What the film check learns from, how, and how its errors are counted."""

from __future__ import annotations

import json
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from PIL import Image
from tiny import film, write_parquet

from lungsynth.errors import ConfigError, DataError, MissingDependencyError, ShapeError
from lungsynth.evaluation.film_check import (
    WAYS,
    measure_films,
    measure_others,
    other_pictures,
    report,
    totals,
)
from lungsynth.model.film_check import (
    FilmCheckConfig,
    FilmCheckNet,
    check_films,
    check_squares,
    load_film_check,
)
from lungsynth.training.film_check import data as ct
from lungsynth.training.film_check.no_films import (
    DRAWN,
    HELD_OUT,
    SIDE,
    dismantled,
    make_no_films,
    packaged_pictures,
    split_pictures,
    to_square,
)
from lungsynth.training.film_check.train import (
    FRONTAL,
    LATERAL,
    OTHER,
    FilmCheckOptions,
    bordered,
    exposed,
    film_check_loss,
    letters,
    moved,
    train_film_check,
)

CHESTS = Path(__file__).parents[1] / "golden/chests"
SMALL = FilmCheckConfig(pixels=32, widths=(4, 8, 8))


@pytest.fixture(scope="module")
def chests() -> list[np.ndarray]:
    return [np.asarray(Image.open(path)).copy() for path in sorted(CHESTS.glob("*.png"))]


# ---------------------------------------------------------------- pictures


def test_pictures_that_are_no_films_are_the_same_for_the_same_seed(
    chests: list[np.ndarray],
) -> None:
    films = [to_square(one) for one in chests]
    pictures = [np.arange(64 * 64, dtype=np.uint8).reshape(64, 64)]
    one, again, other = (make_no_films(42, films, pictures, seed=s) for s in (0, 0, 1))
    assert one.shape == (42, SIDE, SIDE) and one.dtype == np.uint8
    np.testing.assert_array_equal(one, again)
    assert (one != other).any()
    assert all(int(np.ptp(picture)) > 0 for picture in one)
    rng = np.random.default_rng(0)
    for _ in range(20):  # what is taken apart is never the film itself
        assert np.abs(dismantled(films[0], rng).astype(float) - films[0]).mean() > 2


def test_held_out_pictures_are_not_trained_on() -> None:
    found = packaged_pictures()
    kept, held = split_pictures(found)
    assert len(found) > 40 and len(held) >= len(HELD_OUT) - 1
    assert all(name.startswith(HELD_OUT) for name in held)
    assert len(kept) < len(found) - len(held)  # alike ones are left out
    assert not any(np.array_equal(one, other) for one in kept for other in held.values())


def test_radiographs_are_drawn_head_up_from_the_side_asked_for() -> None:
    body = np.full((60, 30, 50), -1000, np.float32)
    body[5:55, 5:25, :45] = 0  # wide from the front, narrow from the side
    body[25:35, 5:10, 40:45] = 1500  # bone near the head
    rng = np.random.default_rng(0)
    front = ct.radiograph(body, 0, rng)
    assert front.shape == (SIDE, SIDE)
    assert front[: SIDE // 2].max() > front[SIDE // 2 :].max()
    assert ct.radiographs(body, 3, lateral_only=True, seed=1).shape == (3, SIDE, SIDE)


def test_a_volume_that_cannot_be_read(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    import sys

    monkeypatch.setitem(sys.modules, "nibabel", None)
    with pytest.raises(MissingDependencyError, match="pip install nibabel"):
        ct.read_volume(tmp_path / "a.nii.gz")


# ---------------------------------------------------------------- network


def test_answers_turn_with_the_picture() -> None:
    """Sixteen views make the answers of an untrained network follow every move exactly."""
    torch.manual_seed(0)
    model = FilmCheckNet(SMALL).eval()
    square = np.random.default_rng(0).integers(0, 256, (32, 32)).astype(np.uint8)
    plain = check_squares(model, square[None])[0]
    for quarter in range(4):
        (turned,) = check_squares(model, np.rot90(square, quarter)[None])
        np.testing.assert_allclose(turned[:3], plain[:3], atol=1e-4)
        np.testing.assert_allclose(turned[3:7], np.roll(plain[3:7], quarter), atol=1e-4)
        np.testing.assert_allclose(turned[7:], plain[7:], atol=1e-4)
    (negative,) = check_squares(model, (255 - square)[None])
    np.testing.assert_allclose(negative[7], -plain[7], atol=1e-3)
    (mirror,) = check_squares(model, np.ascontiguousarray(square[:, ::-1])[None])
    np.testing.assert_allclose(mirror[3:7], plain[[3, 6, 5, 4]], atol=1e-4)


def test_sizes_that_do_not_fit() -> None:
    with pytest.raises(ConfigError, match="multiple of 8"):
        FilmCheckNet(FilmCheckConfig(pixels=33, widths=(4, 8, 8)))
    with pytest.raises(ShapeError, match=r"expected \(B, 1, 32, 32\)"):
        FilmCheckNet(SMALL)(torch.zeros(1, 1, 16, 16))


def test_changed_pictures_stay_pictures() -> None:
    options, generator = FilmCheckOptions(), torch.Generator().manual_seed(0)
    squares = torch.rand(6, 1, SIDE, SIDE, generator=generator)
    x = exposed(moved(squares, 96, generator, options), generator, options)
    rng = np.random.default_rng(0)
    x = bordered(x, rng, letters(5, rng))
    assert x.shape == (6, 1, 96, 96)
    assert float(x.min()) >= 0 and float(x.max()) <= 1 and float(x.std()) > 0.05


def test_a_batch_without_a_film_has_a_loss() -> None:
    kind, none = torch.full((3,), OTHER), torch.zeros(3, dtype=torch.long)
    loss, parts = film_check_loss(torch.randn(3, 9), kind, none, none, none)
    assert torch.isfinite(loss) and parts["turn"] == parts["mirrored"] == 0


def test_a_run_that_was_stopped_ends_as_an_unbroken_one(tmp_path: Path) -> None:
    squares = np.random.default_rng(0).integers(0, 256, (4, SIDE, SIDE), dtype=np.uint8)
    pictures = {FRONTAL: squares, OTHER: 255 - squares}
    options = FilmCheckOptions(steps=2, batch_size=4)
    stopped = FilmCheckOptions(steps=2, batch_size=4, max_minutes=1e-6)
    whole = train_film_check(pictures, tmp_path / "whole", options, quiet=True)
    assert train_film_check(pictures, tmp_path / "broken", stopped, quiet=True) is None
    again = train_film_check(pictures, tmp_path / "broken", options, quiet=True)
    assert whole is not None and again is not None
    for one, other in zip(whole.parameters(), again.parameters(), strict=True):
        np.testing.assert_allclose(one.detach().numpy(), other.detach().numpy(), atol=1e-6)


def test_training_learns_resumes_and_is_read_back(tmp_path: Path) -> None:
    films = np.stack([to_square(film(seed)[0]) for seed in range(24)])
    films[:, :20] = films[:, :20] // 4 + 190  # a head end, so that up and down differ
    other = make_no_films(60, [], [], seed=0)
    pictures = {FRONTAL: films, LATERAL: np.zeros((0, SIDE, SIDE), np.uint8), OTHER: other}
    options = FilmCheckOptions(steps=60, batch_size=16, log_every=10, max_minutes=1e-6)
    assert train_film_check(pictures, tmp_path, options, quiet=True) is None  # one step a call
    whole = FilmCheckOptions(steps=60, batch_size=16, log_every=10)
    model = train_film_check(pictures, tmp_path, whole, quiet=True, info={"data": ["a"]})
    assert model is not None
    lines = [json.loads(line) for line in (tmp_path / "metrics.jsonl").read_text().splitlines()]
    assert lines[-1]["step"] == 60 and lines[-1]["loss"] < 0.7 * lines[0]["loss"]
    stored = load_film_check(tmp_path / "film_check")
    assert sum(p.numel() for p in stored.parameters()) * 2 < 350_000
    checks = check_films(list(films[:6]), folder=tmp_path / "film_check")
    negative = check_films([255 - one for one in films[:6]], folder=tmp_path / "film_check")
    assert np.mean([c.inverted for c in checks]) < 0.5 < np.mean([c.inverted for c in negative])
    about = json.loads((tmp_path / "film_check" / "film_check.json").read_text())
    assert about["info"]["counts"] == {"0": 24, "1": 0, "2": 60}
    with pytest.raises(DataError, match="24 films and 0 other pictures"):
        train_film_check({FRONTAL: films}, tmp_path / "none", whole, quiet=True)


# ---------------------------------------------------------------- counting


def test_both_kinds_of_error_are_counted(chests: list[np.ndarray]) -> None:
    sets = measure_films({"drawn": chests, "drawn too": chests[:1]}, n_moved=2)
    drawn = sets["drawn"]
    assert drawn["as it is"]["films"] == 3 and drawn["as it is"]["caught"] == 0
    assert drawn["mirrored"]["films"] == 3
    for way in WAYS:
        assert (drawn[way]["films"], drawn[way]["caught"], drawn[way]["put_right"]) == (2, 2, 2)
    assert totals(sets)["inverted"]["films"] == 3
    upside_down = measure_films({"wrong": [np.ascontiguousarray(chests[0][::-1])]})["wrong"]
    assert upside_down["as it is"]["caught"] == 1  # a film that is not in order is no false alarm
    held = split_pictures(packaged_pictures())[1]
    others = measure_others(other_pictures(held, chests, n=2, seed=0))
    assert set(others) == {
        *(draw.__name__ for draw in DRAWN),
        "photograph or scan",
        "film taken apart",
    }
    assert others["noise"]["films"] == others["noise"]["caught"] == 2
    table = report(sets, others)
    assert "| drawn: inverted | 2 | 2 (100.00 %) | 2 |" in table
    assert "| all films: as it is | 4 | 0 (0.00 %) | 4 |" in table


def test_commands(run_cli: Callable[..., Any], tmp_path: Path) -> None:
    source = write_parquet(tmp_path / "films.parquet")
    out = tmp_path / "run"
    ran = run_cli(
        "train",
        "film-check",
        "--data",
        source,
        "--out",
        out,
        "--steps",
        2,
        "--batch-size",
        4,
        "--n-other",
        9,
        "--quiet",
    )
    assert ran.code == 0, ran.err
    assert "0 lateral views, 9 other pictures" in ran.err and "complete" in ran.err
    ran = run_cli(
        "evaluate",
        "film-check",
        "--data",
        source,
        "--out",
        tmp_path / "report",
        "--film-check",
        out / "film_check",
        "--n-moved",
        1,
        "--n-other",
        1,
        "--quiet",
    )
    assert ran.code == 0, ran.err
    told = json.loads((tmp_path / "report" / "film-check.json").read_text())
    assert told["split"] == "test" and told["films"]["films"]["inverted"]["films"] == 1
    assert ran.out.startswith("| what is shown |")
