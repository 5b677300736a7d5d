"""The network of the film check: a grey square -> what it shows, how it lies, its polarity.

It answers for all sixteen ways to turn, mirror and invert one picture and averages what they say,
so that no answer depends on how the film happens to lie.
"""

from __future__ import annotations

import json
from dataclasses import asdict, dataclass
from itertools import pairwise
from pathlib import Path

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor, nn

from lungsynth.errors import ConfigError, ShapeError
from lungsynth.model.tensor_files import load_network, save_tensors

CONFIG_NAME, WEIGHTS_NAME = "film_check.json", "film_check.safetensors"
KINDS = ("frontal chest", "lateral chest", "something else")
N_OUTPUTS = len(KINDS) + 4 + 1 + 1  # kinds, quarter turns, inverted, mirrored


@dataclass(frozen=True, kw_only=True)
class FilmCheckConfig:
    """Shape of the network."""

    pixels: int = 96  # side of its square
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
                    nn.Conv2d(a, b, 3, 2, 1, bias=False),
                    nn.GroupNorm(groups, b),
                    nn.SiLU(),
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
    tensors = {k: v.half() for k, v in model.state_dict().items()}
    save_tensors(tensors, folder / WEIGHTS_NAME, {"film_check": json.dumps(about)})
    (folder / CONFIG_NAME).write_text(json.dumps(about, indent=2) + "\n", encoding="utf-8")


def load_film_check(folder: Path) -> FilmCheckNet:
    """Read what `save_film_check` wrote; evaluation mode, on the CPU, float32.

    Raises:
        CheckpointError: a file is missing, broken, or does not fit the other.
    """

    def build(spec: dict[str, object]) -> FilmCheckNet:
        config = dict(spec["config"])  # type: ignore[call-overload]
        return FilmCheckNet(FilmCheckConfig(**{**config, "widths": tuple(config["widths"])}))

    return load_network(
        folder,
        CONFIG_NAME,
        WEIGHTS_NAME,
        build,
        kind="a film check",
        advice="Train it again with `train film-check`.",
    )
