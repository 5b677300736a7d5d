"""Train the network of the film check on films that are moved, inverted, and mixed with other things."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import torch
from numpy.typing import NDArray
from PIL import Image, ImageDraw, ImageFont
from torch import Tensor
from torch.nn import functional as F

from lungsynth.errors import DataError
from lungsynth.model.film_check import FilmCheckConfig, FilmCheckNet, save_film_check, split_logits
from lungsynth.model.tensor_files import write_folder
from lungsynth.training.common import LoopOptions, Run, torch_generator

FOLDER = "film_check"
FRONTAL, LATERAL, OTHER = range(3)
SHARES = {FRONTAL: 0.6, LATERAL: 0.08, OTHER: 0.32}
"""What a batch is made of, by kind."""
UPRIGHT = 0.4
"""Share of a batch that is neither turned nor inverted, so that sides are learnt on it."""


@dataclass(frozen=True, kw_only=True)
class FilmCheckOptions(LoopOptions):
    """Options of a run; how far pictures are changed are half-widths of uniform draws."""

    steps: int = 2000
    batch_size: int = 96
    lr: float = 3e-3
    warmup_steps: int = 50
    final_lr_ratio: float = 0.0
    ema_decay: float = 0.995
    precision: str = "fp32"
    rotate: float = 0.2  # radians
    scale: float = 0.2  # of log size
    stretch: float = 0.2  # of log height over width
    shift: float = 0.08  # share of the side
    bend: float = 0.02  # standard deviation of a smooth displacement, share of the side
    gamma: float = 0.7  # of log gamma
    shading: float = 0.2  # amplitude of a smooth brightness
    noise: float = 0.08  # largest standard deviation


def _uniform(generator: torch.Generator, spread: float, *shape: int) -> Tensor:
    return (torch.rand(*shape, generator=generator) * 2 - 1) * spread


def _smooth(generator: torch.Generator, batch: int, channels: int, side: int) -> Tensor:
    """A field of unit normal numbers on a 4 x 4 grid, enlarged."""
    field = torch.randn(batch, channels, 4, 4, generator=generator)
    return F.interpolate(field, size=(side, side), mode="bicubic", align_corners=True)


def moved(
    squares: Tensor, side: int, generator: torch.Generator, options: FilmCheckOptions
) -> Tensor:
    """Turn a little, scale, stretch, shift and bend squares; beyond them black, or some grey.

    Args:
        squares: (B, 1, S, S) in [0, 1].
        side: Of the result.
        generator: Source of randomness.
        options: How far.

    Returns:
        (B, 1, side, side).
    """
    o, batch = options, len(squares)
    angle, size = _uniform(generator, o.rotate, batch), _uniform(generator, o.scale, batch).exp()
    tall = (_uniform(generator, o.stretch, batch) / 2).exp()
    shift = _uniform(generator, 2 * o.shift, batch, 2)
    cos, sin = angle.cos() * size, angle.sin() * size
    theta = torch.stack([cos * tall, -sin, shift[:, 0], sin, cos / tall, shift[:, 1]], 1)
    grid = F.affine_grid(theta.view(batch, 2, 3), [batch, 1, side, side], align_corners=False)
    grid = grid + 2 * o.bend * _smooth(generator, batch, 2, side).permute(0, 2, 3, 1)
    fill = torch.rand(batch, 1, 1, 1, generator=generator)
    fill = fill * (torch.rand(batch, 1, 1, 1, generator=generator) >= 0.8)  # black, mostly
    return F.grid_sample(squares - fill, grid, align_corners=False) + fill


def exposed(x: Tensor, generator: torch.Generator, options: FilmCheckOptions) -> Tensor:
    """Other gamma, window, shading, blur and noise: (B, 1, P, P) in [0, 1] -> the same."""
    o, batch, side = options, len(x), x.shape[-1]
    x = x.clamp(0, 1) ** _uniform(generator, o.gamma, batch, 1, 1, 1).exp()
    low = _uniform(generator, 0.15, batch, 1, 1, 1)
    high = 1 + _uniform(generator, 0.2, batch, 1, 1, 1)
    x = (x - low) / (high - low)
    x = x + o.shading * torch.rand(batch, 1, 1, 1, generator=generator) * _smooth(
        generator, batch, 1, side
    )
    blur = torch.rand(batch, 1, 1, 1, generator=generator)
    x = x * (1 - blur) + F.avg_pool2d(x, 3, 1, 1, count_include_pad=False) * blur
    level = o.noise * torch.rand(batch, 1, 1, 1, generator=generator) ** 2
    return (x + level * torch.randn(x.shape, generator=generator)).clamp(0, 1)


def letters(n: int, rng: np.random.Generator) -> list[NDArray[np.float32]]:
    """`n` markers as films bear them, any way up, so that their shape says nothing of the film's."""
    out: list[NDArray[np.float32]] = []
    for _ in range(n):
        text = str(rng.choice(["R", "L", "AP", "PA", "R.", "PORTABLE", "12:40", "M", "ERECT", "●"]))
        font = ImageFont.load_default(float(rng.uniform(6, 14)))
        left, top, right, bottom = (int(v) for v in font.getbbox(text))
        picture = Image.new("L", (right - left + 2, bottom - top + 2))
        ImageDraw.Draw(picture).text((1 - left, 1 - top), text, fill=255, font=font)
        drawn = np.rot90(
            np.asarray(picture, dtype=np.float32) / np.float32(255), int(rng.integers(4))
        )
        out.append(np.ascontiguousarray(drawn[:, ::-1] if rng.random() < 0.5 else drawn))
    return out


def bordered(x: Tensor, rng: np.random.Generator, marks: list[NDArray[np.float32]]) -> Tensor:
    """Black, white or grey margins and up to three markers on some of (B, 1, P, P)."""
    side = x.shape[-1]
    for one in x[:, 0]:
        if rng.random() < 0.35:
            grey = float(rng.choice([0.0, 0.0, 0.0, 1.0, rng.random()]))
            edges = (rng.uniform(0, 0.12, 4) * (rng.random(4) < 0.6) * side).round().astype(int)
            one[: edges[0]], one[side - edges[1] :] = grey, grey
            one[:, : edges[2]], one[:, side - edges[3] :] = grey, grey
        for _ in range(int(rng.choice([0, 0, 1, 1, 2, 3]))):
            mark = marks[int(rng.integers(len(marks)))]
            h, w = mark.shape
            if h >= side or w >= side:
                continue
            y, x0 = (int(rng.integers(0, side - n)) for n in (h, w))
            inked = torch.from_numpy(mark) * float(rng.uniform(0.5, 1.0))
            one[y : y + h, x0 : x0 + w] = torch.maximum(one[y : y + h, x0 : x0 + w], inked)
    return x


def film_check_loss(
    logits: Tensor, kind: Tensor, turn: Tensor, inverted: Tensor, mirrored: Tensor
) -> tuple[Tensor, dict[str, float]]:
    """Cross-entropies of the four answers.

    Turn and polarity count for chest films; mirroring for frontal ones that are upright and of usual
    polarity, since it is asked of those alone.
    """
    kinds, turns, negative, mirror = split_logits(logits)
    chest = kind != OTHER
    frontal = (kind == FRONTAL) & (turn == 0) & (inverted == 0)
    yes_or_no = F.binary_cross_entropy_with_logits
    # a batch may have none
    n_chest, n_frontal = (which.sum().clamp_min(1) for which in (chest, frontal))
    parts = {
        "kind": F.cross_entropy(kinds, kind),
        "turn": F.cross_entropy(turns[chest], turn[chest], reduction="sum") / n_chest,
        "inverted": yes_or_no(negative[chest], inverted[chest].float(), reduction="sum") / n_chest,
        "mirrored": yes_or_no(mirror[frontal], mirrored[frontal].float(), reduction="sum")
        / n_frontal,
    }
    total = sum(parts.values(), torch.zeros(()))
    return total, {name: float(part.detach()) for name, part in parts.items()}


def train_film_check(
    pictures: Mapping[int, NDArray[np.uint8]],
    out: Path,
    options: FilmCheckOptions,
    *,
    film_weights: NDArray[np.floating] | None = None,
    info: Mapping[str, object] | None = None,
    quiet: bool = False,
) -> FilmCheckNet | None:
    """Train (or resume) the network; its averaged weights go to `out/film_check`.

    Args:
        pictures: Kind (0 frontal chest, 1 lateral chest, 2 something else) -> (N, S, S) uint8
            squares, upright and of usual polarity. Kind 1 may be empty.
        out: Run folder.
        options: See `FilmCheckOptions`.
        film_weights: (N of kind 0,) how often each film is drawn; None is evenly.
        info: Facts kept with the weights.
        quiet: No progress bar.

    Returns:
        The network, or None when the run stopped at `max_minutes`; the same call resumes.

    Raises:
        DataError: no film, or nothing else to tell films from.
    """
    counts = {kind: len(pictures.get(kind, ())) for kind in SHARES}
    if not counts[FRONTAL] or not counts[OTHER]:
        raise DataError(
            f"{counts[FRONTAL]} films and {counts[OTHER]} other pictures; expected some of both."
        )
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(options.seed)
        model = FilmCheckNet(FilmCheckConfig())
    run = Run(
        out,
        model,
        options,
        {"kind": "film-check", "counts": {str(k): n for k, n in counts.items()}},
    )
    shares = np.array([SHARES[kind] * (counts[kind] > 0) for kind in SHARES])
    weights = np.ones(counts[FRONTAL]) if film_weights is None else np.asarray(film_weights, float)
    film_shares = weights / weights.sum()
    marks = letters(200, np.random.default_rng((options.seed, 0x1E7)))

    def loss_fn(step: int) -> tuple[Tensor, dict[str, float]]:
        rng = np.random.default_rng((options.seed, step))
        generator = torch_generator(options.seed, step)
        kind = rng.choice(len(shares), options.batch_size, p=shares / shares.sum())

        def drawn(k: int) -> NDArray[np.uint8]:
            if k == FRONTAL:
                return pictures[k][rng.choice(counts[k], p=film_shares)]
            return pictures[k][rng.integers(counts[k])]

        squares = np.stack([drawn(k) for k in kind.tolist()])
        x = torch.from_numpy(squares).float().div(255)[:, None]
        x = exposed(moved(x, model.config.pixels, generator, options), generator, options)
        x = bordered(x, rng, marks)
        turn, inverted, mirrored = (rng.integers(0, n, len(x)) for n in (4, 2, 2))
        upright = rng.random(len(x)) < UPRIGHT
        turn[upright], inverted[upright] = 0, 0
        x[inverted == 1] = 1 - x[inverted == 1]
        x[mirrored == 1] = x[mirrored == 1].flip(3)
        for quarter in (1, 2, 3):
            x[turn == quarter] = torch.rot90(x[turn == quarter], quarter, (2, 3))
        truth = [torch.from_numpy(v) for v in (kind, turn, inverted, mirrored)]
        with torch.random.fork_rng(devices=[]):  # dropout draws from torch's own generator
            torch.manual_seed(options.seed * 1_000_003 + step)
            return film_check_loss(model(x), *truth)

    done = run.loop(loss_fn, quiet=quiet)
    run.ema.copy_to(model)
    model.eval()
    facts = {
        "steps": run.step,
        "seed": options.seed,
        "counts": run.description["counts"],
        **(info or {}),
    }
    write_folder(out / FOLDER, lambda folder: save_film_check(model, folder, facts))
    return model if done else None
