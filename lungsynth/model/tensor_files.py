"""Tensors and networks on disk: safetensors, whole or not at all."""

from __future__ import annotations

import json
import os
import shutil
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any

from safetensors import SafetensorError, safe_open
from safetensors.torch import load_file, save_file
from torch import Tensor, nn

from lungsynth.errors import CheckpointError, ConfigError
from lungsynth.files import beside, replacing, write_whole


def save_tensors(tensors: Mapping[str, Tensor], path: Path, metadata: Mapping[str, str]) -> None:
    """Write safetensors to a temporary name, flush to disk, rename: never half a file.

    Raises:
        OutputError: the folder cannot be written or the disk is full.
    """
    plain = {k: v.detach().contiguous().cpu() for k, v in tensors.items()}
    with replacing(path, SafetensorError) as temporary:
        save_file(plain, temporary, metadata=dict(metadata))
        with temporary.open("rb+") as handle:
            os.fsync(handle.fileno())


def write_folder(folder: Path, save: Callable[[Path], object]) -> None:
    """Let `save` fill a folder beside `folder`, then move what it wrote into place, part by part.

    What else `folder` holds (learnt tokens, say) stays.

    Raises:
        OutputError: the folder cannot be written or the disk is full; what was there before stays.
    """
    with beside(folder, SafetensorError) as temporary:
        save(temporary)
        folder.mkdir(exist_ok=True)
        for part in sorted(temporary.iterdir()):
            target = folder / part.name
            if target.is_dir():
                shutil.rmtree(target)
            part.replace(target)


def load_tensors(path: Path) -> dict[str, Tensor]:
    """Read safetensors.

    Raises:
        CheckpointError: the file is missing or not safetensors.
    """
    return read_tensors(path)[0]


def read_tensors(path: Path) -> tuple[dict[str, Tensor], dict[str, str]]:
    """Tensors and metadata of a safetensors file; see `load_tensors`."""
    if not path.is_file():
        raise CheckpointError(f"{path}: no such file.")
    try:
        with safe_open(path, framework="pt") as file:
            return load_file(path), file.metadata() or {}
    except (SafetensorError, OSError) as error:
        raise CheckpointError(
            f"{path}: not a readable safetensors file ({error}). Pickled weights are never loaded."
        ) from error


def save_network(
    model: nn.Module,
    folder: Path,
    files: tuple[str, str],
    about: Mapping[str, Any],
) -> None:
    """Write a network's weights in float16 and its JSON; `load_network` reads them.

    Raises:
        OutputError: the folder cannot be written or the disk is full.
    """
    config_name, weights_name = files
    tensors = {k: v.half() for k, v in model.state_dict().items()}
    kind = config_name.removesuffix(".json")
    save_tensors(tensors, folder / weights_name, {kind: json.dumps(about)})
    write_whole(folder / config_name, json.dumps(about, indent=2) + "\n")


def load_network(
    folder: Path,
    files: tuple[str, str],
    build: Callable[[dict[str, Any]], nn.Module],
    *,
    kind: str,
    advice: str,
) -> Any:
    """A network from its JSON and its weights in a folder: evaluation mode, float32, on the CPU.

    Args:
        folder: Where both files lie.
        files: Names of the JSON file that describes it and of its safetensors file.
        build: JSON object -> network.
        kind: What it is, and
        advice: what to do when it is not, for the message.

    Raises:
        CheckpointError: a file is missing, broken, or does not fit the other.
    """
    config_name, weights_name = files
    tensors = load_tensors(folder / weights_name)
    path = folder / config_name
    try:
        model = build(json.loads(path.read_text(encoding="utf-8")))
    except (OSError, ValueError, KeyError, TypeError, AttributeError, ConfigError) as error:
        first = str(error).splitlines()[0] if str(error) else type(error).__name__
        raise CheckpointError(f"{path}: not {kind} ({first}). {advice}") from error
    try:
        model.load_state_dict({k: v.float() for k, v in tensors.items()})
    except RuntimeError as error:
        last = str(error).splitlines()[-1].strip()
        raise CheckpointError(
            f"{folder}: not {kind}: {weights_name} does not fit {config_name} ({last}). {advice}"
        ) from error
    return model.eval()
