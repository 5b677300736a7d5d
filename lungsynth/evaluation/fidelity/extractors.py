"""What turns pictures into features for `evaluate fidelity`, by name or from local files.

    pictures (N, H, W) uint8 -> extractor -> features (N, D) float64

Distances in the features of two extractors cannot be compared, so a report names its extractor and
the checksum of its weights. Nothing is downloaded and nothing is unpickled.
"""

from __future__ import annotations

import hashlib
import json
from pathlib import Path
from typing import Protocol

import numpy as np

from lungsynth.arrays import Float64Array, UInt8Array
from lungsynth.errors import CheckpointError, ConfigError
from lungsynth.evaluation.fidelity.extractor_transformers import TransformersExtractor
from lungsynth.evaluation.fidelity.radiomics import definition, radiomic_features
from lungsynth.model.encoder import (
    CONFIG_NAME,
    DEFAULT_FOLDER,
    FORMAT,
    Encoder,
    checksum,
    embed,
    load_encoder,
)

NAMES = ("lungsynth", "radiomics")
PICKLED = (".pt", ".pth", ".bin", ".ckpt", ".pkl", ".jit", ".torchscript", ".h5")
MAX_FIT = 1000  # training films that radiomic features are standardised by


class Extractor(Protocol):
    """Turns pictures into features."""

    name: str  # in reports
    checksum: str  # 16 hexadecimal digits of its weights, or of its definition
    note: str  # what its distances may be compared with, a sentence

    def fit(self, train: UInt8Array, *, seed: int = 0, quiet: bool = True) -> None:
        """Take from real training films (N, H, W) what it has to know of them; often nothing."""

    def features(self, images: UInt8Array, *, quiet: bool = True) -> Float64Array:
        """(N, H, W) uint8, square -> (N, D) float64."""


class EncoderExtractor:
    """The pooled, standardised features of an encoder of `train encoder`."""

    name = "lungsynth"
    note = "Compare only with distances of the same encoder checksum."

    def __init__(self, encoder: Encoder, weights_checksum: str = "") -> None:
        self.encoder = encoder
        self.checksum = weights_checksum

    def fit(self, train: UInt8Array, *, seed: int = 0, quiet: bool = True) -> None:
        """Nothing: an encoder keeps the statistics of its own training films."""

    def features(self, images: UInt8Array, *, quiet: bool = True) -> Float64Array:
        """(N, H, W) uint8, square -> (N, D) float64."""
        return embed(self.encoder, images, quiet=quiet).features


class RadiomicsExtractor:
    """Radiomic features in standard deviations of real training films; needs no weights."""

    name = "radiomics"
    note = "FRD-like radiomic features; comparable with nothing published, only with the floor."

    def __init__(self) -> None:
        self.checksum = definition()
        self.mean: Float64Array  # of `fit`, as is the spread
        self.std: Float64Array

    def fit(self, train: UInt8Array, *, seed: int = 0, quiet: bool = True) -> None:
        """Mean and spread of at most `MAX_FIT` training films, drawn with `seed`."""
        if len(train) > MAX_FIT:
            chosen = np.random.default_rng(seed).choice(len(train), MAX_FIT, replace=False)
            train = train[np.sort(chosen)]
        features = radiomic_features(train, quiet=quiet)
        std = features.std(0)
        # a feature that never changes says nothing: it stays at 0 unless a picture leaves the value
        self.mean, self.std = features.mean(0), np.where(std > 1e-9, std, 1.0)

    def features(self, images: UInt8Array, *, quiet: bool = True) -> Float64Array:
        """(N, H, W) uint8, square -> (N, D) float64, in deviations of training films from their mean."""
        return (radiomic_features(images, quiet=quiet) - self.mean) / self.std


class Remembered:
    """An extractor that reads no picture twice, as long as it lives.

    Args:
        extractor: Fitted before, or not in need of it.
    """

    def __init__(self, extractor: Extractor) -> None:
        self.extractor = extractor
        self._rows: dict[bytes, Float64Array] = {}

    def features(self, images: UInt8Array, *, quiet: bool = True) -> Float64Array:
        """(N, H, W) uint8, square, N > 0 -> (N, D) float64."""
        keys = [hashlib.blake2b(np.ascontiguousarray(x).tobytes()).digest() for x in images]
        fresh = {key: i for i, key in enumerate(keys) if key not in self._rows}
        if fresh:
            rows = self.extractor.features(images[list(fresh.values())], quiet=quiet)
            self._rows |= dict(zip(fresh, rows, strict=True))
        return np.stack([self._rows[key] for key in keys])

    @property
    def n_features(self) -> int:
        """Features of a picture; 0 before one was read."""
        return len(next(iter(self._rows.values()), ()))


def load_extractor(chosen: str | None = None) -> Extractor:
    """The extractor of a name or of local files.

    Args:
        chosen: None or "lungsynth" for the shipped encoder; "radiomics"; a folder of `train encoder`; or
            a folder of a vision model of transformers (`config.json`, `model.safetensors`).

    Raises:
        ConfigError: neither a name nor an existing folder.
        CheckpointError: weights are missing, pickled, or do not fit.
    """
    if chosen is None or chosen == "lungsynth":
        return _own(DEFAULT_FOLDER)
    if chosen == "radiomics":
        return RadiomicsExtractor()
    path = Path(chosen)
    if path.suffix.lower() in PICKLED:
        raise CheckpointError(
            f"{path}: {path.suffix} files hold pickled objects, which are not loaded, for they can "
            "run code. Convert the weights to .safetensors on a machine where you trust them."
        )
    if path.is_dir():
        return TransformersExtractor(path) if _is_transformers(path) else _own(path)
    raise ConfigError(
        f"--encoder {chosen}: neither one of {', '.join(NAMES)}, nor an existing folder."
    )


def _own(folder: Path) -> Extractor:
    return EncoderExtractor(load_encoder(folder), checksum(folder))


def _is_transformers(folder: Path) -> bool:
    try:
        told = json.loads((folder / CONFIG_NAME).read_text(encoding="utf-8"))
    except (OSError, ValueError):
        return False  # `load_encoder` says what is wrong
    return isinstance(told, dict) and "model_type" in told and told.get("format") != FORMAT
