"""Putting a film right: upright and bone bright, by what its file declares and what the picture shows."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path

import numpy as np

from lungsynth.arrays import UInt8Array
from lungsynth.errors import ConfigError
from lungsynth.films.moves import Declared, Move
from lungsynth.model.film_check import (
    MIRRORED,
    NO_CONTRAST,
    SATURATED,
    SURE,
    FilmCheck,
    check_films,
)

INVERT, ORIENT = ("auto", "yes", "no"), ("auto", "off")

DECLARED = 0.25
"""In place of `SURE` for a turn, where the file says that its field of view was turned."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Righting:
    """What may be put right.

    Raises:
        ConfigError: a value is none of those named.
    """

    invert: str = "auto"  # "auto" as the picture shows, "yes" always, "no" never
    orient: str = "auto"  # "auto" as the file declares and the picture shows, "off" as it is

    def __post_init__(self) -> None:
        if self.invert not in INVERT or self.orient not in ORIENT:
            raise ConfigError(
                f"`invert` is {self.invert!r}, `orient` is {self.orient!r}; expected one of "
                f"{', '.join(INVERT)} and one of {', '.join(ORIENT)}."
            )


@dataclass(frozen=True, slots=True, kw_only=True)
class Righted:
    """A film put right as far as it can be."""

    image: UInt8Array  # (H, W) as it is to be segmented
    move: Move  # what was undone; `move.back(mask)` is in the frame of the file
    check: FilmCheck  # of `image`
    found: FilmCheck  # of the picture as it was read
    done: tuple[str, ...]  # sentences: what was put right
    warnings: tuple[str, ...]  # sentences: what could not be


def put_right(
    image: UInt8Array,
    declared: Declared | None = None,
    righting: Righting | None = None,
    *,
    folder: Path | None = None,
) -> Righted:
    """Turn, mirror and invert a film so that it is upright and its bone bright, where that is known.

    What the file declares is followed first. What the picture shows is followed where it is a chest
    film, but mirroring only where the file declares it: a heart may lie on the right.

    Args:
        image: (H, W) grey uint8, air dark and bone bright if the file is right.
        declared: What its file says.
        righting: What may be put right; None for the defaults.
        folder: Network of `train film-check`; None is the shipped one.

    Raises:
        CheckpointError: the network cannot be read.
    """
    may = righting or Righting()
    says = declared or Declared()
    found = check_films([image], declared=[says], folder=folder)[0]
    move, done = Move(), list[str]()
    if may.orient == "auto":
        move, done = _orientation(image, says, found, folder)
    negative = found.is_chest and found.inverted >= SURE
    if may.invert == "yes" or (may.invert == "auto" and negative):
        move = Move(move.quarter_turns, move.mirrored, True)
        why = "asked for" if may.invert == "yes" else "its polarity is reversed (bone is dark)"
        done.append(f"inverted: {why}")
    if move.nothing:
        upright, check = image, found
    else:
        upright = move.put_right(image)
        check = check_films([upright], declared=[says], folder=folder)[0]
    return Righted(
        image=upright,
        move=move,
        check=check,
        found=found,
        done=tuple(done),
        warnings=tuple(_warnings(check, says, move)),
    )


def _orientation(
    image: UInt8Array, says: Declared, found: FilmCheck, folder: Path | None
) -> tuple[Move, list[str]]:
    """How the film lies by its file, then by what it shows, and sentences about both."""
    declared, done, check = says.move(), list[str](), found
    move = declared or Move()
    if declared is None and says.flipped and found.is_chest and found.mirrored >= SURE:
        move = Move(mirrored=True)
    if not move.nothing:
        done.append(f"{_describe(move)}: its file declares it")
        check = check_films([move.put_right(image)], folder=folder)[0]
    quarter = check.quarter_turns
    if not quarter and says.rotated and declared is None:
        quarter = 1 + int(np.argmax(check.turns[1:]))
    least = DECLARED if says.rotated else SURE
    if check.is_chest and quarter and check.turns[quarter] >= least:
        # the picture lies so once the declared move is undone: both together are undone
        move = move.after(Move(quarter))
        done = [f"{_describe(move)}: the picture shows it"]
        if move.nothing:
            done = ["left as it is: the orientation its file declares does not fit the picture"]
    return move, done


def _describe(move: Move) -> str:
    turned = (
        f"turned by {90 * move.quarter_turns}° (counter-clockwise)" if move.quarter_turns else ""
    )
    return " and ".join(part for part in ("mirrored" if move.mirrored else "", turned) if part)


def _warnings(check: FilmCheck, says: Declared, move: Move) -> list[str]:
    """What keeps a film that was put right from being a sound upright frontal chest film."""
    notes = says.warnings()
    if check.contrast < NO_CONTRAST:
        return ["hardly any contrast: the picture is of one grey"]
    if not check.is_chest:
        notes.append("it does not look like a chest film")
        return notes
    if check.saturated > SATURATED:
        notes.append(
            f"{check.saturated:.0%} of it is pure black or white: its window hides the film"
        )
    if check.lateral > check.frontal and not says.lateral:
        notes.append("it looks like a lateral view; a frontal film is expected")
    if check.quarter_turns:
        notes.append(f"it looks turned by {90 * check.quarter_turns}° (counter-clockwise)")
    if check.inverted >= SURE:
        notes.append("its polarity looks reversed (bone is dark)")
    if check.mirrored >= MIRRORED and check.frontal >= SURE:
        because = "once mirrored as its file declares, " if move.mirrored else ""
        notes.append(
            f"{because}the heart lies on the patient's right: a mirrored film, or an unusual heart; "
            "sides may be swapped"
        )
    return notes
