"""The film check: is this an upright frontal chest film of usual polarity.

A small network judges the picture, rules judge its greys, and what the file declares counts too.
"""

from __future__ import annotations

import os
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from functools import cache, partial
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray
from PIL import Image

from lungsynth.arrays import UInt8Array
from lungsynth.films.moves import Declared

DEFAULT_FOLDER = Path(__file__).resolve().parents[1] / "checkpoints" / "film_check"
PIXELS = 96

SURE = 0.5
"""Probability from which polarity, turn and kind are taken for granted."""
MIRRORED = 0.98
"""Probability from which a film is called mirrored; hearts in the middle leave it open."""
NO_CONTRAST = 16
"""Grey levels between the 0.5th and 99.5th percentile below which a picture shows nothing."""
SATURATED = 0.5
"""Share of the inner picture at pure black or white from which a window is said to hide it."""


@dataclass(frozen=True, slots=True, kw_only=True)
class FilmCheck:
    """What a picture was found to be. Probabilities are in [0, 1]."""

    frontal: float  # a frontal chest film, however it lies
    lateral: float  # a chest film from the side
    turns: tuple[float, float, float, float]  # turned counter-clockwise by 0, 90, 180, 270 degrees
    inverted: float  # bone is dark
    mirrored: float  # the heart lies on the wrong side
    contrast: int  # grey levels between the 0.5th and 99.5th percentile, 0-255
    saturated: float  # share of the inner picture at pure black or pure white
    declared: float = 1.0  # what is left of the score by what the file declares

    @property
    def score(self) -> float:
        """Probability that it is an upright frontal chest film of usual polarity."""
        if self.contrast < NO_CONTRAST:
            return 0.0
        seen = self.frontal * self.turns[0] * (1 - self.inverted) * self.declared
        return seen * (0.05 if self.saturated > SATURATED else 1.0)

    @property
    def quarter_turns(self) -> int:
        """The likeliest turn, counter-clockwise."""
        return int(np.argmax(self.turns))

    @property
    def is_chest(self) -> bool:
        """Whether it is likelier a chest film, from the front or the side, than anything else."""
        return self.contrast >= NO_CONTRAST and self.frontal + self.lateral >= SURE

    def as_json(self) -> dict[str, Any]:
        """For a record: rounded, the score included."""
        values = {
            "frontal": self.frontal,
            "lateral": self.lateral,
            "inverted": self.inverted,
            "mirrored": self.mirrored,
            "saturated": self.saturated,
        }
        return {
            "score": round(self.score, 4),
            **{k: round(v, 4) for k, v in values.items()},
            "turns": [round(p, 4) for p in self.turns],
            "contrast": self.contrast,
        }


@cache
def _network(folder: str) -> Callable[[UInt8Array], NDArray[np.float32]]:
    """(N, PIXELS, PIXELS) squares -> (N, 9) logits."""
    # deferred: torch, which drawing a page does without
    from lungsynth.model.film_check_network import check_squares, load_film_check

    return partial(check_squares, load_film_check(Path(folder)))


def square(image: UInt8Array) -> UInt8Array:
    """A whole picture (H, W) pressed into (PIXELS, PIXELS), whatever its shape."""
    small = Image.fromarray(image).resize((PIXELS, PIXELS), Image.Resampling.BOX)
    return np.asarray(small)


def greys(image: UInt8Array) -> tuple[int, float]:
    """Contrast in grey levels, and the share of the inner picture that is pure black or white.

    The inner picture leaves an eighth of each side out, and rows and columns of one grey, since films
    are often framed in black.
    """
    below = np.cumsum(np.bincount(image.ravel(), minlength=256)) / image.size
    low, high = (int(np.searchsorted(below, share)) for share in (0.005, 0.995))
    height, width = image.shape
    inner = image[height // 8 : height - height // 8, width // 8 : width - width // 8]
    rows, columns = (inner.max(axis) > inner.min(axis) for axis in (1, 0))
    shown = inner[rows][:, columns]
    if not shown.size:
        return high - low, 1.0
    return high - low, float(((shown == 0) | (shown == 255)).mean())


def _softmax(logits: NDArray[np.floating]) -> NDArray[np.float64]:
    e = np.exp(logits.astype(np.float64) - logits.max())
    return e / e.sum()


def _sigmoid(logit: float) -> float:
    return float(1 / (1 + np.exp(-np.clip(logit, -60, 60))))


def check_films(
    images: Sequence[UInt8Array],
    *,
    declared: Sequence[Declared] | None = None,
    folder: Path | None = None,
) -> list[FilmCheck]:
    """Judge pictures as they are.

    Args:
        images: Each (H, W) grey uint8, of any size.
        declared: What the file of each says; None is nothing.
        folder: Network of `train film-check`; None is the shipped one.

    Raises:
        CheckpointError: the network cannot be read.
    """
    if not images:
        return []
    network = _network(os.fspath(folder or DEFAULT_FOLDER))
    logits = network(np.stack([square(i) for i in images]))
    out = []
    for image, row, says in zip(
        images, logits, declared or [Declared()] * len(images), strict=True
    ):
        kinds, turns = _softmax(row[:3]), _softmax(row[3:7])
        contrast, saturated = greys(image)
        left = 0.05 if says.lateral else 1.0
        if says.other_part:
            left *= 0.5 if kinds[0] > 0.99 else 0.05
        out.append(
            FilmCheck(
                frontal=float(kinds[0]),
                lateral=float(kinds[1]),
                turns=(float(turns[0]), float(turns[1]), float(turns[2]), float(turns[3])),
                inverted=_sigmoid(row[7]),
                mirrored=_sigmoid(row[8]),
                contrast=contrast,
                saturated=saturated,
                declared=left,
            )
        )
    return out


def check_film(image: UInt8Array, declared: Declared | None = None) -> FilmCheck:
    """Judge one picture as it is; see `check_films`."""
    return check_films([image], declared=[declared or Declared()])[0]
