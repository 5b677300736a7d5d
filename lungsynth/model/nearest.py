"""How near a picture comes to the films its generator was trained on.

A checkpoint keeps the features of its training films (not the films) under the shipped encoder, so
that every picture it draws can state its distance to the nearest. A small distance is a reason to
look; the test for copies is `lungsynth.evaluation.copies.memorisation`.
"""

from __future__ import annotations

from pathlib import Path

import numpy as np
import torch
from safetensors import safe_open

from lungsynth.arrays import Float64Array, FloatArray, UInt8Array
from lungsynth.errors import CheckpointError, ShapeError
from lungsynth.model.checkpoint import NEAREST_FOLDER
from lungsynth.model.encoder import DEFAULT_FOLDER, Encoder, checksum, embed, load_encoder
from lungsynth.model.tensor_files import save_tensors

FILE_NAME = "features.safetensors"
FORMAT = "lungsynth-nearest-1"


class NearestTrain:
    """Features of training films, ready to be searched.

    Args:
        encoder: What made them, in evaluation mode.
        features: (N, D) float32, standardised as `lungsynth.model.encoder.embed` gives them.
    """

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
    about = {"format": FORMAT, "encoder": encoder, "sources": sources}
    save_tensors({"features": half}, checkpoint / NEAREST_FOLDER / FILE_NAME, about)


def load_nearest(checkpoint: Path, encoder_folder: Path = DEFAULT_FOLDER) -> NearestTrain | None:
    """What `save_nearest` kept; None when the checkpoint has none.

    Raises:
        CheckpointError: the file is broken, or another encoder made it.
    """
    path = checkpoint / NEAREST_FOLDER / FILE_NAME
    if not path.is_file():
        return None
    try:
        with safe_open(path, framework="np") as file:
            about, features = file.metadata() or {}, file.get_tensor("features")
    except Exception as error:  # safetensors raises its own kind, and OSError, and KeyError
        raise CheckpointError(f"{path}: not readable ({error}).") from error
    used = checksum(encoder_folder)
    if about.get("format") != FORMAT or about.get("encoder") != used:
        raise CheckpointError(
            f"{path}: features of encoder {about.get('encoder')!r}, format {about.get('format')!r}; "
            f"expected {used!r}, {FORMAT!r}. Make it again with `train nearest`."
        )
    return NearestTrain(load_encoder(encoder_folder), features)
