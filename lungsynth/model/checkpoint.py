"""Finding and loading checkpoints: the shipped one, a folder, a Hub id; safetensors only."""

from __future__ import annotations

import functools
import hashlib
import json
import warnings
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import lungsynth
from lungsynth.errors import CheckpointError
from lungsynth.model.layout import Layout, check_layout, read_layout
from lungsynth.prompts import Vocabulary

NEAREST_FOLDER = "nearest"
"""Features of a checkpoint's training films; see `lungsynth.model.encoder`."""

VERIFIER_FOLDER = "verifier"
"""The network that may reject a checkpoint's drawings; see `lungsynth.verify.verifier`."""

DRAWS_NOTHING = (NEAREST_FOLDER, VERIFIER_FOLDER)
"""Folders of a checkpoint on which no picture and no mask depends; its hash leaves them out."""

CHECKPOINTS = Path(__file__).resolve().parents[1] / "checkpoints"
FILM_CHECK_FOLDER = CHECKPOINTS / "film_check"
"""The network of `lungsynth.model.film_check` that comes with the package."""

DEFAULT = "mini"
CLASS_NAME = "PatchAutoencoderKL"
"""Of our autoencoder; a repository that names it is given our class, and its own code is not run."""

CARRIED_MODULE = "patch_autoencoder"
"""File in vae/ that brings the class, for those who have diffusers alone; see `publish.hub.weights`."""

PICKLED = (".bin", ".pt", ".pth", ".ckpt", ".pkl", ".pickle")


def resolve(model: str | None) -> str:
    """A shipped name, a folder or a Hub id -> what diffusers is given; None is the shipped default."""
    name = model or DEFAULT
    shipped = CHECKPOINTS / name
    if "/" not in name and (shipped / "model_index.json").is_file():
        return str(shipped)
    return name


def check_folder(folder: Path) -> Layout:
    """Refuse a folder that is not a complete Stable Diffusion 1.x/2.x pipeline in safetensors.

    Returns:
        What it is.

    Raises:
        CheckpointError: `model_index.json` or weights are missing, weights are pickled, or the
            pipeline is of another kind; see `lungsynth.model.layout`.
    """
    if not (folder / "model_index.json").is_file():
        raise CheckpointError(
            f"{folder}: no model_index.json, so this is not a diffusers pipeline folder. "
            "Give the folder that holds model_index.json, unet/, vae/, text_encoder/, tokenizer/."
        )
    layout = read_layout(str(folder))
    check_layout(str(folder), layout)
    for part in ("unet", "vae", "text_encoder"):
        files = sorted((folder / part).glob("*")) if (folder / part).is_dir() else []
        if any(path.suffix == ".safetensors" for path in files):
            continue
        pickled = [path.name for path in files if path.suffix in PICKLED]
        if pickled:
            raise CheckpointError(
                f"{folder / part}: only pickled weights ({', '.join(pickled)}), which can run code "
                "and are never loaded. Convert them to safetensors first."
            )
        raise CheckpointError(
            f"{folder / part}: no *.safetensors weights. The download is incomplete."
        )
    # without either, transformers makes an empty tokenizer
    names = ("tokenizer.json", "vocab.json")
    if not any((folder / "tokenizer" / name).is_file() for name in names):
        raise CheckpointError(
            f"{folder / 'tokenizer'}: neither {' nor '.join(names)}. The download is incomplete."
        )
    return layout


def _libraries() -> tuple[Any, Any]:
    """diffusers and transformers."""
    import diffusers  # deferred: two seconds beyond torch; only loading a checkpoint needs them
    import transformers  # deferred: likewise

    return diffusers, transformers


@contextmanager
def quiet_libraries() -> Iterator[None]:
    """Without progress bars and advice of diffusers and transformers; both come back afterwards."""
    modules = [library.utils.logging for library in _libraries()]
    before = [(module.get_verbosity(), module.is_progress_bar_enabled()) for module in modules]
    try:
        for module in modules:
            module.set_verbosity_error()
            module.disable_progress_bar()
        yield
    finally:
        for module, (verbosity, bars) in zip(modules, before, strict=True):
            module.set_verbosity(verbosity)
            if bars:
                module.enable_progress_bar()


def load_pipeline(
    model: str | None = None, *, lora: str | None = None
) -> tuple[Any, Vocabulary | None]:
    """Load a Stable Diffusion 1.x/2.x pipeline in float32, without safety checker.

    Args:
        model: Shipped name, folder or Hub id; None for the shipped default.
        lora: Folder, file or Hub id of LoRA weights to add.

    Returns:
        The pipeline, and the words it was trained with when the checkpoint says so.

    Raises:
        CheckpointError: nothing is there, it is of another kind, incomplete, corrupt or pickled.
    """
    import torch  # deferred: finding and checking a checkpoint do without

    from lungsynth.model.backbone import network  # deferred: likewise

    where = resolve(model)
    folder = Path(where)
    if folder.exists() and not folder.is_dir():
        raise CheckpointError(
            f"{where}: a file; expected a folder in diffusers layout or a Hub id."
        )
    if not folder.is_dir() and (where.startswith((".", "/", "~")) or where.count("/") != 1):
        raise CheckpointError(
            f"{where}: no such folder, and not a Hub id (ORGANISATION/NAME). "
            f"Shipped checkpoints: {', '.join(shipped_names()) or 'none'}."
        )
    layout = check_folder(folder) if folder.is_dir() else read_layout(where)
    check_layout(where, layout)
    with quiet_libraries():
        kind = _libraries()[0].StableDiffusionPipeline
        autoencoder = lungsynth.PatchAutoencoderKL  # asking for it makes it known to diffusers
    try:
        with quiet_libraries():
            # a class that comes as code is not run: the repository's weights go into our class
            carried = list(layout.index["vae"]) == [CARRIED_MODULE, CLASS_NAME]
            pipe: Any = kind.from_pretrained(
                where,
                dtype=torch.float32,
                safety_checker=None,
                feature_extractor=None,
                requires_safety_checker=False,
                use_safetensors=True,
                **({"vae": None} if carried else {}),
            )
            if carried:
                with warnings.catch_warnings():  # diffusers asks the Hub in a way of yesterday
                    warnings.simplefilter("ignore")
                    vae = autoencoder.from_pretrained(
                        where, subfolder="vae", use_safetensors=True
                    ).float()
                parts = {**pipe.components, "vae": vae}
                pipe = kind(**parts, requires_safety_checker=False)
            if lora is not None:
                if Path(lora).exists() and Path(lora).suffix in PICKLED:
                    raise CheckpointError(f"{lora}: pickled LoRA weights are never loaded.")
                pipe.load_lora_weights(lora, use_safetensors=True)
    except CheckpointError:
        raise
    except Exception as error:
        first = str(error).strip().splitlines()[0] if str(error).strip() else ""
        raise CheckpointError(
            f"{where}{f' with LoRA {lora}' if lora else ''}: cannot be loaded "
            f"({type(error).__name__}: {first})."
        ) from error
    pipe.set_progress_bar_config(disable=True)
    for part in (network(pipe), pipe.vae, pipe.text_encoder):
        part.eval().requires_grad_(False)
    return pipe, Vocabulary.load(folder) if folder.is_dir() else None


def shipped_names() -> list[str]:
    """Names of the checkpoints inside the package."""
    return sorted(path.parent.name for path in CHECKPOINTS.glob("*/model_index.json"))


def weights_hash(folder: str) -> str:
    """First 16 hex digits of a SHA-256 over all weight files of a folder, by name and content."""
    files = []
    for path in sorted(Path(folder).rglob("*.safetensors")):
        name = path.relative_to(folder)
        if name.parts[0] not in DRAWS_NOTHING:
            stat = path.stat()
            files.append((name.as_posix(), stat.st_size, stat.st_mtime_ns))
    return _weights_hash(folder, tuple(files))


@functools.lru_cache(maxsize=8)
def _weights_hash(folder: str, files: tuple[tuple[str, int, int], ...]) -> str:
    """The hash of files by (name, size, time), so that a file that changes is read again."""
    digest = hashlib.sha256()
    for name, _, _ in files:
        digest.update(name.encode())
        with Path(folder, name).open("rb") as handle:
            while block := handle.read(1 << 20):
                digest.update(block)
    return digest.hexdigest()[:16]


def name_and_hash(model: str | None) -> dict[str, str]:
    """What a report says of the checkpoint it measured: `model` and `model_hash`."""
    folder = Path(resolve(model))
    if not folder.is_dir():
        return {"model": str(model), "model_hash": ""}
    return {"model": folder.resolve().name, "model_hash": weights_hash(str(folder))}


FORMER_NAME = "former.json"
"""Beside the checkpoints: weights that were shipped, each with a commit that holds them."""


@dataclass(frozen=True, slots=True)
class Former:
    """Weights that were shipped."""

    name: str  # of the checkpoint, such as mini
    weights: str  # see `lungsynth.model.checkpoint.weights_hash`
    commit: str  # of this repository, that holds them
    shipped: str  # date, YYYY-MM-DD
    differs: str = ""  # from the present ones in this alone; "" = they draw other pictures


def former_weights() -> list[Former]:
    """Weights that were shipped, oldest first; [] where the list is not installed."""
    path = CHECKPOINTS / FORMER_NAME
    if not path.is_file():
        return []
    return [Former(**one) for one in json.loads(path.read_text(encoding="utf-8"))["weights"]]


def other_weights(asked: str, have: str, name: str) -> str:
    """What to say where a picture was drawn with other weights; "" where they are the same.

    Args:
        asked: Hash of the weights that drew it, or its beginning; "" = not recorded.
        have: Hash of the weights there are; "" = unknown.
        name: Of the checkpoint there is.
    """
    if not asked or not have or have.startswith(asked):
        return ""
    found = _find(asked)
    differs = found.differs if found else ""
    drawn = f"the same picture, and differ in {differs}" if differs else "another picture"
    told = f"It was drawn with weights {asked}; {name} has {have}, which draw {drawn}."
    if found is None:
        return told
    return f"{told} They are those {found.name} was shipped with on {found.shipped}."


def where_weights_are(asked: str) -> str:
    """How to come by the weights of a hash, for the command line: a sentence."""
    found = _find(asked)
    if found is None:
        return "They were not shipped with lungsynth. Give the folder of that checkpoint."
    place = f"lungsynth-{found.commit}"
    return (
        f"To have them: git worktree add ../{place} {found.commit}, in a checkout of lungsynth. Give "
        f"the folder of that checkpoint, ../{place}/lungsynth/checkpoints/{found.name}."
    )


def _find(asked: str) -> Former | None:
    return next((one for one in former_weights() if one.weights.startswith(asked)), None)
