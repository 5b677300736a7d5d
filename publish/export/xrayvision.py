"""Rows in the shape of torchxrayvision's datasets, which its users' training code takes as it is.

Nothing of torchxrayvision is imported: the shape is `pathologies`, `labels` (N, P) of 1, 0 and NaN,
`csv`, and samples with `idx`, `lab`, `img` (1, H, W) from -1024 to 1024 and `semantic_masks`.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping
from typing import Any

import numpy as np
from datasets import Image

from lungsynth.arrays import IGNORE
from lungsynth.errors import ConfigError

HIGHEST = 1024.0
"""Of a pixel; black is minus it."""

NORMAL = "normal"


class XRayVisionRows:
    """A published dataset, read as torchxrayvision reads its own.

    `rows` is what `datasets.load_dataset` gives. A label is what the prompt **asked for**, which the
    dataset's card says how well it is obeyed; nobody has read the pictures.
    """

    def __init__(
        self,
        rows: Any,
        id2label: Mapping[int | str, str],
        *,
        pathologies: Iterable[str] | None = None,
        transform: Callable[[np.ndarray], np.ndarray] | None = None,
    ) -> None:
        """Look at the small columns.

        Args:
            rows: Of one split, with the columns `image`, `mask` and `finding`.
            id2label: Mask value -> class name: `id2label.json` of the dataset.
            pathologies: Names of the labels, in order; None for the findings that were asked for.
            transform: Applied to a picture (1, H, W) float32.

        Raises:
            ConfigError: a column is missing.
        """
        missing = [c for c in ("image", "mask", "finding") if c not in rows.column_names]
        if missing:
            raise ConfigError(
                f"The rows have no column {missing[0]!r}; expected those of `publish build`: give what "
                "`load_dataset(NAME, split=…)` returns."
            )
        self.rows, self.transform = rows, transform
        self.csv = rows.select_columns([c for c in rows.column_names if c not in _pictures(rows)])
        asked = [one or "" for one in rows["finding"]]
        told = sorted({one for one in asked if one not in ("", NORMAL)})
        self.pathologies = list(pathologies) if pathologies is not None else told
        self.labels = np.full((len(asked), len(self.pathologies)), np.nan, np.float32)
        for k, one in enumerate(asked):
            if one:  # a prompt that names no finding leaves every label open
                self.labels[k] = [float(name == one) for name in self.pathologies]
        self.semantic_classes = {int(v): name for v, name in id2label.items() if int(v)}

    def __len__(self) -> int:
        return len(self.rows)

    def string(self) -> str:
        """Its name and size, as torchxrayvision prints them."""
        return f"{type(self).__name__} num_samples={len(self)}"

    def __getitem__(self, index: int) -> dict[str, Any]:
        """A sample.

        Returns:
            `idx`; `lab` (P,) float32; `img` (1, H, W) float32 in [-1024, 1024]; `semantic_masks`: class
            name -> (1, H, W) float32 of 0 and 1, NaN where the mask is to be ignored.
        """
        row = self.rows[index]
        grey = np.asarray(row["image"], np.float32)[None]
        picture = (2 * grey / 255 - 1) * np.float32(HIGHEST)
        mask = np.asarray(row["mask"])[None]
        masks = {}
        for value, name in self.semantic_classes.items():
            masks[name] = (mask == value).astype(np.float32)
            masks[name][mask == IGNORE] = np.nan
        if self.transform is not None:
            picture = self.transform(picture)
        return {
            "idx": index,
            "lab": self.labels[index],
            "img": picture,
            "semantic_masks": masks,
        }


def _pictures(rows: Any) -> set[str]:
    """Columns that hold pictures, or lists of them."""
    found = set()
    for name, feature in rows.features.items():
        inner = getattr(feature, "feature", feature)
        parts = inner.values() if isinstance(inner, dict) else (inner,)
        if any(isinstance(part, Image) for part in parts):
            found.add(name)
    return found
