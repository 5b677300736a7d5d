"""Frames: the square pictures a run trains on, with the words that are true of each."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from dataclasses import dataclass

import numpy as np
from tqdm import tqdm

from lungsynth.arrays import UInt8Array
from lungsynth.films.data import Record
from lungsynth.films.framing import cut, draw_framing
from lungsynth.training.captions import is_child


@dataclass(frozen=True, slots=True)
class Frames:
    """Square pictures cut from films. Entry i of each field belongs to picture i."""

    images: UInt8Array  # (N, pixels, pixels)
    framing: list[str]  # name of the framing
    texts: list[str]  # text of the film
    fields: list[Mapping[str, str]]  # metadata of the film
    weights: np.ndarray  # (N,) float64, sums to 1: how often a picture is drawn


def cut_frames(
    records: Iterable[Record],
    *,
    pixels: int,
    seed: int = 0,
    per_child: int = 1,
    per_adult: int = 3,
    p_whole: float = 0.7,
    quiet: bool = False,
) -> Frames:
    """Cut several framings of every film; children and adults are then drawn equally often.

    Args:
        records: Films with text and fields.
        pixels: Side of a picture.
        seed: Picks the framings.
        per_child: Framings of a child's film.
        per_adult: Framings of an adult's film; these are fewer and larger.
        p_whole: Share of whole-chest framings.
        quiet: No progress bar.
    """
    rng = np.random.default_rng(seed)
    images: list[UInt8Array] = []
    names: list[str] = []
    texts: list[str] = []
    fields: list[Mapping[str, str]] = []
    child: list[bool] = []
    for record in tqdm(records, desc="framing", unit="film", disable=quiet, mininterval=2):
        young = is_child(record.fields)
        for k in range(per_child if young else per_adult):
            height, width = record.image.shape
            framing = draw_framing(height, width, rng, p_whole=1.0 if k == 0 else p_whole)
            images.append(cut(record.image, framing, pixels=pixels))
            names.append(framing.name)
            texts.append(record.text)
            fields.append(record.fields)
            child.append(young)
    weights = np.ones(len(images))
    young_mask = np.array(child)
    if 0 < young_mask.sum() < len(images):
        weights[young_mask] = 0.5 / young_mask.sum()
        weights[~young_mask] = 0.5 / (~young_mask).sum()
    return Frames(np.stack(images), names, texts, fields, weights / weights.sum())
