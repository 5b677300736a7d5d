"""How a picture lies: quarter turns, mirroring, polarity, and what a file declares of them."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any, TypeVar

import numpy as np
from numpy.typing import NDArray

from lungsynth.arrays import UInt8Array

Pixel = TypeVar("Pixel", bound=np.generic)

OPPOSITE = {"L": "R", "R": "L", "H": "F", "F": "H", "A": "P", "P": "A"}
UPRIGHT = ("L", "F")
"""Patient's side at the right edge and at the bottom edge of an upright frontal film."""
CHEST_PARTS = tuple(
    "CHEST THORAX LUNG RIB HEART STERNUM CLAVICLE MEDIASTIN TORSO TRUNK PULMON".split()
)
"""Beginnings or parts of BodyPartExamined that a frontal chest film may bear."""
LATERAL_VIEWS = ("LL", "RL", "LAT", "LATERAL", "LLD", "RLD", "LLO", "RLO")


@dataclass(frozen=True, slots=True)
class Move:
    """What was done to an upright film: mirrored, then turned by quarters, and inverted."""

    quarter_turns: int = 0  # counter-clockwise, as `numpy.rot90` counts them: 0 to 3
    mirrored: bool = False  # left and right changed, before the turn
    inverted: bool = False  # bone is dark

    @property
    def nothing(self) -> bool:
        """Whether the picture is as it should be."""
        return self == Move()

    def put_right(self, image: UInt8Array) -> UInt8Array:
        """The picture (H, W) as it should be; a picture that is in order is returned unchanged."""
        upright = np.rot90(image, -self.quarter_turns)
        upright = upright[:, ::-1] if self.mirrored else upright
        return np.ascontiguousarray(255 - upright if self.inverted else upright)

    def back(self, array: NDArray[Pixel]) -> NDArray[Pixel]:
        """What was made on the upright picture, (…, H, W), in the picture's own frame; greys are kept."""
        out = array[..., ::-1] if self.mirrored else array
        return np.ascontiguousarray(np.rot90(out, self.quarter_turns, axes=(-2, -1)))

    def after(self, first: Move) -> Move:
        """The one move that is `first`, then this one."""
        turns = -first.quarter_turns if self.mirrored else first.quarter_turns
        return Move(
            (turns + self.quarter_turns) % 4,
            self.mirrored != first.mirrored,
            self.inverted != first.inverted,
        )


@dataclass(frozen=True, slots=True, kw_only=True)
class Declared:
    """What a file says of how its film lies; everything empty for a plain picture."""

    view: str = ""  # ViewPosition
    body_part: str = ""  # BodyPartExamined
    orientation: tuple[str, ...] = ()  # PatientOrientation: towards the right and bottom edge
    flipped: bool = False  # FieldOfViewHorizontalFlip
    rotated: int = 0  # FieldOfViewRotation, degrees

    @property
    def lateral(self) -> bool:
        """Whether it says that this is a view from the side."""
        sides = {side[:1] for side in self.orientation}
        return self.view in LATERAL_VIEWS or bool(sides & {"A", "P"})

    @property
    def other_part(self) -> bool:
        """Whether it names a part of the body other than the chest."""
        return bool(self.body_part) and not any(part in self.body_part for part in CHEST_PARTS)

    def warnings(self) -> list[str]:
        """Sentences on what it says that a frontal chest film would not."""
        notes = []
        if self.lateral:
            notes.append("a lateral view, by its file; a frontal film is expected")
        if self.other_part:
            notes.append(
                f"not of the chest, by its file (BodyPartExamined {self.body_part[:16]!r})"
            )
        return notes

    def move(self) -> Move | None:
        """How PatientOrientation says that the film lies; None where it says nothing of it."""
        return MOVES.get(tuple(side[:1] for side in self.orientation))


NOTHING = Declared()
"""What a plain picture declares."""


def _moves() -> dict[tuple[str, ...], Move]:
    """(side at the right edge, side at the bottom edge) -> move."""
    out: dict[tuple[str, ...], Move] = {}
    for mirrored in (False, True):
        right, bottom = ("R" if mirrored else "L"), "F"
        for quarter in range(4):
            out[right, bottom] = Move(quarter, mirrored)
            # a quarter turn brings the bottom edge to the right, the left edge to the bottom
            right, bottom = bottom, OPPOSITE[right]
    return out


MOVES = _moves()


def declared_from(values: Mapping[str, Any]) -> Declared:
    """`Declared` from DICOM values by keyword; what is not valid counts as not said."""

    def text(name: str) -> str:
        return str(values.get(name) or "").strip().upper()

    raw = values.get("PatientOrientation") or ()
    sides = tuple(str(side).strip().upper() for side in raw) if not isinstance(raw, str) else ()
    known = len(sides) == 2 and all(side and set(side) <= set(OPPOSITE) for side in sides)
    try:
        rotated = round(float(text("FieldOfViewRotation") or 0)) % 360
    except (ValueError, OverflowError):
        rotated = 0
    return Declared(
        view=text("ViewPosition"),
        body_part=text("BodyPartExamined"),
        orientation=sides if known else (),
        flipped=text("FieldOfViewHorizontalFlip") == "YES",
        rotated=rotated if rotated % 90 == 0 else 0,
    )
