"""What the film check learns from: films of several sets, views from the side, other pictures.

Views that sets of frontal films do not hold are drawn from CT volumes. A ray's brightness is what it has
passed through, summed along one axis of the volume after it was turned about the body's long axis (a
digitally reconstructed radiograph with parallel rays).
"""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray
from scipy import ndimage

from lungsynth.arrays import UInt8Array
from lungsynth.errors import DataError, MissingDependencyError
from lungsynth.films.data import read_records
from lungsynth.training.film_check.no_films import (
    SIDE,
    folder_pictures,
    make_no_films,
    packaged_pictures,
    split_pictures,
    stretched,
    to_square,
)
from lungsynth.training.film_check.train import FRONTAL, LATERAL, OTHER

N_VIEWS = 300
"""Radiographs drawn of each volume."""
OTHER_TIMES = 2
"""How often the views of other parts of the body stand among the other pictures: they matter most."""

MILLIMETRES = 3.0
"""Voxels are brought to this size: fine enough for squares of 128 pixels."""


def read_volume(path: Path) -> NDArray[np.float32]:
    """A CT volume (right, front, head) of Hounsfield units, 3 mm a voxel, from a NIfTI file.

    Raises:
        MissingDependencyError: nibabel is not installed.
        DataError: the file is missing, damaged, or no volume.
    """
    try:
        import nibabel  # optional: only `train film-check --volumes` needs it
    except ImportError as error:
        raise MissingDependencyError("NIfTI volumes need nibabel: pip install nibabel.") from error
    try:
        image: Any = nibabel.as_closest_canonical(nibabel.load(path))
        values = np.asarray(image.dataobj, dtype=np.float32)
    except Exception as error:  # nibabel raises many kinds; all mean "no volume"
        raise DataError(f"{path}: not a NIfTI volume ({type(error).__name__}).") from error
    if values.ndim != 3:
        raise DataError(f"{path}: its shape is {values.shape}; expected a volume of three axes.")
    zoom = [float(mm) / MILLIMETRES for mm in image.header.get_zooms()[:3]]
    return np.asarray(ndimage.zoom(values, zoom, order=1), dtype=np.float32)


def radiograph(volume: NDArray[np.float32], degrees: float, rng: np.random.Generator) -> UInt8Array:
    """One view as a square (SIDE, SIDE), head up; exposure, cut and hardness of the rays are drawn.

    Args:
        volume: (right, front, head) in Hounsfield units.
        degrees: Turn about the long axis; 0 is frontal, 90 lateral.
        rng: Source of randomness.
    """
    height = volume.shape[2]
    keep = round(height * rng.uniform(0.75, 1.0))
    low = int(rng.integers(0, height - keep + 1))
    mu = np.clip(1 + volume[:, :, low : low + keep] / 1000, 0, 3) ** rng.uniform(0.8, 1.7)
    turned = ndimage.rotate(mu, degrees, axes=(0, 1), reshape=True, order=1)
    depth = turned.sum(1)
    view = depth if rng.random() < 0.5 else -np.exp(-depth * rng.uniform(1.0, 3.0) / depth.max())
    view = view[:, ::-1].T  # head up
    columns = np.flatnonzero(depth.max(1) > 0.1 * depth.max())
    view = view[:, max(0, columns[0] - 3) : columns[-1] + 4]
    bottom, top = np.percentile(view, [rng.uniform(0, 10), rng.uniform(98, 100)])
    return to_square(stretched(np.clip(view, bottom, max(top, bottom + 1e-6))))


def radiographs(
    volume: NDArray[np.float32], n: int, *, lateral_only: bool, seed: int
) -> UInt8Array:
    """`n` views (n, SIDE, SIDE) of a volume: from all sides, or from either side of the body only."""
    rng = np.random.default_rng((seed, 0xC7))
    out = np.empty((n, SIDE, SIDE), np.uint8)
    for i in range(n):
        degrees = rng.uniform(62, 118) if lateral_only else rng.uniform(0, 180)
        out[i] = radiograph(volume, degrees + 180 * rng.integers(2), rng)
    return out


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
        sources: Frontal films; see `lungsynth.films.data.open_source`.
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
    how: dict[str, Any] = {"text_column": None, "split": split, "limit": limit, "order_seed": seed}
    sets = [
        np.stack([to_square(row.image) for row in read_records(source, **how)])
        for source in sources
    ]
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
