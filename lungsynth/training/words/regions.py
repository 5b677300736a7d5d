"""Where organs and findings lie on the films a run trains on, for the words that name them.

The lungs come from a student network (our own masks, of no expert's hand on these films), the heart
is what lies between them in the lower part of the chest, a finding is its reader's box, and where
there is no box nothing is claimed of it.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass

import numpy as np
from PIL import Image

from lungsynth.arrays import BoolArray, UInt8Array
from lungsynth.films.data import Record
from lungsynth.films.framing import Framing, cut, whole
from lungsynth.masks.student import StudentNetwork, student_logits
from lungsynth.model.precision import AUTO, rounded

PLANES = ("left lung", "right lung", "heart", "finding")
"""Planes of a region map, in order."""

FINDINGS = ("lung opacity", "pneumonia", "consolidation", "infiltration")
"""Findings whose boxes are used, as box tables name them."""

GRID = 16
"""Side of a region map; a place holds the share of it that the region covers."""

WORK = 256
"""Side of the square the student looks at, in pixels."""


@dataclass(frozen=True, slots=True)
class Box:
    """Where a reader saw a finding, in shares of the film's width and height."""

    finding: str
    x0: float
    y0: float
    x1: float
    y1: float


def lung_masks(student: StudentNetwork, image: UInt8Array) -> UInt8Array:
    """Left lung, right lung and heart of a film by the student.

    Args:
        student: Knows "nlm/left lung" and "nlm/right lung".
        image: (H, W) uint8 grey film.

    Returns:
        (3, H, W) uint8, 255 inside, softer at the border; 0 beyond the square that
        `lungsynth.films.framing.whole` shows.
    """
    height, width = image.shape
    # to the nearest grey level is near enough for a grid of 16 places
    with rounded("cpu", AUTO):
        logits = student_logits(student, whole(image, pixels=WORK)[None])[0]
    outputs = [student.outputs.index(f"nlm/{side} lung") for side in ("left", "right")]
    scores = np.concatenate([np.zeros((1, WORK, WORK)), logits[outputs].numpy()])
    ids = scores.argmax(0)
    planes = np.stack([ids == 1, ids == 2, between(ids == 2, ids == 1)])
    side = round(min(max(height, width) / min(height, width), 1.25) * min(height, width))
    x0, y0 = round(width / 2 - side / 2), round(height / 2 - side / 2)
    out = np.zeros((3, height, width), np.uint8)
    for plane, target in zip(planes, out, strict=True):
        full = Image.fromarray(plane.astype(np.uint8) * 255).resize((side, side))
        pasted = Image.new("L", (width, height))
        pasted.paste(full, (x0, y0))
        target[:] = np.asarray(pasted)
    return out


def between(right: BoolArray, left: BoolArray) -> BoolArray:
    """The heart, roughly: what lies between the lungs in the lower 55 % of their common height.

    Lungs are the patient's, (H, W): the right one lies on the left. Empty where one is missing.
    """
    out = np.zeros_like(right)
    rows = np.flatnonzero(right.any(1) & left.any(1))
    if rows.size == 0:
        return out
    top, bottom = rows[0], rows[-1]
    columns = np.arange(right.shape[1])
    for y in rows[rows >= top + 0.45 * (bottom - top)]:
        inner = columns[right[y]].max(), columns[left[y]].min()
        out[y, inner[0] + 1 : inner[1]] = True
    return out


def box_mask(boxes: Sequence[Box], height: int, width: int) -> UInt8Array:
    """(H, W) uint8, 255 inside any of the boxes."""
    out = np.zeros((height, width), np.uint8)
    for box in boxes:
        rows = slice(round(box.y0 * height), max(round(box.y1 * height), 1))
        out[rows, round(box.x0 * width) : max(round(box.x1 * width), 1)] = 255
    return out


def place_of(boxes: Sequence[Box], lungs: UInt8Array) -> str:
    """Side and zone of a film's boxes in words, such as "right lower"; "bilateral" for both sides.

    The height of the lungs (3, H, W) is divided in thirds, their middle is the midline.
    """
    both = lungs[:2].max(0) > 0
    rows, columns = np.flatnonzero(both.any(1)), np.flatnonzero(both.any(0))
    height, width = both.shape
    top, bottom = (rows[0], rows[-1]) if rows.size else (0, height - 1)
    middle = (columns[0] + columns[-1]) / 2 if columns.size else width / 2
    sides = {"right" if (b.x0 + b.x1) / 2 * width < middle else "left" for b in boxes}
    if len(sides) > 1:
        return "bilateral"
    centre = float(np.mean([(b.y0 + b.y1) / 2 * height for b in boxes]))
    third = (centre - top) / max(bottom - top, 1)
    return f"{sides.pop()} {'upper' if third < 0.36 else 'middle' if third < 0.6 else 'lower'}"


def region_grid(planes: UInt8Array, framing: Framing) -> UInt8Array:
    """Film planes (K, H, W), 255 inside -> (K, GRID, GRID) uint8 share of each place, 255 = all of it."""
    out = []
    for plane in planes:
        fine = cut(plane, framing, pixels=4 * GRID, nearest=True)
        share = fine.reshape(GRID, 4, GRID, 4).mean((1, 3), dtype=np.float64)
        out.append(np.asarray(share.round(), dtype=np.uint8))
    return np.stack(out)


def read_boxes(rows: Sequence[Mapping[str, object]]) -> dict[str, list[Box]]:
    """Rows of a box table (`id`, `finding`, `box` in pixels, `width`, `height`) -> film id: boxes."""
    found: dict[str, list[Box]] = {}
    for row in rows:
        x0, y0, x1, y1 = (float(v) for v in row["box"])  # type: ignore[attr-defined]
        width, height = float(str(row["width"])), float(str(row["height"]))
        box = Box(str(row["finding"]), x0 / width, y0 / height, x1 / width, y1 / height)
        found.setdefault(str(row["id"]), []).append(box)
    return found


def find_places(
    student: StudentNetwork, boxes: Mapping[str, Sequence[Box]]
) -> Callable[[Record], tuple[UInt8Array, str]]:
    """A film -> its planes (see `PLANES`), (4, H, W) uint8, and the words for where its finding is.

    Of `boxes`, film id -> boxes, those of `FINDINGS` alone are used.
    """

    def places(record: Record) -> tuple[UInt8Array, str]:
        lungs = lung_masks(student, record.image)
        mine = [b for b in boxes.get(record.fields.get("id", ""), ()) if b.finding in FINDINGS]
        finding = box_mask(mine, *record.image.shape)
        return np.concatenate([lungs, finding[None]]), place_of(mine, lungs) if mine else ""

    return places
