"""A checkpoint as a model repository: what may go into it, and its files."""

from __future__ import annotations

import inspect
import json
import math
import re
from dataclasses import dataclass
from pathlib import Path

from safetensors import SafetensorError, safe_open

from lungsynth.errors import CheckpointError, ConfigError
from lungsynth.masks.classes import load_classes
from lungsynth.model import autoencoder
from lungsynth.model.checkpoint import (
    CARRIED_MODULE,
    CLASS_NAME,
    NEAREST_FOLDER,
    PICKLED,
    check_folder,
    weights_hash,
)
from publish.hub.payload import Payload, front_matter, hash_file, read_folder

LORA_NAME = "pytorch_lora_weights.safetensors"
"""File name by which diffusers finds LoRA weights in a folder."""

ALLOWED = (".safetensors", ".json", ".txt", ".md", ".png", ".jpg", ".webp", ".yaml")
"""Suffixes of files that go into a model repository; LICENSE and NOTICE besides."""

HEADER = """# The class of this repository's autoencoder, as lungsynth has it (Apache-2.0), for those who
# load it with diffusers alone: StableDiffusionPipeline.from_pretrained(…, trust_remote_code=True).
# It imports torch and diffusers, and reads and writes nothing.
"""
"""Begins the file that brings the class of our autoencoder."""


@dataclass(frozen=True)
class Checkpoint:
    """A folder of weights, looked at but not loaded."""

    folder: Path
    is_lora: bool
    parts: dict[str, int]  # folder of the weights, "" = the top -> number of parameters
    dtypes: tuple[str, ...]  # such as F16
    hash: str  # see `lungsynth.model.checkpoint.weights_hash`
    needs_lungsynth: bool  # whether a part's class is ours
    classes: dict[str, int]  # class name -> mask value; empty without tokens
    has_nearest: bool = False  # whether it keeps features of its training films

    @property
    def own_card(self) -> Path | None:
        """The checkpoint's README.md."""
        path = self.folder / "README.md"
        return path if path.is_file() else None


def read_checkpoint(folder: Path) -> Checkpoint:
    """Look at a checkpoint: diffusers layout, or LoRA weights under diffusers' name.

    Raises:
        CheckpointError: it is neither, incomplete, broken, or holds a pickle or a foreign file.
    """
    if not folder.is_dir():
        raise CheckpointError(
            f"{folder}: no such folder; expected one with model_index.json or {LORA_NAME}."
        )
    files = [path for path in sorted(folder.rglob("*")) if path.is_file()]
    for path in files:
        name = path.relative_to(folder).as_posix()
        if any(part.startswith(".") for part in name.split("/")):
            continue
        if path.suffix in PICKLED:
            raise CheckpointError(
                f"{path}: a pickle, which can run code on whoever loads it. Convert it to safetensors "
                "and remove it."
            )
        if path.suffix not in ALLOWED and path.stem not in ("LICENSE", "NOTICE"):
            raise CheckpointError(
                f"{path}: not a file of a model repository (expected {', '.join(ALLOWED)}). Move it away."
            )
    is_lora = not (folder / "model_index.json").is_file()
    if is_lora and not (folder / LORA_NAME).is_file():
        raise CheckpointError(
            f"{folder}: neither model_index.json (a pipeline) nor {LORA_NAME} (LoRA). Give the folder "
            "`lungsynth train` wrote: RUN/pipeline or RUN/lora."
        )
    if not is_lora:
        check_folder(folder)
    parts: dict[str, int] = {}
    dtypes: set[str] = set()
    for path in files:
        if path.suffix == ".safetensors":
            part = path.parent.relative_to(folder).as_posix().removeprefix(".")
            if part == NEAREST_FOLDER:
                continue  # no weights
            parts[part] = parts.get(part, 0) + _parameters(path, dtypes)
    index = {} if is_lora else json.loads((folder / "model_index.json").read_text(encoding="utf-8"))
    return Checkpoint(
        folder,
        is_lora,
        parts,
        tuple(sorted(dtypes)),
        weights_hash(str(folder)),
        any(isinstance(value, list) and value[:1] == ["lungsynth"] for value in index.values()),
        {spec.name: spec.id for spec in load_classes(folder)},
        any((folder / NEAREST_FOLDER).glob("*.safetensors")),
    )


def _parameters(path: Path, dtypes: set[str]) -> int:
    """Numbers in a weight file, read from its header."""
    total = 0
    try:
        with safe_open(path, framework="np") as file:
            for key in file.keys():
                part = file.get_slice(key)
                total += math.prod(part.get_shape())
                dtypes.add(str(part.get_dtype()))
    except (SafetensorError, OSError) as error:
        raise CheckpointError(f"{path}: not a whole safetensors file ({error}).") from error
    return total


def check_own_card(checkpoint: Checkpoint) -> list[str]:
    """Links of a checkpoint's own card that lead out of the repository, as notes for its author.

    Raises:
        ConfigError: its front matter is broken, or names no licence.
    """
    path = checkpoint.own_card
    assert path is not None
    if not front_matter(path).get("license"):
        raise ConfigError(
            f"{path}: its front matter has no `license`. Write one; see the Hub's list."
        )
    text = path.read_text(encoding="utf-8")
    return [
        f"README.md links to {target}, which is not in the repository"
        for target in re.findall(r"\]\(([^)\s#]+)", text)
        if target.startswith("..")
        or ("://" not in target and not (checkpoint.folder / target).exists())
    ]


def payload_of(checkpoint: Checkpoint, generated: Path) -> Payload:
    """The files of a checkpoint, with those of a folder of generated ones (card, samples,
    evaluation) in their places.
    """
    files = dict(read_folder(checkpoint.folder, "model").files)
    for path in sorted(generated.rglob("*")):
        if path.is_file():
            files[path.relative_to(generated).as_posix()] = hash_file(path)
    return Payload("model", dict(sorted(files.items())))


def write_plain(checkpoint: Checkpoint, out: Path) -> None:
    """Write `vae/patch_autoencoder.py` and a `model_index.json` that names it, into a folder.

    diffusers has no class for our autoencoder, so a repository either names lungsynth, which a reader then
    installs and imports, or brings the class as a file, which a reader then lets run
    (`trust_remote_code=True`).

    Raises:
        ConfigError: the checkpoint is LoRA weights, or diffusers has every class of it.
    """
    if checkpoint.is_lora or not checkpoint.needs_lungsynth:
        kind = "LoRA weights" if checkpoint.is_lora else "a checkpoint of diffusers' own classes"
        raise ConfigError(
            f"--plain-diffusers: {checkpoint.folder} is {kind}, which diffusers loads as it is. Leave "
            "the option out."
        )
    source = inspect.getsource(autoencoder)
    # diffusers names the module a class comes from when it saves it: here this file, not lungsynth
    source = re.sub(r"^    __module__ = .*\n", "", source, flags=re.MULTILINE)
    index = json.loads((checkpoint.folder / "model_index.json").read_text(encoding="utf-8"))
    index["vae"] = [CARRIED_MODULE, CLASS_NAME]
    (out / "vae").mkdir()
    (out / "vae" / f"{CARRIED_MODULE}.py").write_text(HEADER + source, encoding="utf-8")
    (out / "model_index.json").write_text(json.dumps(index, indent=2) + "\n", encoding="utf-8")
