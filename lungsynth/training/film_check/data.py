"""What the film check learns from: films of several sets, views from the side, other pictures."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from lungsynth.arrays import UInt8Array
from lungsynth.films.data import read_records
from lungsynth.training.film_check.no_films import (
    SIDE,
    folder_pictures,
    make_no_films,
    packaged_pictures,
    split_pictures,
    to_square,
)
from lungsynth.training.film_check.radiographs import radiographs, read_volume
from lungsynth.training.film_check.train import FRONTAL, LATERAL, OTHER

N_VIEWS = 300
"""Radiographs drawn of each volume."""
OTHER_TIMES = 2
"""How often the views of other parts of the body stand among the other pictures: they matter most."""


def film_squares(
    source: str, *, split: str | None, limit: int | None, seed: int = 0
) -> NDArray[np.uint8]:
    """Films of a source (N, SIDE, SIDE), at most `limit`, drawn with `seed`.

    Raises:
        DataError: the source cannot be read, or has no such row.
    """
    rows = read_records(source, text_column=None, split=split, limit=limit, order_seed=seed)
    return np.stack([to_square(row.image) for row in rows])


def gather_pictures(
    sources: Sequence[str],
    chests: Sequence[Path],
    others: Sequence[Path],
    folders: Sequence[Path] = (),
    *,
    split: str | None,
    limit: int | None,
    n_other: int,
    seed: int = 0,
) -> tuple[dict[int, NDArray[np.uint8]], NDArray[np.float64]]:
    """Pictures of each kind (N, SIDE, SIDE), and how often each film is drawn.

    A set of n films is drawn as if it had the square root of n, so that no large set swamps the others.

    Args:
        sources: Frontal films; see `lungsynth.data.open_source`.
        chests: CT volumes of chests.
        others: CT volumes of other parts of the body.
        folders: More pictures that are no chest films.
        split: Value of the `split` column; None takes every row.
        limit: At most so many films of a source.
        n_other: Pictures that are no films, besides views of `others`.
        seed: Of everything drawn.

    Raises:
        DataError, MissingDependencyError: a source or a volume cannot be read.
    """
    sets = [film_squares(source, split=split, limit=limit, seed=seed) for source in sources]
    films = np.concatenate(sets)
    weights = np.concatenate([np.full(len(one), len(one) ** -0.5) for one in sets])
    found: dict[str, UInt8Array] = packaged_pictures()
    for folder in folders:
        found |= folder_pictures(folder)
    pictures, _ = split_pictures(found)
    none = np.zeros((0, SIDE, SIDE), np.uint8)
    lateral = [
        radiographs(read_volume(path), N_VIEWS, lateral_only=True, seed=seed + i)
        for i, path in enumerate(chests)
    ]
    views = [
        radiographs(read_volume(path), N_VIEWS, lateral_only=False, seed=seed + i)
        for i, path in enumerate(others)
    ]
    no_films = make_no_films(n_other, list(films), pictures, seed=seed)
    return {
        FRONTAL: films,
        LATERAL: np.concatenate([none, *lateral]),
        OTHER: np.concatenate([no_films, *(OTHER_TIMES * views)]),
    }, weights
