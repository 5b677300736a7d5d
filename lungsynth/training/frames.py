"""Frames: the square pictures a run trains on, with the words that are true of each."""

from __future__ import annotations

import json
from collections.abc import Callable, Iterable, Mapping
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import torch
from tqdm import tqdm

from lungsynth.arrays import UInt8Array
from lungsynth.errors import CheckpointError
from lungsynth.films.data import Record
from lungsynth.films.framing import cut, draw_framing
from lungsynth.model.tensor_files import read_tensors, save_tensors
from lungsynth.training.captions import is_child
from lungsynth.training.words.regions import region_grid

Places = Callable[[Record], tuple[UInt8Array, str]]
"""A film -> region planes (K, H, W), 255 inside, and the words for where its finding is ("" = unknown)."""

P_WHOLE = 0.7
"""Share of whole-chest framings, beside the first of each film, which always is one."""

ALL_HEALTHY = ("nih_rsna_normal",)
"""Sets whose every film was read as normal: there are many, and they teach no finding."""


@dataclass(frozen=True, slots=True)
class Frames:
    """Square pictures cut from films. Entry i of each field belongs to picture i."""

    images: UInt8Array  # (N, pixels, pixels)
    framing: list[str]  # name of the framing
    texts: list[str]  # text of the film
    fields: list[Mapping[str, str]]  # metadata of the film
    weights: np.ndarray  # (N,) float64, sums to 1: how often a picture is drawn
    # (N, planes, grid, grid); see `lungsynth.training.words.regions`
    regions: UInt8Array | None = None


def cut_frames(
    records: Iterable[Record],
    *,
    pixels: int,
    seed: int = 0,
    per_child: int = 1,
    per_adult: int = 3,
    per_healthy: int | None = None,
    places: Places | None = None,
    quiet: bool = False,
) -> Frames:
    """Cut several framings of every film; children and adults are then drawn equally often.

    Args:
        records: Films with text and fields.
        pixels: Side of a picture.
        seed: Picks the framings.
        per_child: Framings of a child's film.
        per_adult: Framings of an adult's film; these are fewer and larger.
        per_healthy: Framings of an adult's film of a set that is all healthy; None = `per_adult`.
        places: Where organs and findings are on a film; None = not needed.
        quiet: No progress bar.
    """
    rng = np.random.default_rng(seed)
    images: list[UInt8Array] = []
    names: list[str] = []
    texts: list[str] = []
    fields: list[Mapping[str, str]] = []
    regions: list[UInt8Array] = []
    for record in tqdm(records, desc="framing", unit="film", disable=quiet, mininterval=2):
        young = is_child(record.fields)
        known: Mapping[str, str] = record.fields
        if places is not None:
            planes, place = places(record)
            known = {**known, "place": place} if place else known
        count = per_child if young else per_adult
        if per_healthy is not None and record.fields.get("source_set") in ALL_HEALTHY:
            count = per_healthy
        for k in range(count):
            height, width = record.image.shape
            framing = draw_framing(height, width, rng, p_whole=1.0 if k == 0 else P_WHOLE)
            images.append(cut(record.image, framing, pixels=pixels))
            names.append(framing.name)
            texts.append(record.text)
            fields.append(known)
            if places is not None:
                regions.append(region_grid(planes, framing))
    weights = np.ones(len(images))
    young_mask = np.array([is_child(film) for film in fields])
    if 0 < young_mask.sum() < len(images):
        weights[young_mask] = 0.5 / young_mask.sum()
        weights[~young_mask] = 0.5 / (~young_mask).sum()
    return Frames(
        np.stack(images),
        names,
        texts,
        fields,
        weights / weights.sum(),
        np.stack(regions) if regions else None,
    )


def save_frames(frames: Frames, path: Path) -> None:
    """Write frames to one file, so that a resumed run need not cut them again.

    Raises:
        OutputError: it cannot be written.
    """
    tensors = {
        "images": torch.from_numpy(frames.images),
        "weights": torch.from_numpy(frames.weights),
    }
    if frames.regions is not None:
        tensors["regions"] = torch.from_numpy(frames.regions)
    words = {"framing": frames.framing, "texts": frames.texts, "fields": list(frames.fields)}
    save_tensors(tensors, path, {"frames": json.dumps(words)})


def load_frames(path: Path) -> Frames:
    """Read what `save_frames` wrote.

    Raises:
        CheckpointError: the file is missing or broken.
    """
    tensors, metadata = read_tensors(path)
    words = json.loads(metadata.get("frames", "{}"))
    if "images" not in tensors or "fields" not in words:
        raise CheckpointError(f"{path}: holds no frames. Remove it; the run will cut them again.")
    return Frames(
        tensors["images"].numpy(),
        words["framing"],
        words["texts"],
        words["fields"],
        tensors["weights"].numpy(),
        tensors["regions"].numpy() if "regions" in tensors else None,
    )
