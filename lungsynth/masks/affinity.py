"""AffinityNet: a small network that says which neighbouring places of a film belong together.

    a_ij = exp( -mean_c |f_c(i) - f_c(j)| )                                   (Ahn & Kwak 2018, eq. 1)

for places i, j of a grid of a quarter of the film's side, nearer than a radius of 5. It is trained
without pixel labels, on places whose class a coarse map is certain of, and asked about all the
others. After psa (https://github.com/jiwoon-ahn/psa, MIT), with a backbone for grey films.
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import asdict, dataclass
from itertools import pairwise
from pathlib import Path
from typing import Any

import numpy as np
import torch
from torch import Tensor, nn
from torch.nn import functional as F

from lungsynth.arrays import IGNORE, UInt8Array
from lungsynth.errors import ConfigError, ShapeError
from lungsynth.masks.walk import AffinityField, Offsets, half_disc
from lungsynth.model.tensor_files import load_network, save_network

AFFINITY_FOLDER = "affinity"
FILES = ("affinity.json", "affinity.safetensors")


@dataclass(frozen=True, kw_only=True)
class AffinityConfig:
    """Shape of the network."""

    stem: int = 16  # channels at half the film's side
    widths: tuple[int, ...] = (32, 64, 96, 128)  # channels at strides 4, 8, 16, 32
    n_features: int = 32  # length of a place's feature vector f
    norm_groups: int = 4  # groups of each GroupNorm
    radius: int = 5  # neighbours nearer than this, in places of the grid, are compared


class Block(nn.Sequential):
    """Twice convolution, GroupNorm, SiLU."""

    def __init__(self, n_in: int, n_out: int, groups: int, *, stride: int = 1) -> None:
        super().__init__(
            nn.Conv2d(n_in, n_out, 3, stride, 1, bias=False),
            nn.GroupNorm(groups, n_out),
            nn.SiLU(),
            nn.Conv2d(n_out, n_out, 3, 1, 1, bias=False),
            nn.GroupNorm(groups, n_out),
            nn.SiLU(),
        )


class AffinityNet(nn.Module):
    """Grey film (B, 1, H, W) in [-1, 1] -> features (B, n_features, H/4, W/4).

    A U-Net whose finest level has stride 4. Each film is first brought to mean 0 and variance 1, so
    exposure and contrast do not matter. H and W are multiples of `stride`.
    """

    def __init__(self, config: AffinityConfig | None = None) -> None:
        super().__init__()
        self.config = config or AffinityConfig()
        c = self.config
        if len(c.widths) < 2 or any(w % c.norm_groups for w in (c.stem, *c.widths)):
            raise ConfigError(
                f"AffinityNet of {c}: expected at least 2 widths, each (and the stem) a multiple of "
                "`norm_groups`."
            )
        self.offsets: Offsets = half_disc(c.radius)
        # "convention/class" of what it was trained on; None where its file does not say
        self.classes: tuple[str, ...] | None = None
        self.normalise = nn.InstanceNorm2d(1)
        self.stem = nn.Sequential(
            nn.Conv2d(1, c.stem, 4, 2, 1, bias=False),
            nn.GroupNorm(c.norm_groups, c.stem),
            nn.SiLU(),
            nn.Conv2d(c.stem, c.widths[0], 4, 2, 1, bias=False),
            nn.GroupNorm(c.norm_groups, c.widths[0]),
            nn.SiLU(),
        )
        self.first = Block(c.widths[0], c.widths[0], c.norm_groups)
        self.down = nn.ModuleList(Block(a, b, c.norm_groups) for a, b in pairwise(c.widths))
        self.up = nn.ModuleList(Block(a + b, a, c.norm_groups) for a, b in pairwise(c.widths))
        self.head = nn.Conv2d(c.widths[0], c.n_features, 1)

    @property
    def stride(self) -> int:
        """Sides of a film must be multiples of this."""
        return int(4 * 2 ** len(self.down))

    def forward(self, x: Tensor) -> Tensor:
        """See the class."""
        if x.ndim != 4 or x.shape[1] != 1 or x.shape[2] % self.stride or x.shape[3] % self.stride:
            raise ShapeError(
                f"Films are {tuple(x.shape)}; expected (B, 1, H, W), sides multiples of {self.stride}."
            )
        skips = [self.first(self.stem(self.normalise(x)))]
        for block in self.down:
            skips.append(block(F.avg_pool2d(skips[-1], 2)))
        y = skips.pop()
        for block in reversed(self.up):
            y = F.interpolate(y, scale_factor=2, mode="bilinear", align_corners=False)
            y = block(torch.cat([skips.pop(), y], 1))
        return self.head(y)


def to_input(images: UInt8Array, device: torch.device | str = "cpu") -> Tensor:
    """(N, H, W) uint8 -> (N, 1, H, W) float32 in [-1, 1]."""
    return torch.from_numpy(np.array(images)).to(device).float().div(127.5).sub(1)[:, None]


def pair_affinities(features: Tensor, offsets: Offsets) -> Tensor:
    """Affinity of every place with its neighbours.

    Args:
        features: (B, F, h, w).
        offsets: K offsets (dy, dx), dy >= 0, as `half_disc` gives them.

    Returns:
        (B, K, h, w) in (0, 1]; 0 where the neighbour lies outside.
    """
    inside = features.new_ones(1, *features.shape[-2:])
    out = []
    for other, there in zip(_shifted(features, offsets), _shifted(inside, offsets), strict=True):
        out.append(torch.exp(-(features - other).abs().mean(1)) * there)
    return torch.stack(out, 1)


def _shifted(x: Tensor, offsets: Offsets, *, outside: float = 0) -> Iterator[Tensor]:
    """(B, …, h, w) moved by each offset, so that every place holds its neighbour's value."""
    reach = max(max(abs(dy), abs(dx)) for dy, dx in offsets)
    height, width = x.shape[-2:]
    padded = F.pad(x, (reach, reach, 0, reach), value=outside)
    for dy, dx in offsets:
        yield padded[..., dy : dy + height, reach + dx : reach + dx + width]


def affinity_loss(affinities: Tensor, labels: Tensor, offsets: Offsets) -> Tensor:
    """bg/4 + fg/4 + neg/2: mean log-loss of pairs in the background, in one class, across classes.

    Args:
        affinities: (B, K, h, w), from `pair_affinities`.
        labels: (B, h, w) class ids of certain places, 0 = background, 255 = not certain: such pairs
            count nowhere.
        offsets: The K offsets.

    Returns:
        () loss. Source: psa, `train_aff.py`.
    """
    other = torch.stack(list(_shifted(labels, offsets, outside=IGNORE)), 1)
    own = labels[:, None].expand_as(other)
    known = (own != IGNORE) & (other != IGNORE)
    same = known & (own == other)
    background, foreground, across = same & (own == 0), same & (own != 0), known & (own != other)

    def mean(loss: Tensor, where: Tensor) -> Tensor:
        return (loss * where).sum() / where.sum().clamp_min(1)

    together, apart = -torch.log(affinities + 1e-5), -torch.log(1 + 1e-5 - affinities)
    return mean(together, background) / 4 + mean(together, foreground) / 4 + mean(apart, across) / 2


def certain_labels(sure_foreground: UInt8Array, sure_background: UInt8Array) -> UInt8Array:
    """psa's certain places: a class where the cautious map says so, background where the eager map does.

    Args:
        sure_foreground: (H, W) class ids of a map made with a strong background.
        sure_background: (H, W) class ids of a map made with a weak background.

    Returns:
        (H, W) uint8: class id, 0 = certain background, 255 = not certain (also where the two name
        different classes).
    """
    if sure_foreground.shape != sure_background.shape:
        raise ShapeError(
            f"Maps are {sure_foreground.shape} and {sure_background.shape}; expected one size."
        )
    labels = np.full(sure_foreground.shape, IGNORE, dtype=np.uint8)
    labels[(sure_background == 0) & (sure_foreground == 0)] = 0
    agreed = (sure_foreground != 0) & (sure_foreground == sure_background)
    labels[agreed] = sure_foreground[agreed]
    return labels


@torch.no_grad()
def affinity_fields(model: AffinityNet, images: UInt8Array) -> list[AffinityField]:
    """The affinities of films or drawn pictures.

    Args:
        model: A trained AffinityNet.
        images: (B, H, W) uint8 grey; other sides than multiples of `model.stride` are padded by
            repeating the border, and the padding's places are cut off again.

    Returns:
        One field an image, on a grid of ceil(H / 4) by ceil(W / 4).
    """
    height, width = images.shape[1:]
    bottom, right = -height % model.stride, -width % model.stride
    x = to_input(images).to(next(model.parameters()).device)
    x = F.pad(x, (0, right, 0, bottom), mode="replicate")
    h, w = -(-height // 4), -(-width // 4)
    values = (
        pair_affinities(model(x)[:, :, :h, :w].float(), model.offsets).clamp(0, 1).cpu().numpy()
    )
    return [
        AffinityField(np.ascontiguousarray(v), model.offsets, h, w, model.classes) for v in values
    ]


def save_affinity(model: AffinityNet, folder: Path, info: dict[str, str] | None = None) -> None:
    """Write `affinity.safetensors` (float16) and `affinity.json` into a folder.

    Raises:
        OutputError: it cannot be written.
    """
    about: dict[str, Any] = {**asdict(model.config), "info": info or {}}
    if model.classes is not None:
        about["classes"] = list(model.classes)
    save_network(model, folder, FILES, about)


def load_affinity(folder: Path) -> AffinityNet:
    """Read what `save_affinity` wrote; evaluation mode, on the CPU, float32.

    Raises:
        CheckpointError: a file is missing, broken, or does not fit the other.
    """

    def build(spec: dict[str, Any]) -> AffinityNet:
        spec.pop("info", None)
        classes = spec.pop("classes", None)
        model = AffinityNet(read_config(spec))
        model.classes = None if classes is None else tuple(str(c) for c in classes)
        return model

    advice = "Train it again with `train affinity`."
    return load_network(folder, FILES, build, kind="an AffinityNet", advice=advice)


def read_config(spec: dict[str, Any]) -> AffinityConfig:
    """An `AffinityConfig` from JSON, where tuples are lists."""
    return AffinityConfig(**{**spec, "widths": tuple(spec["widths"])})


def majority(labels: UInt8Array) -> UInt8Array:
    """(H, W) class ids -> (H/4, W/4): a block's id where three quarters of it agree, else 255.

    Raises:
        ShapeError: a side is not a multiple of 4.
    """
    height, width = labels.shape
    if height % 4 or width % 4:
        raise ShapeError(f"`labels` is {labels.shape}; expected sides that are multiples of 4.")
    blocks = labels.reshape(height // 4, 4, width // 4, 4)
    out = np.full((height // 4, width // 4), IGNORE, np.uint8)
    for i in np.unique(labels[labels != IGNORE]):
        out[(blocks == i).mean((1, 3)) >= 0.75] = i
    return out
