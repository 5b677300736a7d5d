"""The film check: is this an upright frontal chest film of usual polarity.

A small network judges the picture, rules judge its greys, and what the file declares counts too. The
network answers for all sixteen ways to turn, mirror and invert one picture and averages what they say,
so that no answer depends on how the film happens to lie.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import asdict, dataclass
from functools import cache
from itertools import pairwise
from pathlib import Path
from typing import Any

import numpy as np
import scipy
import torch
from numpy.typing import NDArray
from PIL import Image
from torch import Tensor, nn

from lungsynth.arrays import UInt8Array
from lungsynth.errors import ConfigError, ShapeError
from lungsynth.films.moves import Declared
from lungsynth.model.checkpoint import FILM_CHECK_FOLDER
from lungsynth.model.tensor_files import load_network, save_network

PIXELS = 96
FILES = ("film_check.json", "film_check.safetensors")
KINDS = ("frontal chest", "lateral chest", "something else")
N_OUTPUTS = len(KINDS) + 4 + 1 + 1  # kinds, quarter turns, inverted, mirrored
SURE = 0.5
"""Probability from which polarity, turn and kind are taken for granted."""
MIRRORED = 0.98
"""Probability from which a film is called mirrored; hearts in the middle leave it open."""
NO_CONTRAST = 16
"""Grey levels between the 0.5th and 99.5th percentile below which a picture shows nothing."""
SATURATED = 0.5
"""Share of the inner picture at pure black or white from which a window is said to hide it."""


@dataclass(frozen=True, kw_only=True)
class FilmCheckConfig:
    """Shape of the network."""

    pixels: int = PIXELS  # side of its square
    widths: tuple[int, ...] = (16, 32, 64, 96, 96)  # channels at strides 2, 4, 8, 16, 32
    norm_groups: int = 4


class FilmCheckNet(nn.Module):
    """Grey squares (B, 1, P, P) of any range -> logits (B, 9): kinds, quarter turns, inverted, mirrored.

    Each square is first brought to mean 0 and variance 1. A quarter turn k means that the picture
    is `numpy.rot90(upright, k)`; a mirrored film is mirrored first, then turned.
    """

    def __init__(self, config: FilmCheckConfig | None = None) -> None:
        super().__init__()
        self.config = config or FilmCheckConfig()
        widths, groups = self.config.widths, self.config.norm_groups
        stride = 2 ** len(widths)
        if not widths or any(w % groups for w in widths) or self.config.pixels % stride:
            raise ConfigError(
                f"Film check of {self.config}: expected widths that are multiples of `norm_groups` "
                f"and `pixels` a multiple of {stride}."
            )
        self.normalise = nn.InstanceNorm2d(1)
        self.body = nn.Sequential(
            *(
                nn.Sequential(
                    nn.Conv2d(a, b, 3, 2, 1, bias=False), nn.GroupNorm(groups, b), nn.SiLU()
                )
                for a, b in pairwise((1, *widths))
            )
        )
        self.drop = nn.Dropout(0.1)
        self.head = nn.Linear(widths[-1] * (self.config.pixels // stride) ** 2, N_OUTPUTS)

    def forward(self, x: Tensor) -> Tensor:
        """See the class."""
        side = self.config.pixels
        if x.ndim != 4 or x.shape[1:] != (1, side, side):
            raise ShapeError(f"Squares are {tuple(x.shape)}; expected (B, 1, {side}, {side}).")
        return self.head(self.drop(self.body(self.normalise(x)).flatten(1)))


def split_logits(logits: Tensor) -> tuple[Tensor, Tensor, Tensor, Tensor]:
    """(B, 9) -> kinds (B, 3), quarter turns (B, 4), inverted (B,), mirrored (B,)."""
    kinds, turns, inverted, mirrored = logits.split([len(KINDS), 4, 1, 1], 1)
    return kinds, turns, inverted[:, 0], mirrored[:, 0]


@torch.inference_mode()
def check_squares(model: FilmCheckNet, squares: NDArray[np.uint8]) -> NDArray[np.float32]:
    """Logits averaged over the sixteen views of each square.

    Whether a film is mirrored is asked of the two views only in which it is upright and of usual
    polarity, by what the others have found: sides are easiest to tell apart there.

    Args:
        model: In evaluation mode.
        squares: (N, P, P) uint8 grey.

    Returns:
        (N, 9) float32, in the order of `split_logits`.
    """
    x = torch.from_numpy(np.array(squares)).float().sub(127.5).div(127.5)[:, None]
    views = [
        (flip, quarter, sign) for flip in (False, True) for quarter in range(4) for sign in (1, -1)
    ]
    answers: list[tuple[Tensor, Tensor, Tensor]] = []
    mirrors: list[Tensor] = []
    for flip, quarter, sign in views:
        view = torch.rot90(x.flip(3) if flip else x, quarter, (2, 3)) * sign
        kind, turn, negative, mirror = split_logits(model(view).float())
        # a view's turn is quarter + (-turn if flipped else turn): bring each logit home
        home = [(quarter + (-k if flip else k)) % 4 for k in range(4)]
        answers.append((kind, turn[:, home], negative * sign))
        mirrors.append(-mirror if flip else mirror)
    kinds, turns, inverted = (torch.stack(part).mean(0) for part in zip(*answers, strict=True))
    k, wrong = turns.argmax(1), inverted > 0
    upright = torch.stack(
        [
            ((quarter + (-k if flip else k)) % 4 == 0) & (wrong == (sign < 0))
            for flip, quarter, sign in views
        ]
    )
    mirrored = (torch.stack(mirrors) * upright).sum(0) / upright.sum(0)
    joined = torch.cat([kinds, turns, inverted[:, None], mirrored[:, None]], 1)
    return joined.numpy().astype(np.float32)


def save_film_check(model: FilmCheckNet, folder: Path, info: dict[str, object]) -> None:
    """Write `film_check.safetensors` (float16) and `film_check.json` into a folder.

    Raises:
        OutputError: it cannot be written.
    """
    about = {"config": asdict(model.config), "info": info}
    save_network(model, folder, FILES, about)


def load_film_check(folder: Path) -> FilmCheckNet:
    """Read what `save_film_check` wrote; evaluation mode, on the CPU, float32.

    Raises:
        CheckpointError: a file is missing, broken, or does not fit the other.
    """

    def build(spec: dict[str, Any]) -> FilmCheckNet:
        config = spec["config"]
        return FilmCheckNet(FilmCheckConfig(**{**config, "widths": tuple(config["widths"])}))

    advice = "Train it again with `train film-check`."
    return load_network(folder, FILES, build, kind="a film check", advice=advice)


@cache
def _network(folder: Path) -> FilmCheckNet:
    return load_film_check(folder)


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
        names = ("score", "frontal", "lateral", "inverted", "mirrored", "saturated")
        return {
            **{name: round(getattr(self, name), 4) for name in names},
            "turns": [round(p, 4) for p in self.turns],
            "contrast": self.contrast,
        }


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
    network = _network(folder or FILM_CHECK_FOLDER)
    logits = check_squares(network, np.stack([square(i) for i in images]))
    out = []
    said: Sequence[Declared | None] = declared or [None] * len(images)
    for image, row, says in zip(images, logits, said, strict=True):
        row = row.astype(np.float64)
        kinds, turns = scipy.special.softmax(row[:3]), scipy.special.softmax(row[3:7])
        contrast, saturated = greys(image)
        left = 0.05 if says is not None and says.lateral else 1.0
        if says is not None and says.other_part:
            left *= 0.5 if kinds[0] > 0.99 else 0.05
        out.append(
            FilmCheck(
                frontal=float(kinds[0]),
                lateral=float(kinds[1]),
                turns=(float(turns[0]), float(turns[1]), float(turns[2]), float(turns[3])),
                inverted=float(scipy.special.expit(row[7])),
                mirrored=float(scipy.special.expit(row[8])),
                contrast=contrast,
                saturated=saturated,
                declared=left,
            )
        )
    return out
