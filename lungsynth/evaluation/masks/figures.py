"""Figures of one mask against an expert's, what the values of an expert mask mean, and maps on disk."""

from __future__ import annotations

import math
import tempfile
from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field

import numpy as np
from scipy import ndimage
from sklearn.metrics import roc_auc_score

from lungsynth.arrays import BoolArray, Float64Array, FloatArray, IntArray, UInt8Array
from lungsynth.errors import ConfigError

ALL = "all"  # the region of every counted class together
METRICS = ("iou", "dice", "hd95", "mean_distance")  # the last two in pixels of the square


def iou(mask: BoolArray, truth: BoolArray, valid: BoolArray) -> float:
    """Intersection over union where `valid`; 1 when both are empty."""
    a, b = mask & valid, truth & valid
    union = int((a | b).sum())
    return float((a & b).sum() / union) if union else 1.0


def dice(mask: BoolArray, truth: BoolArray, valid: BoolArray) -> float:
    """Dice coefficient where `valid`; 1 when both are empty."""
    a, b = mask & valid, truth & valid
    total = int(a.sum() + b.sum())
    return float(2 * (a & b).sum() / total) if total else 1.0


def auroc(heat: FloatArray, truth: BoolArray, valid: BoolArray) -> float:
    """Area under the ROC curve of a map's pixels where `valid`; NaN when the truth has one side only."""
    marks = truth[valid]
    return (
        float(roc_auc_score(marks, heat[valid]))
        if marks.any() and not marks.all()
        else float("nan")
    )


def surface(mask: BoolArray) -> BoolArray:
    """(H, W) bool -> (H, W) bool, the mask's pixels that have a 4-neighbour outside it.

    Beyond the image is outside.
    """
    return np.asarray(mask & ~ndimage.binary_erosion(mask), dtype=bool)


def surface_distance(mask: BoolArray, truth: BoolArray, valid: BoolArray) -> tuple[float, float]:
    """HD95 and mean surface distance, through exact Euclidean distance transforms.

    A directed distance goes from each surface pixel of one mask to the nearest of the other. Both masks
    are emptied where `valid` is false. Surface pixels beside such a place are borders that the rule of
    what counts has drawn, not the masks: no distance starts there, but the other mask's may end there.

    Returns:
        Pixels: the larger of the 95th percentiles of the two directed distances, and the mean over the
        surface pixels of both masks. Exactly one mask empty: the image's diagonal, twice. Both empty: 0.

    Source:
        HD95 as in Metrics Reloaded (Maier-Hein, Reinke et al. 2024) and MONAI: the maximum of the
        two directed percentiles, not the percentile of both pooled.
    """
    a, b = mask & valid, truth & valid
    if not a.any() or not b.any():
        far = math.hypot(*mask.shape) if a.any() != b.any() else 0.0
        return far, far
    borders, counted = [surface(a), surface(b)], ~ndimage.binary_dilation(~valid)
    rows, columns = (np.flatnonzero((borders[0] | borders[1]).any(axis)) for axis in (1, 0))
    box = np.s_[rows[0] : rows[-1] + 1, columns[0] : columns[-1] + 1]  # distances stay in this box
    borders, counted = [border[box] for border in borders], counted[box]
    directed = [
        ndimage.distance_transform_edt(~target)[start & counted]
        for start, target in (borders, borders[::-1])
    ]
    together = np.concatenate(directed)
    if not together.size:
        return 0.0, 0.0
    return max(float(np.percentile(d, 95)) for d in directed if d.size), float(together.mean())


def compare(
    mask: BoolArray, truth: BoolArray, valid: BoolArray
) -> tuple[float, float, float, float]:
    """The figures of `METRICS` for masks (H, W)."""
    return iou(mask, truth, valid), dice(mask, truth, valid), *surface_distance(mask, truth, valid)


@dataclass(frozen=True, kw_only=True)
class TruthSpec:
    """What the values of an expert mask mean."""

    foreground: tuple[int, ...] = (255,)  # values that count, where `classes` is empty
    classes: Mapping[int, str] = field(
        default_factory=dict
    )  # value -> class name of the checkpoint
    ignore: tuple[int, ...] = (127,)  # values that count neither way

    def __post_init__(self) -> None:
        doubled = set(self.values) & set(self.ignore)
        if doubled:
            raise ConfigError(
                f"Mask value {min(doubled)} is both counted and ignored; give another --ignore."
            )

    @property
    def values(self) -> tuple[int, ...]:
        """Values that count."""
        return tuple(self.classes) or self.foreground

    def regions(self, mask: UInt8Array) -> tuple[dict[str, BoolArray], BoolArray]:
        """Mask as the source wrote it (H, W) -> region name -> (H, W) bool, and where it is valid."""
        regions = {ALL: np.isin(mask, self.values)}
        regions |= {name: mask == value for value, name in self.classes.items()}
        return regions, ~np.isin(mask, self.ignore)


def split_names(text: str) -> list[str]:
    """`a, b` -> ["a", "b"]."""
    return [part.strip() for part in text.split(",") if part.strip()]


def parse_class_ids(text: str) -> dict[int, str]:
    """`1=left lung,2=right lung` -> {1: "left lung", 2: "right lung"}.

    Raises:
        ConfigError: not of this form, a value outside 0-255, or a name or value twice.
    """
    out: dict[int, str] = {}
    for part in split_names(text):
        value, _, name = (p.strip() for p in part.partition("="))
        if not value.isdigit() or int(value) > 255 or not name or int(value) in out:
            raise ConfigError(f"Class ids {text!r}: {part!r}; expected '1=left lung,2=right lung'.")
        if name in out.values() or name == ALL:
            raise ConfigError(f"Class ids {text!r}: the name {name!r} is taken.")
        out[int(value)] = name
    return out


class Spill:
    """(K, P, P) uint8 planes of each film in a temporary file; a context manager."""

    def __init__(self) -> None:
        self._file = tempfile.TemporaryFile()
        self._shape: tuple[int, ...] = ()
        self._n = 0

    def __enter__(self) -> Spill:
        return self

    def __exit__(self, *error: object) -> None:
        self._file.close()

    def __len__(self) -> int:
        return self._n

    def append(self, planes: UInt8Array) -> None:
        """Keep a film's planes; of one shape for all films."""
        self._shape = self._shape or planes.shape
        if planes.shape != self._shape:
            raise ValueError(f"planes are {planes.shape}, those before {self._shape}")
        self._file.seek(0, 2)
        self._file.write(planes.tobytes())
        self._n += 1

    def __iter__(self) -> Iterator[UInt8Array]:
        return (self[index] for index in range(self._n))

    def __getitem__(self, index: int) -> UInt8Array:
        if not 0 <= index < self._n:
            raise IndexError(index)
        size = int(np.prod(self._shape))
        self._file.seek(index * size)
        return np.frombuffer(self._file.read(size), np.uint8).reshape(self._shape)


def side_swapped(labels: UInt8Array, class_ids: Mapping[str, int]) -> bool:
    """True when "left X" does not lie to the right of "right X" in the picture (the patient's sides)."""
    for name, left in class_ids.items():
        right = class_ids.get(name.replace("left", "right", 1))
        if not name.startswith("left") or right is None:
            continue
        columns = [np.nonzero(labels == value)[1] for value in (left, right)]
        if all(len(c) for c in columns) and columns[0].mean() < columns[1].mean():
            return True
    return False


def iou_by_level(heat: UInt8Array, truth: BoolArray, valid: BoolArray) -> Float64Array:
    """(255,) IoU of `heat > l` for l = 0 … 254, where `valid`."""

    def above(values: UInt8Array) -> IntArray:
        counts = np.bincount(values, minlength=256)
        return np.cumsum(counts[::-1])[::-1][1:]

    both, mask = above(heat[truth & valid]), above(heat[valid])
    union = mask + int((truth & valid).sum()) - both
    return np.where(union > 0, both / np.maximum(union, 1), 1.0)
