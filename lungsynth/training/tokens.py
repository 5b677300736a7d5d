"""Learning a class token from a few annotated films."""

from __future__ import annotations

import json
from collections.abc import Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import numpy as np
import torch
from sklearn.cluster import KMeans
from tqdm import tqdm

from lungsynth.arrays import UInt8Array
from lungsynth.errors import ConfigError, DataError
from lungsynth.files import write_whole
from lungsynth.films.data import Record
from lungsynth.films.framing import cut, draw_framing
from lungsynth.images import slug
from lungsynth.masks.affinity import to_input
from lungsynth.masks.classes import classes_path, load_classes, parse_classes, parse_ratios
from lungsynth.masks.quality import split_sides
from lungsynth.masks.tokens import ClassToken, learn_token
from lungsynth.model.backbone import key_weights, network, noised_queries, side_pixels
from lungsynth.training.common import torch_generator
from lungsynth.training.segmenter import AugmentOptions, augment

SIDES = ("both", "left", "right")


@dataclass(frozen=True, kw_only=True)
class LearnOptions:
    """How a class token is learnt."""

    timesteps: tuple[int, ...] = (50, 150, 300)  # noise levels it is learnt and read at
    n_views: int = 192  # framed, moved, bent and re-exposed views of the films, in all
    batch: int = 16  # views of one noise level, used together
    n_iters: int = 400  # AdamW iterations
    lr: float = 2e-2
    side: str = "both"  # "left" or "right" (the patient's) takes that half of a paired organ's mask
    foreground: int = 255  # mask value of the class
    ignore: int = 127  # mask value that counts neither way
    seed: int = 0
    augment: AugmentOptions = field(default_factory=AugmentOptions)


def to_target(mask: UInt8Array, options: LearnOptions) -> UInt8Array:
    """Mask as the source wrote it -> 1 class, 0 not, 255 ignored."""
    region = mask == options.foreground
    if options.side != "both":
        left, right = split_sides(region)
        region = left if options.side == "left" else right
    target = region.astype(np.uint8)
    target[mask == options.ignore] = 255
    return target


def learn_from_films(
    pipe: Any,
    name: str,
    records: Sequence[Record],
    options: LearnOptions,
    *,
    info: dict[str, str],
    quiet: bool = False,
) -> ClassToken:
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
        raise DataError(
            f"{len(records)} annotated films were given; a class token needs at least one."
        )
    side = side_pixels(pipe)
    truths = [to_target(r.mask, options) for r in records if r.mask is not None]
    if not any((truth == 1).any() for truth in truths):
        raise DataError(
            f"No pixel of the class in {len(records)} masks: no value {options.foreground} "
            f"(side {options.side}). Check --foreground and --side."
        )
    rng = np.random.default_rng(options.seed)
    draws = []
    n_draws = -(-options.n_views // options.batch)
    for index in tqdm(range(n_draws), desc=f"reading {name}", disable=quiet):
        chosen = [(index * options.batch + k) % len(records) for k in range(options.batch)]
        images, targets = [], []
        for i in chosen:
            height, width = records[i].image.shape
            framing = draw_framing(height, width, rng, p_whole=0.8)
            if framing.name in ("neck and shoulders", "upper abdomen"):
                framing = draw_framing(height, width, rng, p_whole=1.0)
            images.append(cut(records[i].image, framing, pixels=side))
            # a quarter of the side is finer than any map, and sixteen times cheaper
            targets.append(cut(truths[i], framing, pixels=side // 4, nearest=True))
        planes = torch.from_numpy(np.stack(targets))[:, None].float()
        moved, planes = augment(
            to_input(np.stack(images)),
            planes,
            torch_generator(options.seed, index),
            options.augment,
        )
        views = ((moved[:, 0] + 1) * 127.5).round().to(torch.uint8).numpy()
        queries = noised_queries(
            pipe,
            views,
            [records[i].text for i in chosen],
            seed=options.seed + index,
            t=options.timesteps[index % len(options.timesteps)],
        )
        draws.append((queries, planes[:, 0].round().to(torch.uint8)))
    facts = {
        "timesteps": ",".join(map(str, options.timesteps)),
        "shots": str(len(records)),
        "side": options.side,
        "foreground": str(options.foreground),
        **info,
    }
    return learn_token(
        name,
        draws,
        key_weights(network(pipe)),
        n_iters=options.n_iters,
        lr=options.lr,
        seed=options.seed,
        info=facts,
    )


def suggest_films(
    pipe: Any, images: UInt8Array, k: int, *, seed: int = 0, quiet: bool = True
) -> list[int]:
    """Which films to annotate: those nearest to the centres of `k` clusters of what the model sees.

    Each film is described by the mean query of every cross-attention layer over its places, noised
    once; the clusters are k-means'.

    Args:
        pipe: A Stable Diffusion pipeline.
        images: (N, P, P) uint8 at the model's side.
        k: How many to choose.
        seed: Of the noise and the clusters.
        quiet: No progress bar.

    Returns:
        k distinct indices, the largest cluster's first.

    Raises:
        DataError: fewer than `k` films.
    """
    if len(images) < k or k < 1:
        raise DataError(f"{len(images)} films to choose {k} from; expected at least as many.")
    parts = []
    for start in tqdm(range(0, len(images), 16), desc="looking", disable=quiet):
        some = images[start : start + 16]
        queries = noised_queries(pipe, some, [""] * len(some), t=150, seed=seed + start, batch=16)
        parts.append(torch.cat([q.mean((2, 3)).flatten(1) for q in queries.values()], 1))
    seen = torch.cat(parts).numpy()
    seen = (seen - seen.mean(0)) / (seen.std(0) + 1e-6)
    fit = KMeans(k, n_init=4, random_state=seed).fit(seen)
    chosen: list[int] = []
    for cluster in np.argsort(-np.bincount(fit.labels_, minlength=k), kind="stable"):
        distance = ((seen - fit.cluster_centers_[cluster]) ** 2).sum(1)
        distance[chosen] = np.inf
        chosen.append(int(distance.argmin()))
    return chosen


@dataclass(frozen=True)
class Entry:
    """Where a class is entered, beside its convention's own file."""

    name: str = ""  # of the set: classes-NAME.json; "" = that of the convention
    like: str = ""  # a set whose classes a new one begins with
    ratio: dict[str, Any] | None = None  # see `lungsynth.masks.classes`


def add_to_checkpoint(
    token: ClassToken,
    checkpoint: Path,
    *,
    class_id: int,
    n_parts: int = 1,
    convention: str = "",
    entry: Entry | None = None,
) -> Path:
    """Write a token into a checkpoint and enter its class in `classes.json`, replacing its id.

    A convention goes to `classes-CONVENTION.json`, unless `classes.json` is of that convention. A set
    with a name of its own goes to `classes-NAME.json`, whatever its convention.

    Raises:
        ConfigError: the resulting `classes.json` would not be valid, or `like` is not there.
    """
    entry = entry or Entry()
    path = classes_path(checkpoint)
    first = json.loads(path.read_text()) if path.is_file() else {"classes": []}
    if entry.name:
        path = classes_path(checkpoint, entry.name)
    elif convention and first["classes"] and first.get("convention") != convention:
        path = classes_path(checkpoint, convention)
    spec = json.loads(path.read_text()) if path.is_file() else _begun(checkpoint, entry.like)
    if convention:
        spec = {**spec, "convention": convention}
    stem = f"{slug(token.name)}-{slug(convention)}" if convention else slug(token.name)
    file = f"tokens/{stem}.safetensors"
    if file in _files_of_others(checkpoint, token.name):  # names in other letters have one stem
        file = f"tokens/{stem}-{class_id}.safetensors"
    token.save(checkpoint / file)
    new = {"id": class_id, "name": token.name, "token": file, "n_parts": n_parts}
    others = [c for c in spec["classes"] if c["id"] != class_id and c["name"] != token.name]
    spec["classes"] = sorted([*others, new], key=lambda c: int(c["id"]))
    if entry.ratio:
        spec["ratios"] = {**spec.get("ratios", {}), **entry.ratio}
    parse_ratios(spec, parse_classes(spec, checkpoint))
    write_whole(path, json.dumps(spec, indent=2) + "\n")
    return checkpoint / file


def _files_of_others(checkpoint: Path, name: str) -> set[str]:
    """Token files of the classes with other names, in every set of a checkpoint."""
    sets = [json.loads(path.read_text()) for path in checkpoint.glob("classes*.json")]
    return {
        c["token"] for one in sets for c in one["classes"] if c["name"] != name and "token" in c
    }


def _begun(checkpoint: Path, like: str) -> dict[str, Any]:
    """A new set of classes: none, or those of another."""
    if not like:
        return {"classes": []}
    load_classes(checkpoint, like)  # refuses a set that is not there
    named, first = classes_path(checkpoint, like), classes_path(checkpoint)
    return dict(json.loads((named if named.is_file() else first).read_text()))
