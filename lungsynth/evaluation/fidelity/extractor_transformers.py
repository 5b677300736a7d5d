"""Vision models of transformers as extractors, from local folders: RAD-DINO and others."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import torch
from torch import Tensor, nn
from torch.nn import functional as F
from transformers import AutoModel

from lungsynth.errors import CheckpointError
from lungsynth.evaluation.fidelity.extractor_networks import (
    NetworkExtractor,
    Prepare,
    digest,
    need_file,
)

ALL_TENSORS = "model.safetensors"
DINO_HINT = (
    "hf download microsoft/rad-dino config.json model.safetensors preprocessor_config.json "
    "--local-dir {path}"
)


def rad_dino(folder: Path) -> NetworkExtractor:
    """RAD-DINO (Microsoft), 768 features of the class token, from a local folder.

    Raises:
        CheckpointError: the folder or a file of it is missing, or does not fit.
    """
    if not (folder / ALL_TENSORS).is_file():
        raise CheckpointError(f"{folder}: no weights here. {DINO_HINT.format(path=folder)}")
    return transformers_folder(folder, name="rad-dino")


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


def transformers_folder(folder: Path, *, name: str | None = None) -> NetworkExtractor:
    """A vision model that transformers knows, from a local folder with safetensors.

    Args:
        folder: `config.json`, `model.safetensors`, and `preprocessor_config.json` if it has one.
        name: For reports; None is the folder's.

    Raises:
        CheckpointError: files are missing or do not fit, or the model does not take pictures.
    """
    need_file(folder / ALL_TENSORS, "Download the model's safetensors file too, to {path}")
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
            else ("it does not take pictures")
        )
        raise CheckpointError(
            f"{folder}: not usable as an extractor ({why}). Give a whole vision model."
        )
    return NetworkExtractor(
        name or folder.resolve().name,
        _Tokens(model),
        _preparation(folder, model.config),
        digest(folder / ALL_TENSORS),
        "Compare only with the same checksum, data and number.",
    )


def _preparation(folder: Path, config: Any) -> Prepare:
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
