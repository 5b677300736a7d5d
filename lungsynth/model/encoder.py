"""The fixed feature extractor: a small grey CNN that knows age group, view, finding and sex.

Its pooled features are what Frechet, kernel and neighbour distances are measured in, its heads are
the judges of `evaluate obedience`. Numbers made with two different encoders cannot be compared, so
every report names the checksum of the weights.

A checkpoint keeps the features of its training films (not the films), so that every picture it draws
can state its distance to the nearest. A small distance is a reason to look; the test for copies is
`lungsynth.evaluation.copies.memorisation`.
"""

from __future__ import annotations

import json
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

import numpy as np
import torch
from torch import Tensor, nn
from torch.nn import functional as F
from tqdm import tqdm

from lungsynth.arrays import Float64Array, FloatArray, IntArray, UInt8Array
from lungsynth.errors import CheckpointError, ShapeError
from lungsynth.files import file_sha256
from lungsynth.model.checkpoint import CHECKPOINTS, NEAREST_FOLDER
from lungsynth.model.tensor_files import load_network, read_tensors, save_tensors, write_folder

CONFIG_NAME = "config.json"
WEIGHTS_NAME = "model.safetensors"
FORMAT = "lungsynth-encoder-1"
DEFAULT_FOLDER = CHECKPOINTS / "encoder"
"""The encoder that comes with the package."""


HEADS: dict[str, tuple[str, str]] = {
    "age_group": ("adult", "child"),
    "view": ("PA", "AP"),
    "finding": ("normal", "pneumonia"),
    "sex": ("M", "F"),
}
"""Heads and their two classes; a label is an index into the pair."""

NEAREST_NAME = "features.safetensors"
NEAREST_FORMAT = "lungsynth-nearest-1"


@dataclass(frozen=True, kw_only=True)
class EncoderConfig:
    """Shape of an encoder."""

    pixels: int = 128  # side of the input
    stem: int = 24  # channels at stride 2
    widths: tuple[int, ...] = (32, 64, 128)  # channels at strides 4, 8, 16; the last = features
    n_blocks: tuple[int, ...] = (1, 2, 2)  # residual blocks of each


class Block(nn.Module):
    """Two 3×3 convolutions beside a shortcut; stride 2 halves the resolution."""

    def __init__(self, n_in: int, n_out: int, stride: int) -> None:
        super().__init__()
        self.conv1 = nn.Conv2d(n_in, n_out, 3, stride, 1, bias=False)
        self.norm1 = nn.BatchNorm2d(n_out)
        self.conv2 = nn.Conv2d(n_out, n_out, 3, 1, 1, bias=False)
        self.norm2 = nn.BatchNorm2d(n_out)
        self.stride = stride
        self.shortcut = nn.Conv2d(n_in, n_out, 1, bias=False) if n_in != n_out else nn.Identity()

    def forward(self, x: Tensor) -> Tensor:
        y = F.relu(self.norm1(self.conv1(x)))
        y = self.norm2(self.conv2(y))
        kept = F.avg_pool2d(x, self.stride) if self.stride > 1 else x
        return F.relu(y + self.shortcut(kept))


class Encoder(nn.Module):
    """Grey picture -> features, features -> one pair of logits a head."""

    feature_mean: Tensor
    feature_std: Tensor

    def __init__(self, config: EncoderConfig, *, dropout: float = 0.2) -> None:
        super().__init__()
        self.config = config
        self.stem = nn.Sequential(
            nn.Conv2d(1, config.stem, 5, 2, 2, bias=False), nn.BatchNorm2d(config.stem), nn.ReLU()
        )
        blocks: list[nn.Module] = []
        channels = config.stem
        for width, count in zip(config.widths, config.n_blocks, strict=True):
            for index in range(count):
                blocks.append(Block(channels, width, 2 if index == 0 else 1))
                channels = width
        self.blocks = nn.Sequential(*blocks)
        self.dropout = nn.Dropout(dropout)
        self.heads = nn.ModuleDict({name: nn.Linear(channels, 2) for name in HEADS})
        self.register_buffer("feature_mean", torch.zeros(channels))
        self.register_buffer("feature_std", torch.ones(channels))

    def forward(self, x: Tensor) -> Tensor:
        """(B, 1, pixels, pixels) in [-1, 1] -> pooled features (B, widths[-1]), not negative."""
        pooled: Tensor = self.blocks(self.stem(x)).mean((2, 3))
        return pooled

    def logits(self, features: Tensor) -> dict[str, Tensor]:
        """Pooled features (B, D) -> head name: (B, 2)."""
        dropped = self.dropout(features)
        return {name: head(dropped) for name, head in self.heads.items()}

    def standardise(self, features: Tensor) -> Tensor:
        """Pooled features (B, D) -> mean 0 and standard deviation 1 on the training films."""
        return (features - self.feature_mean) / self.feature_std


@dataclass(frozen=True, slots=True)
class Embedding:
    """What an encoder makes of N pictures."""

    features: Float64Array  # (N, D), standardised on the training films
    probabilities: dict[str, Float64Array]  # head: (N,) probability of its second class

    def decisions(self, head: str) -> IntArray:
        """(N,) the likelier class of `head`: 0 or 1."""
        return (self.probabilities[head] > 0.5).astype(np.int64)


def shrink(images: UInt8Array, pixels: int) -> Tensor:
    """(N, H, W) uint8 -> (N, 1, pixels, pixels) float32 in [-1, 1], area-averaged."""
    x = torch.tensor(images)[:, None].float()
    if x.shape[-2:] != (pixels, pixels):
        x = F.interpolate(x, size=(pixels, pixels), mode="area")
    return x.div(127.5).sub(1)


@torch.no_grad()
def embed(
    encoder: Encoder, images: UInt8Array, *, batch_size: int = 64, quiet: bool = True
) -> Embedding:
    """Features and head probabilities of pictures.

    Args:
        encoder: In evaluation mode, as `load_encoder` returns it.
        images: (N, H, W) uint8, square, N > 0.
        batch_size: Pictures at a time; changes nothing but speed.
        quiet: No progress bar.
    """
    device = encoder.feature_mean.device
    features: list[Tensor] = []
    chances: dict[str, list[Tensor]] = {name: [] for name in HEADS}
    starts = range(0, len(images), batch_size)
    for start in tqdm(starts, desc="encoding", unit="batch", disable=quiet, mininterval=2):
        x = shrink(images[start : start + batch_size], encoder.config.pixels).to(device)
        pooled = encoder(x)
        features.append(encoder.standardise(pooled).double().cpu())
        for name, logits in encoder.logits(pooled).items():
            chances[name].append(logits.double().softmax(-1)[:, 1].cpu())
    return Embedding(
        torch.cat(features).numpy(), {k: torch.cat(v).numpy() for k, v in chances.items()}
    )


def save_encoder(encoder: Encoder, folder: Path) -> None:
    """Write `config.json` and `model.safetensors`; what was there before stays when it fails.

    Raises:
        OutputError: the folder cannot be written.
    """
    heads = {name: list(classes) for name, classes in HEADS.items()}
    config = {"format": FORMAT, "heads": heads, **asdict(encoder.config)}

    def save(place: Path) -> None:
        save_tensors(encoder.state_dict(), place / WEIGHTS_NAME, {"format": FORMAT})
        (place / CONFIG_NAME).write_text(json.dumps(config, indent=2, sort_keys=True) + "\n")

    write_folder(folder, save)


def load_encoder(folder: Path) -> Encoder:
    """The encoder in a folder, in evaluation mode.

    Raises:
        CheckpointError: a file is missing, corrupt, of another format, or does not fit the other.
    """
    hint = "Make one with `train encoder`, then pass --encoder RUN/encoder."
    if not (folder / CONFIG_NAME).is_file():
        raise CheckpointError(f"{folder}: no encoder here (no {CONFIG_NAME}). {hint}")

    def build(told: dict[str, Any]) -> Encoder:
        if told.get("format") != FORMAT:
            raise ValueError(f"format is {told.get('format')!r}, expected {FORMAT!r}")
        config = EncoderConfig(
            pixels=int(told["pixels"]),
            stem=int(told["stem"]),
            widths=tuple(map(int, told["widths"])),
            n_blocks=tuple(map(int, told["n_blocks"])),
        )
        return Encoder(config)

    files = (CONFIG_NAME, WEIGHTS_NAME)
    encoder: Encoder = load_network(folder, files, build, kind="an encoder", advice=hint)
    return encoder


def checksum(folder: Path) -> str:
    """SHA-256 of the weights, first 16 hexadecimal digits: names the encoder in reports."""
    return file_sha256(folder / WEIGHTS_NAME)[:16]


class NearestTrain:
    """Features (N, D) of training films, as `embed` gives them by an encoder, to be searched."""

    def __init__(self, encoder: Encoder, features: FloatArray) -> None:
        if features.ndim != 2 or not len(features):
            raise ShapeError(f"Features are {features.shape}; expected (films, width), films > 0.")
        self.encoder = encoder
        self._features = torch.from_numpy(np.ascontiguousarray(features, dtype=np.float32))

    def __len__(self) -> int:
        return len(self._features)

    def distances(self, images: UInt8Array) -> FloatArray:
        """(N, H, W) grey pictures -> (N,) Euclidean distance of features to the nearest film."""
        made = torch.from_numpy(embed(self.encoder, images).features).float()
        return np.asarray(torch.cdist(made, self._features).min(1).values.numpy(), dtype=np.float32)


def save_nearest(checkpoint: Path, features: Float64Array, *, encoder: str, sources: str) -> None:
    """Keep training films' features (N, D) with a checkpoint, as float16.

    Args:
        checkpoint: Its folder.
        features: See `lungsynth.model.encoder.embed`.
        encoder: Checksum of the encoder that made them.
        sources: Which films they are of, in words.

    Raises:
        OutputError: the folder cannot be written.
    """
    half = torch.from_numpy(np.asarray(features, dtype=np.float16))
    about = {"format": NEAREST_FORMAT, "encoder": encoder, "sources": sources}
    save_tensors({"features": half}, checkpoint / NEAREST_FOLDER / NEAREST_NAME, about)


def load_nearest(checkpoint: Path) -> NearestTrain | None:
    """What `save_nearest` kept; None when the checkpoint has none.

    Raises:
        CheckpointError: the file is broken, or another encoder made it.
    """
    path = checkpoint / NEAREST_FOLDER / NEAREST_NAME
    if not path.is_file():
        return None
    tensors, about = read_tensors(path)
    used = checksum(DEFAULT_FOLDER)
    if about.get("format") != NEAREST_FORMAT or about.get("encoder") != used:
        raise CheckpointError(
            f"{path}: features of encoder {about.get('encoder')!r}, format {about.get('format')!r}; "
            f"expected {used!r}, {NEAREST_FORMAT!r}. Make it again with `train nearest`."
        )
    return NearestTrain(load_encoder(DEFAULT_FOLDER), tensors["features"].numpy())
