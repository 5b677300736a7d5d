"""Maps of words in the attention that draws: of real films, noised and passed once, and of samples."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import torch
from tqdm import tqdm

from lungsynth.arrays import BoolArray, UInt8Array
from lungsynth.errors import DataError
from lungsynth.evaluation.words.facts import read_fields
from lungsynth.evaluation.words.hearing import Passes
from lungsynth.evaluation.words.map_figures import grey
from lungsynth.films.annotation import rasterise, read_labelme
from lungsynth.films.data import decode_grey, open_source, read_records
from lungsynth.films.framing import whole
from lungsynth.masks.quality import split_sides
from lungsynth.model.attention import AttentionCapture, Captured, word_map
from lungsynth.model.backbone import (
    add_noise,
    embed_prompts,
    encode_images,
    network,
    predict,
    reading_noise,
)
from lungsynth.model.precision import rounded
from lungsynth.prompts import word_tokens

PIXELS = 128
"""Side of the maps that are measured: eight times as fine as the finest attention of the shipped model."""

FOREGROUND, IGNORED = 255, 127  # values of the films' expert masks
APART = 0.2  # of the picture's width, between the centres of two lungs; halves of one lie closer
OUTLINED = {"left lung": 1, "right lung": 2, "heart": 3}  # names of polygons in annotations


@dataclass(frozen=True, slots=True)
class PlacedFilm:
    """A film and where things lie on it."""

    image: UInt8Array  # (S, S), S = side the network was trained at
    fields: Mapping[str, str]
    regions: dict[str, BoolArray]  # word -> (P, P)
    valid: BoolArray  # (P, P)
    patient: str


def _patient(fields: Mapping[str, str], name: str) -> str:
    return f"{fields.get('source_set', '')}/{fields.get('patient') or name}"


def lung_regions(mask: UInt8Array) -> tuple[dict[str, BoolArray], BoolArray]:
    """Expert mask of both lungs (H, W) -> "lungs", "left lung", "right lung", each (P, P); valid (P, P).

    Sides are the patient's. Where the lungs cannot be told apart, only "lungs" is there.
    """
    small = whole(mask, pixels=PIXELS, nearest=True)
    both = small == FOREGROUND
    regions = {"lungs": both}
    left, right = split_sides(both)
    centres = [np.nonzero(one)[1].mean() if one.any() else 0.0 for one in (left, right)]
    if min(left.sum(), right.sum()) >= 0.1 * max(left.sum(), right.sum(), 1) and (
        centres[0] - centres[1] > APART * PIXELS
    ):
        regions |= {"left lung": left, "right lung": right}
    return regions, small != IGNORED


def masked_films(
    sources: Sequence[str],
    side: int,
    *,
    split: str | None,
    limit: int | None,
    seed: int = 0,
    image_column: str = "image",
) -> dict[str, list[PlacedFilm]]:
    """Films with expert masks of the lungs, by the convention they are drawn by.

    Args:
        sources: Real films; those without masks are passed over.
        side: S, of the pictures.
        split: Value of the `split` column; None takes every row.
        limit: At most so many films of a convention, drawn with `seed`.
        seed: Of the draw.
        image_column: Column of the image.
    """
    found: dict[str, list[PlacedFilm]] = {}
    for source in sources:
        rows = open_source(source)
        if "mask" not in rows.column_names or all(value is None for value in rows["mask"]):
            continue
        for record in read_records(
            source,
            image_column=image_column,
            mask_column="mask",
            text_column=None,
            split=split,
            order_seed=seed,
            limit=limit,
        ):
            assert record.mask is not None
            regions, valid = lung_regions(record.mask)
            convention = record.fields.get("mask_convention", "").partition(":")[0] or "masks"
            film = PlacedFilm(
                whole(record.image, pixels=side),
                record.fields,
                regions,
                valid,
                _patient(record.fields, record.fields.get("id", "")),
            )
            found.setdefault(convention, []).append(film)
    rng = np.random.default_rng(seed)
    for name, films in found.items():
        if limit is not None and len(films) > limit:
            kept = np.sort(rng.choice(len(films), limit, replace=False))
            found[name] = [films[i] for i in kept]
    return found


def boxed_films(source: str, side: int, *, split: str | None) -> list[PlacedFilm]:
    """Films with boxes of findings: all boxes of a film are one region, "finding".

    Args:
        source: One row a box: `id`, `image`, `width`, `height`, `box` = [x1, y1, x2, y2] in pixels.
        side: S, of the pictures.
        split: Value of the `split` column; None takes every row.

    Raises:
        DataError: a column is missing, or no row is of the split.
    """
    rows = open_source(source)
    missing = {"id", "image", "box", "width", "height"} - set(rows.column_names)
    if missing:
        raise DataError(
            f"{source}: no column {', '.join(sorted(missing))}; one row a box expected."
        )
    films: dict[str, PlacedFilm] = {}
    for row in rows:
        if split is not None and row.get("split") != split:
            continue
        name = str(row["id"])
        box = np.zeros((int(row["height"]), int(row["width"])), np.uint8)
        x1, y1, x2, y2 = (round(float(value)) for value in row["box"])
        box[max(y1, 0) : y2, max(x1, 0) : x2] = 1
        region = whole(box, pixels=PIXELS, nearest=True) > 0
        if name in films:
            films[name].regions["finding"] |= region
            continue
        fields = {
            k: "" if row[k] is None else str(row[k])
            for k in ("id", "view", "age", "sex", "patient")
            if k in row
        }
        image = whole(decode_grey(row["image"], where=name), pixels=side)
        everywhere = np.ones((PIXELS, PIXELS), bool)
        films[name] = PlacedFilm(
            image, fields, {"finding": region}, everywhere, _patient(fields, name)
        )
    if not films:
        raise DataError(f"{source}: no box of split {split!r}.")
    return list(films.values())


def outlined_films(
    folder: Path, sources: Sequence[str], side: int, *, image_column: str = "image"
) -> list[PlacedFilm]:
    """Films outlined by hand, one labelme file each, named by the film's id; of any split.

    Raises:
        DataError: no film of the sources has a file there, or a file is no annotation.
    """
    files = {path.stem: path for path in sorted(folder.glob("*.json"))}
    films = []
    for source in sources:
        rows = open_source(source)
        if "id" not in rows.column_names:
            continue
        for index in [i for i, name in enumerate(rows["id"]) if str(name) in files]:
            row = rows[index]
            name = str(row["id"])
            drawn = read_labelme(files.pop(name))
            mask = rasterise(drawn.shapes, drawn.height, drawn.width, OUTLINED)
            small = whole(mask, pixels=PIXELS, nearest=True)
            regions = {word: small == value for word, value in OUTLINED.items()}
            regions["lungs"] = regions["left lung"] | regions["right lung"]
            told = {
                k: str(row[k])
                for k in ("view", "age", "sex", "findings", "label", "patient", "source_set")
                if row.get(k) is not None
            }
            image = whole(decode_grey(row[image_column], where=name), pixels=side)
            everywhere = np.ones((PIXELS, PIXELS), bool)
            films.append(PlacedFilm(image, told, regions, everywhere, _patient(told, name)))
    if not films:
        raise DataError(f"{folder}: no *.json named by the id of a film of {', '.join(sources)}.")
    return films


def film_caption(film: PlacedFilm, ending: str) -> str:
    """The film's own caption with an ending such as "Left lung, heart and right lung"."""
    return f"{read_fields(film.fields).caption()}. {ending}"


def quantised(captured: Captured, index: int, prompt: str, word: str, tokenizer: Any) -> UInt8Array:
    """(P, P) 0-255: the map of a word as it is shown, of one picture of a batch."""
    tokens = word_tokens(prompt, word, tokenizer)
    return grey(word_map(captured, index, tokens, height=PIXELS, width=PIXELS).numpy())


@torch.inference_mode()
def film_maps(
    pipe: Any,
    images: Sequence[UInt8Array],
    prompts: Sequence[str],
    words: Sequence[Sequence[str]],
    how: Passes,
) -> list[dict[str, UInt8Array]]:
    """Maps of words of films noised to each timestep, one pass each; the passes are averaged.

    Args:
        pipe: A Stable Diffusion pipeline.
        images: N films (S, S).
        prompts: N, each holding its words.
        words: N lists of words to map.
        how: Films are shown to it; one noise a film and timestep.

    Returns:
        N times word -> (P, P) 0-255.
    """
    out: list[dict[str, UInt8Array]] = []
    device = network(pipe).device
    starts = range(0, len(images), how.batch)
    for start in tqdm(starts, desc="looking", unit="batch", disable=how.quiet, mininterval=2):
        part = slice(start, start + how.batch)
        latents = encode_images(pipe, np.stack(list(images[part]))).to(device)
        states = embed_prompts(pipe, prompts[part]).to(device)
        window = AttentionCapture(
            network(pipe), height=latents.shape[-2], width=latents.shape[-1], guided=False
        )
        with window as captured, rounded(device, how.precision):
            for t in how.timesteps:
                noise = torch.stack(
                    [
                        torch.randn(latents.shape[1:], generator=reading_noise(how.seed + k, t))
                        for k in range(start, start + len(latents))
                    ]
                ).to(latents)
                steps = torch.full((len(latents),), t, device=device)
                predict(pipe, add_noise(pipe.scheduler, latents, noise, t), steps, states)
        for index in range(len(latents)):
            prompt = prompts[start + index]
            out.append(
                {
                    word: quantised(captured, index, prompt, word, pipe.tokenizer)
                    for word in words[start + index]
                }
            )
    return out
