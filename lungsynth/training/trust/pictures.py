"""What trust is fitted on: films with expert masks, the same films moved and inverted, and no films."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from typing import Any

import numpy as np

from lungsynth.arrays import UInt8Array
from lungsynth.films.data import Record
from lungsynth.films.framing import whole
from lungsynth.masks.classes import ClassSpec
from lungsynth.segment import to_square
from lungsynth.training.film_check.no_films import DRAWN, packaged_pictures, split_pictures

FILM, INVERTED, UPSIDE_DOWN, TURNED, NO_FILM = (
    "film",
    "inverted",
    "upside down",
    "turned",
    "no film",
)


@dataclass(frozen=True, slots=True)
class Picture:
    """A square picture and the truth of each class, by output: 1 class, 0 not, 255 not counted."""

    image: UInt8Array  # (P, P)
    truth: Mapping[str, UInt8Array]  # empty: there is none, every IoU is 0
    kind: str
    source: str


def broken(pictures: Sequence[Picture], n: int) -> list[Picture]:
    """The first `n` films inverted, and likewise upside down and turned by a quarter."""
    out = []
    for one in pictures[:n]:
        moves: dict[str, Any] = {UPSIDE_DOWN: lambda a: a[::-1], TURNED: np.rot90}
        out.append(replace(one, image=255 - one.image, kind=INVERTED))
        for kind, move in moves.items():
            truth = {k: np.ascontiguousarray(move(v)) for k, v in one.truth.items()}
            image = np.ascontiguousarray(move(one.image))
            out.append(replace(one, image=image, truth=truth, kind=kind))
    return out


def no_films(n: int, pixels: int, *, seed: int, held_out: bool = False) -> list[Picture]:
    """Pictures that are no films: noise, black, drawn shapes, and those installed packages ship.

    Args:
        n: How many, half of them drawn.
        pixels: Side.
        seed: Of the choice.
        held_out: Those the film check was not trained on.
    """
    rng = np.random.default_rng((seed, int(held_out)))
    kept, held = split_pictures(packaged_pictures())
    found = list(held.values()) if held_out else kept
    images = [np.zeros((pixels, pixels), np.uint8)]
    images.append(rng.integers(0, 256, (pixels, pixels), dtype=np.uint8))
    for k in range(n // 2):
        images.append(DRAWN[k % len(DRAWN)](rng))
    for index in rng.permutation(len(found))[: n - len(images)]:
        images.append(found[index])
    return [
        Picture(to_square(np.ascontiguousarray(one), pixels=pixels), {}, NO_FILM, NO_FILM)
        for one in images[:n]
    ]


def film_pictures(
    records: Sequence[Record],
    regions: Sequence[Sequence[UInt8Array]],
    specs: Sequence[ClassSpec],
    *,
    pixels: int,
    source: str,
) -> list[Picture]:
    """Films with expert masks, see `lungsynth.training.mask_films.read_annotated`."""
    return [
        Picture(
            whole(record.image, pixels=pixels),
            {spec.output: region for spec, region in zip(specs, one, strict=True)},
            FILM,
            source,
        )
        for record, one in zip(records, regions, strict=True)
    ]
