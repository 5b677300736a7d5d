"""Vision models of transformers as extractors, from local folders: RAD-DINO and others."""

from __future__ import annotations

import json
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import torch
from torch import Tensor, nn
from torch.nn import functional as F
from tqdm import tqdm
from transformers import AutoModel

from lungsynth.arrays import Float64Array, UInt8Array
from lungsynth.errors import CheckpointError
from lungsynth.files import file_sha256

ALL_TENSORS = "model.safetensors"
BATCH = 16


class TransformersExtractor:
    """Features of a vision model that transformers knows; on the GPU where there is one.

    Args:
        folder: `config.json`, `model.safetensors`, and `preprocessor_config.json` if it has one.

    Raises:
        CheckpointError: files are missing or do not fit, or the model does not take pictures.
    """

    note = "Compare only with the same checksum, data and number."

    def __init__(self, folder: Path) -> None:
        weights = folder / ALL_TENSORS
        if not weights.is_file():
            raise CheckpointError(
                f"{weights}: no weights here. Download the model's safetensors file too."
            )
        model = _load(folder)
        self.name = folder.resolve().name
        self.device = torch.device("cuda" if torch.cuda.is_available() else "cpu")
        self.network = _Tokens(model).eval().to(self.device)
        self.prepare = _preparation(folder, model.config)
        self.checksum = file_sha256(weights)[:16]

    def fit(self, train: UInt8Array, *, seed: int = 0, quiet: bool = True) -> None:
        """Nothing: the network is used as it is."""

    @torch.no_grad()
    def features(self, images: UInt8Array, *, quiet: bool = True) -> Float64Array:
        """(N, H, W) uint8, square -> (N, D) float64."""
        out: list[Tensor] = []
        starts = range(0, len(images), BATCH)
        for start in tqdm(starts, desc=self.name, unit="batch", disable=quiet, mininterval=2):
            part = np.ascontiguousarray(images[start : start + BATCH])
            x = torch.from_numpy(part)[:, None].float() / 255
            out.append(self.network(self.prepare(x).to(self.device)).double().cpu())
        return torch.cat(out).numpy()


class _Tokens(nn.Module):
    """The class token where a vision model has one, else the mean over tokens or space."""

    def __init__(self, model: nn.Module) -> None:
        super().__init__()
        self.inner = model
        self.has_class = any(name.endswith("cls_token") for name, _ in model.named_parameters())

    def forward(self, x: Tensor) -> Tensor:
        hidden: Tensor = self.inner(pixel_values=x).last_hidden_state
        if hidden.ndim == 4:
            return hidden.mean((2, 3))
        return hidden[:, 0] if self.has_class else hidden.mean(1)


def _load(folder: Path) -> Any:
    try:
        # code that comes with weights is not run: trust_remote_code is off unless asked for
        model, loaded = AutoModel.from_pretrained(
            folder, local_files_only=True, use_safetensors=True, output_loading_info=True
        )
    except (OSError, ValueError, RuntimeError, KeyError) as error:
        first = (str(error).splitlines() or [type(error).__name__])[0]
        raise CheckpointError(f"{folder}: transformers cannot load it ({first}).") from error
    # a head over the class token is not used, and classifiers come without one
    missing = sorted(k for k in loaded["missing_keys"] if not k.startswith("pooler."))
    if missing or getattr(model, "main_input_name", "") != "pixel_values":
        why = (
            f"{len(missing)} tensors are missing, such as {missing[0]}"
            if missing
            else "it does not take pictures"
        )
        raise CheckpointError(
            f"{folder}: not usable as an extractor ({why}). Give a whole vision model."
        )
    return model


def _preparation(folder: Path, config: Any) -> Callable[[Tensor], Tensor]:
    """Side, crop, mean and spread as `preprocessor_config.json` has them."""
    path = folder / "preprocessor_config.json"
    channels = int(getattr(config, "num_channels", 3))
    own_side = getattr(config, "image_size", 224)
    side, crop, mean, spread = own_side, None, [0.5] * channels, [0.5] * channels
    try:
        told: dict[str, Any] = (
            json.loads(path.read_text(encoding="utf-8")) if path.is_file() else {}
        )
        side = _side(told.get("size", own_side))
        crop = _side(told["crop_size"]) if told.get("do_center_crop") else None
        mean = [float(v) for v in told.get("image_mean", mean)]
        spread = [float(v) for v in told.get("image_std", spread)]
        shift, scale = (torch.tensor(v).reshape(1, -1, 1, 1) for v in (mean, spread))
        torch.zeros(1, channels, 1, 1).sub(shift).div(scale)  # as many values as channels, or 1
    except (OSError, ValueError, TypeError, KeyError, RuntimeError, AttributeError) as error:
        raise CheckpointError(f"{path}: not a usable preparation ({error!r}).") from error

    def prepare(x: Tensor) -> Tensor:
        x = F.interpolate(x, (side, side), mode="bicubic", antialias=True, align_corners=False)
        if crop is not None and crop < side:
            start = (side - crop) // 2
            x = x[..., start : start + crop, start : start + crop]
        return (x.clamp(0, 1).expand(-1, channels, -1, -1) - shift) / scale

    return prepare


def _side(told: Any) -> int:
    """Pixels of a size as preprocessors write it: a number, {"shortest_edge"} or {"height"}."""
    if isinstance(told, dict):
        told = told.get("shortest_edge", told.get("height"))
    if isinstance(told, list | tuple):
        told = told[0]
    return int(told)
