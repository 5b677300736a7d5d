"""Radiographs drawn from CT volumes: views that sets of frontal films do not hold.

A ray's brightness is what it has passed through, summed along one axis of the volume after it was
turned about the body's long axis (a digitally reconstructed radiograph with parallel rays).
"""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray
from scipy import ndimage

from lungsynth.arrays import UInt8Array
from lungsynth.errors import DataError, MissingDependencyError
from lungsynth.training.film_check.no_films import SIDE, stretched, to_square

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
