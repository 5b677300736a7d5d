"""Films put right by the shipped film check, and what is said of those that cannot be."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
from PIL import Image
from tiny import film

from lungsynth.errors import CheckpointError, ConfigError
from lungsynth.evaluation.film_check import WAYS, apply
from lungsynth.films.film import Film
from lungsynth.films.moves import Declared, Move
from lungsynth.masks.refine import RefineConfig
from lungsynth.model.film_check import check_films, greys
from lungsynth.model.put_right import Righting, put_right
from lungsynth.output import film_warnings, segment_record
from lungsynth.pipeline import Synthesizer
from lungsynth.segment import segment_film

CHESTS = Path(__file__).parents[1] / "golden/chests"
"""Synthetic chest films that the shipped model drew; not square."""


@pytest.fixture(scope="module", params=["1", "2", "3"])
def chest(request: pytest.FixtureRequest) -> np.ndarray:
    """One of them: (224, 256)."""
    with Image.open(CHESTS / f"{request.param}.png") as opened:
        return np.asarray(opened).copy()


def test_a_film_in_order_is_left_alone(chest: np.ndarray) -> None:
    righted = put_right(chest)
    assert righted.move.nothing and righted.done == righted.warnings == ()
    assert righted.image is chest and righted.check.score > 0.8
    assert righted.check == righted.found


@pytest.mark.parametrize("way", WAYS)
def test_moved_and_inverted_films_are_put_right(way: str, chest: np.ndarray) -> None:
    righted = put_right(apply(WAYS[way], chest))
    assert righted.move == WAYS[way]
    np.testing.assert_array_equal(righted.image, chest)
    assert righted.check.score > 0.8 > 0.2 > righted.found.score and righted.warnings == ()
    told = " ".join(righted.done)
    assert ("inverted" in told) == WAYS[way].inverted
    assert ("turned by" in told) == bool(WAYS[way].quarter_turns)


def test_what_may_not_be_put_right_is_warned_of(chest: np.ndarray) -> None:
    kept = put_right(255 - chest, righting=Righting(invert="no"))
    assert kept.move.nothing and "polarity looks reversed" in kept.warnings[0]
    assert kept.check.score < 0.2
    turned = put_right(apply(Move(2), chest), righting=Righting(orient="off"))
    assert turned.move.nothing and "turned by 180°" in turned.warnings[0]
    assert turned.check.score < 0.2
    forced = put_right(chest, righting=Righting(invert="yes"))
    assert forced.move == Move(inverted=True) and forced.done == ("inverted: asked for",)


def test_what_a_file_declares_is_followed(chest: np.ndarray) -> None:
    flipped = np.ascontiguousarray(chest[:, ::-1])
    righted = put_right(flipped, Declared(orientation=("R", "F")))
    np.testing.assert_array_equal(righted.image, chest)
    assert righted.done == ("mirrored: its file declares it",)
    lying = apply(Move(1, mirrored=True), chest)
    righted = put_right(lying, Declared(orientation=("F", "L")))
    assert righted.move == Move(1, mirrored=True)
    np.testing.assert_array_equal(righted.image, chest)
    kept = put_right(flipped, Declared(orientation=("R", "F")), Righting(orient="off"))
    np.testing.assert_array_equal(kept.image, flipped)


def test_a_declared_turn_that_does_not_fit_the_picture_is_not_followed(chest: np.ndarray) -> None:
    righted = put_right(chest, Declared(orientation=("R", "H")))  # upside down, says the file
    np.testing.assert_array_equal(righted.image, chest)
    assert righted.move.nothing and "does not fit the picture" in righted.done[0]


@pytest.mark.parametrize(
    ("declared", "words"),
    [
        (Declared(view="LL"), "lateral"),
        (Declared(orientation=("P", "F")), "lateral"),
        (Declared(body_part="HAND"), "BodyPartExamined 'HAND'"),
    ],
)
def test_a_declared_other_view_counts(declared: Declared, words: str, chest: np.ndarray) -> None:
    righted = put_right(chest, declared)
    assert words in righted.warnings[0] and righted.check.score <= 0.5


@pytest.mark.parametrize("kind", ["noise", "ramp", "stripes", "photo", "half"])
def test_what_is_no_chest_film_is_told_and_left_as_it_is(kind: str, chest: np.ndarray) -> None:
    from skimage import data

    y, x = np.mgrid[:200, :240]
    picture = {
        "noise": np.random.default_rng(0).integers(0, 256, (200, 240)).astype(np.uint8),
        "ramp": x.astype(np.uint8),
        "stripes": ((x // 9 + y // 30) % 2 * 200).astype(np.uint8),
        "photo": np.ascontiguousarray(data.chelsea().mean(2).astype(np.uint8)),
        "half": np.ascontiguousarray(chest[:, :100]),
    }[kind]
    righted = put_right(picture)
    assert "it does not look like a chest film" in righted.warnings
    assert righted.move.nothing and righted.check.score < 0.4


def test_no_contrast_and_a_hiding_window(chest: np.ndarray) -> None:
    flat = put_right(np.full((64, 64), 90, np.uint8))
    assert flat.check.score == 0 and "hardly any contrast" in flat.warnings[0]
    harsh = np.where(chest > 110, 255, 0).astype(np.uint8)
    assert greys(harsh)[1] == 1.0 and put_right(harsh).check.score < 0.1
    framed = np.pad(chest, 40)
    assert greys(framed)[1] < 0.1  # a black frame hides nothing


def test_films_are_judged_alone_and_together_alike(chest: np.ndarray) -> None:
    images = [chest, np.ascontiguousarray(chest[:, ::-1]), film(0)[0]]
    together = check_films(images)
    for one, image in zip(together, images, strict=True):
        (alone,) = check_films([image])
        assert one.score == pytest.approx(alone.score, abs=1e-4)
    assert check_films([]) == []


def test_wrong_options_and_a_broken_network(chest: np.ndarray, tmp_path: Path) -> None:
    with pytest.raises(ConfigError, match="`invert` is 'maybe'"):
        Righting(invert="maybe")
    with pytest.raises(ConfigError, match="`orient` is 'on'"):
        Righting(orient="on")
    with pytest.raises(CheckpointError, match="no such file"):
        put_right(chest, folder=tmp_path)


@pytest.mark.parametrize("move", [Move(1), Move(2, inverted=True), Move(inverted=True)])
def test_masks_lie_as_the_file_does(move: Move, chest: np.ndarray, checkpoint: Path) -> None:
    """The mask of a moved film is the film's mask, moved; nothing in the middle sees the move."""
    synthesizer = Synthesizer(str(checkpoint), device="cpu")
    plain = RefineConfig(method="none", clean_up=False)
    upright = segment_film(synthesizer, chest, config=plain)
    lying = Film("a", apply(move, chest), (), path="more/a.png")
    result = segment_film(synthesizer, lying, config=plain)
    np.testing.assert_array_equal(result.mask, move.back(upright.mask))
    np.testing.assert_array_equal(result.probability, upright.probability)
    record = segment_record(lying, result)
    assert record["moved"] == {
        "quarter_turns": move.quarter_turns,
        "mirrored": False,
        "inverted": move.inverted,
    }
    assert record["put_right"] == list(result.righted.done) != []
    assert record["path"] == "more/a.png" and record["film_check"]["score"] > 0.8
    off = Righting(invert="no", orient="off")
    left = segment_film(synthesizer, lying, config=plain, righting=off)
    assert film_warnings(lying, left) and not np.array_equal(left.mask, result.mask)
