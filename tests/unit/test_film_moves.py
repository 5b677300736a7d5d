"""How a film lies, and what its file declares of it."""

from __future__ import annotations

import numpy as np
import pytest

from lungsynth.evaluation.film_check import apply
from lungsynth.films.moves import MOVES, Declared, Move, declared_from

EVERY = [Move(k, m, i) for k in range(4) for m in (False, True) for i in (False, True)]


@pytest.fixture
def picture() -> np.ndarray:
    return np.random.default_rng(0).integers(0, 256, (5, 8), dtype=np.uint8)


@pytest.mark.parametrize("move", EVERY)
def test_what_was_moved_is_put_right(move: Move, picture: np.ndarray) -> None:
    shown = apply(move, picture)
    np.testing.assert_array_equal(move.put_right(shown), picture)
    mask = (picture > 99).astype(np.uint8)
    np.testing.assert_array_equal(
        move.back(mask), apply(Move(move.quarter_turns, move.mirrored), mask)
    )
    maps = np.stack([mask, 1 - mask])
    np.testing.assert_array_equal(move.back(maps)[1], 1 - move.back(mask))


@pytest.mark.parametrize("first", EVERY)
@pytest.mark.parametrize("second", EVERY)
def test_two_moves_are_one(first: Move, second: Move, picture: np.ndarray) -> None:
    both = apply(second, apply(first, picture))
    np.testing.assert_array_equal(apply(second.after(first), picture), both)


def test_moves_by_declared_sides(picture: np.ndarray) -> None:
    """Edges are labelled on the upright film; the labels travel with a move as its pixels do."""
    assert len(MOVES) == 8 and len(set(MOVES.values())) == 8
    edges = np.full((3, 3), "", dtype="<U1")
    edges[1, 2], edges[2, 1], edges[1, 0], edges[0, 1] = "L", "F", "R", "H"
    for (right, bottom), move in MOVES.items():
        lying = move.back(edges)
        assert (lying[1, 2], lying[2, 1]) == (right, bottom)


def test_what_a_file_declares() -> None:
    says = declared_from(
        {
            "ViewPosition": "pa",
            "BodyPartExamined": "Chest ",
            "PatientOrientation": ["R", "F"],
            "FieldOfViewHorizontalFlip": "YES",
            "FieldOfViewRotation": "270",
        }
    )
    assert says == Declared(
        view="PA", body_part="CHEST", orientation=("R", "F"), flipped=True, rotated=270
    )
    assert says.move() == Move(mirrored=True) and not says.lateral and not says.other_part
    assert declared_from({"PatientOrientation": ["LF", "FR"]}).move() == Move()
    assert declared_from({"PatientOrientation": ["P", "F"]}).lateral
    assert declared_from({"ViewPosition": "LL"}).lateral
    assert declared_from({"BodyPartExamined": "HAND"}).other_part
    for odd in (
        {"PatientOrientation": "L"},
        {"PatientOrientation": ["X", "F"]},
        {"PatientOrientation": ["L"]},
        {"FieldOfViewRotation": "abc"},
        {"FieldOfViewRotation": 45},
        {"FieldOfViewRotation": float("inf")},
    ):
        assert declared_from(odd) == Declared() and declared_from(odd).move() is None
