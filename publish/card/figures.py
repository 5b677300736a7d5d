"""Pictures of the card: examples, the least sure masks, distributions; and the preview rows."""

from __future__ import annotations

from collections.abc import Sequence
from functools import lru_cache
from pathlib import Path
from typing import Any

import numpy as np
from datasets import Features, Value
from datasets import Image as ImageFeature
from matplotlib.backends.backend_agg import FigureCanvasAgg
from matplotlib.figure import Figure
from PIL import Image

from lungsynth.arrays import UInt8Array
from lungsynth.images import class_colour, contact_sheet, overlay, png_bytes
from publish.data.rows import ASKED, N_BINS, Summary, decode, pick_rows, spread
from publish.data.shards import Shard

N_EXAMPLES = 12
N_PREVIEW = 64
PREVIEW_COLUMNS = ("id", "split", "image", "mask", "prompt")


def pairs_sheet(out: Path, shards: Sequence[Shard], positions: Sequence[int]) -> bytes:
    """PNG of rows, each as picture and as picture with its mask; labelled with id and trust."""
    shown: list[Image.Image] = []
    labels: list[str] = []
    for one in pick_rows(out, shards, positions, ["id", "image", "mask", "trust"]):
        image, mask = decode(one["image"], one["id"]), decode(one["mask"], one["id"])
        shown += [Image.fromarray(image), Image.fromarray(overlay(image, mask))]
        trust = one["trust"]
        labels += [one["id"], "trust unknown" if trust is None else f"trust {trust:.3f}"]
    return png_bytes(np.asarray(contact_sheet(shown, labels, n_columns=6, pixels=192)))


def examples(out: Path, shards: Sequence[Shard], n_rows: int) -> bytes:
    """PNG of rows spread over the whole set."""
    return pairs_sheet(out, shards, spread(n_rows, N_EXAMPLES))


def distributions(summary: Summary) -> bytes:
    """PNG with histograms of class areas and trust, and bars of what prompts ask for."""
    areas = tuple((name, tuple(counts)) for name, counts in summary.areas.items())
    told = [column for column in ASKED if summary.asked[column]]
    asked = tuple((column, tuple(sorted(summary.asked[column].items()))) for column in told)
    return _distributions(areas, tuple(summary.trust), asked)


@lru_cache(maxsize=8)  # a release is finished twice, and again by an erratum
def _distributions(
    areas: tuple[tuple[str, tuple[float, ...]], ...],
    trust: tuple[float, ...],
    asked: tuple[tuple[str, tuple[tuple[str, int], ...]], ...],
) -> bytes:
    n_axes = 2 + len(asked)
    n_columns = min(3, n_axes)
    n_lines = -(-n_axes // n_columns)
    size = (4.2 * n_columns, 3.0 * n_lines)
    figure = Figure(figsize=size, dpi=100, layout="constrained")
    axes = np.ravel(figure.subplots(n_lines, n_columns, squeeze=False))
    for axis in axes[n_axes:]:
        axis.set_axis_off()
    edges = np.linspace(0, 1, N_BINS + 1)
    for k, (name, counts) in enumerate(areas):
        colour = tuple(c / 255 for c in class_colour(1 + k))
        axes[0].stairs(counts, edges, label=_plain(name), color=colour, linewidth=2)
    axes[0].set(
        title="area of a class", xlabel="share of the picture", ylabel="rows", xlim=(0, 0.6)
    )
    axes[0].legend()
    axes[1].stairs(trust, edges, fill=True, color=(0, 114 / 255, 178 / 255))
    axes[1].set(title="trust", xlabel="predicted IoU of the mask", xlim=(0, 1))
    for axis, (column, counted) in zip(axes[2:n_axes], asked, strict=True):
        names = [_plain(value)[:24] for value, _ in counted]
        axis.barh(names, [n for _, n in counted], color=(0, 158 / 255, 115 / 255))
        axis.set(title=f"{column.replace('_', ' ')} asked for", xlabel="rows")
    canvas: Any = FigureCanvasAgg(figure)
    canvas.draw()
    return png_bytes(np.ascontiguousarray(np.asarray(canvas.buffer_rgba())[..., :3]))


def _plain(text: str) -> str:
    """Text that matplotlib does not read as a formula."""
    return text.replace("$", r"\$")


def preview_rows(out: Path, shards: Sequence[Shard], n_rows: int) -> list[dict[str, Any]]:
    """A few rows with the mask in colour over the picture, for the Hub's viewer."""
    found = []
    for one in pick_rows(out, shards, spread(n_rows, N_PREVIEW), PREVIEW_COLUMNS):
        image: UInt8Array = decode(one["image"], one["id"])
        coloured = overlay(image, decode(one["mask"], one["id"]), opacity=0.4)
        found.append(
            {
                "id": one["id"],
                "split": one["split"],
                "image": one["image"],
                "overlay": {"bytes": png_bytes(coloured), "path": f"{one['id']}_overlay.png"},
                "prompt": one["prompt"],
            }
        )
    return found


def preview_features() -> Any:
    """Columns of the preview."""
    text = Value("string")
    return Features(
        {
            "id": text,
            "split": text,
            "image": ImageFeature(mode="L"),
            "overlay": ImageFeature(mode="RGB"),
            "prompt": text,
        }
    )
