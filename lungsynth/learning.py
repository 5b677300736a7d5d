"""Learning a class token from a few annotated films."""

from __future__ import annotations

import json
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray
from tqdm import tqdm

from lungsynth.classes import CLASSES_NAME, parse_classes
from lungsynth.data import Record
from lungsynth.errors import ConfigError, DataError
from lungsynth.framing import cut, draw_framing
from lungsynth.images import slug
from lungsynth.quality import split_sides
from lungsynth.reading import noised_queries
from lungsynth.tokens import ClassToken, key_weights, learn_token

SIDES = ("both", "left", "right")


@dataclass(frozen=True, kw_only=True)
class LearnOptions:
    """How a class token is learnt."""

    timesteps: tuple[int, ...] = (50, 150, 300)  # noise levels it is learnt and read at
    n_framings: int = 4  # framings cut from each annotated film
    n_noise: int = 2  # noise draws a timestep
    n_iters: int = 300  # AdamW iterations
    lr: float = 2e-2
    side: str = "both"  # "left" or "right" (the patient's) takes that half of a paired organ's mask
    foreground: int = 255  # mask value of the class
    ignore: int = 127  # mask value that counts neither way
    seed: int = 0


def to_target(mask: NDArray[np.uint8], options: LearnOptions) -> NDArray[np.uint8]:
    """Mask as the source wrote it -> 1 class, 0 not, 255 ignored."""
    region = mask == options.foreground
    if options.side != "both":
        left, right = split_sides(region)
        region = left if options.side == "left" else right
    target = region.astype(np.uint8)
    target[mask == options.ignore] = 255
    return target


def learn_from_films(
    pipe: Any, name: str, records: Sequence[Record], options: LearnOptions, *, info: dict[str, str],
    quiet: bool = False,
) -> ClassToken:  # fmt: skip
    """Learn a class token on a frozen model.

    Args:
        pipe: A Stable Diffusion pipeline.
        name: The class.
        records: Annotated films; their texts are used as prompts.
        options: See `LearnOptions`.
        info: Facts kept with the token (convention, licence …).
        quiet: No progress bar.

    Raises:
        DataError: no film, or no pixel of the class in any.
        ConfigError: unknown side.
    """
    if options.side not in SIDES:
        raise ConfigError(f"`side` is {options.side!r}; expected one of {', '.join(SIDES)}.")
    if not records or any(r.mask is None for r in records):
        raise DataError(f"{len(records)} annotated films were given; a class token needs at least one.")
    side = int(pipe.unet.config.sample_size) * int(pipe.vae_scale_factor)
    rng = np.random.default_rng(options.seed)
    images, targets, prompts = [], [], []
    for record in records:
        assert record.mask is not None
        target = to_target(record.mask, options)
        height, width = record.image.shape
        for k in range(options.n_framings):
            framing = draw_framing(height, width, rng, p_whole=1.0 if k == 0 else 0.6)
            if framing.name in ("neck and shoulders", "upper abdomen"):
                framing = draw_framing(height, width, rng, p_whole=1.0)
            images.append(cut(record.image, framing, pixels=side))
            # a quarter of the side is finer than any map, and sixteen times cheaper
            targets.append(cut(target, framing, pixels=side // 4, nearest=True))
            prompts.append(record.text)
    stacked = np.stack(images)
    truth = torch.from_numpy(np.stack(targets))
    if not (truth == 1).any():
        raise DataError(
            f"No pixel of the class in {len(records)} masks: no value {options.foreground} "
            f"(side {options.side}). Check --foreground and --side."
        )
    draws = []
    plan = [(t, n) for n in range(options.n_noise) for t in options.timesteps]
    for t, n in tqdm(plan, desc=f"reading {name}", disable=quiet):
        queries = noised_queries(pipe, stacked, prompts, t=t, seed=options.seed + n)
        draws.append((queries, truth))
    facts = {
        "timesteps": ",".join(map(str, options.timesteps)), "shots": str(len(records)),
        "side": options.side, **info,
    }  # fmt: skip
    return learn_token(name, draws, key_weights(pipe.unet), n_iters=options.n_iters, lr=options.lr,
                       seed=options.seed, info=facts)  # fmt: skip


def add_to_checkpoint(token: ClassToken, checkpoint: Path, *, class_id: int, n_parts: int = 1) -> Path:
    """Write a token into a checkpoint and enter its class in `classes.json`, replacing its id.

    Raises:
        ConfigError: the resulting `classes.json` would not be valid.
    """
    file = f"tokens/{slug(token.name)}.safetensors"
    token.save(checkpoint / file)
    path = checkpoint / CLASSES_NAME
    spec = json.loads(path.read_text()) if path.is_file() else {"classes": []}
    entry = {"id": class_id, "name": token.name, "token": file, "n_parts": n_parts}
    others = [c for c in spec["classes"] if c["id"] != class_id and c["name"] != token.name]
    spec["classes"] = sorted([*others, entry], key=lambda c: int(c["id"]))
    parse_classes(spec, checkpoint)
    path.write_text(json.dumps(spec, indent=2) + "\n")
    return checkpoint / file
