"""Maps of words laid over a picture."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import TYPE_CHECKING

import numpy as np
from numpy.typing import NDArray

from lungsynth.arrays import UInt8Array
from lungsynth.errors import ConfigError
from lungsynth.images import OKABE_ITO, colour_heat

if TYPE_CHECKING:
    from space.draw.study import Study


TELLING = (
    "pneumonia",
    "tuberculosis",
    "effusion",
    "infiltration",
    "atelectasis",
    "consolidation",
    "cardiomegaly",
    "right lung",
    "left lung",
    "lungs",
    "lung",
    "heart",
    "chest",
)
"""Words whose map is shown first, where the prompt has them."""


def telling(words: Sequence[str], chosen: Sequence[str] = ()) -> list[str]:
    """Those of `chosen` that are there; else the word worth looking at first.

    Args:
        words: Of the prompt, each with a map.
        chosen: Ticked before.
    """
    kept = [word for word in chosen or () if word in words]
    return kept or [word for word in TELLING if word in words][:1] or list(words)[:1]


def heat_overlay(
    study: Study, words: Sequence[str], opacity: float, *, step: int = 0, resolution: str = ""
) -> UInt8Array:
    """Maps of one word or several over the X-ray: (H, W, 3) RGB; see `lay_over`.

    Args:
        study: The picture.
        words: Of `study.maps`; others are left out.
        opacity: Of a map's greatest value, 0 to 1.
        step: 1 … steps: the maps of this step alone, over the picture as it was predicted by then;
            0 for all steps, over the X-ray. Class maps are read from the finished picture only.
        resolution: Such as "16×16": the layers of this resolution alone; "" for all that count.

    Raises:
        ConfigError: the opacity is no number from 0 to 1, or there is no such step or resolution.
    """
    chosen = [word for word in words if word in study.maps]
    image = study.image
    if not step and not resolution:
        return lay_over(image, {word: study.maps[word] for word in chosen}, opacity)
    formation = study.formation
    grids = {grid_name(grid): grid for grid in formation.resolutions} if formation else {}
    if formation is None or (resolution and resolution not in grids):
        raise ConfigError(
            f"`resolution` is {resolution[:40]!r}; there are {', '.join(grids) or 'none'}."
        )
    if not isinstance(step, int) or not 0 <= step <= study.steps:
        raise ConfigError(f"`step` is {str(step)[:40]!r}; expected 0 to {study.steps}.")
    side = (image.shape[0], image.shape[1])
    heats = {
        word: formation.heat(word, side, step=step, resolution=grids.get(resolution))
        if word in formation.words
        else study.maps[word]
        for word in chosen
    }
    if step and step < study.steps and (before := formation.picture_at(step)):
        image = before[1]
    return lay_over(image, heats, opacity)


def grid_name(grid: tuple[int, int]) -> str:
    """A resolution as the page names it: "16×16" (height × width)."""
    return f"{grid[0]}×{grid[1]}"


def lay_over(image: UInt8Array, heats: Mapping[str, UInt8Array], opacity: float) -> UInt8Array:
    """Maps over a picture: (H, W, 3) RGB.

    One word is drawn black - purple - orange - yellow; several in one colour each (`word_colours`).

    Args:
        image: (H, W) grey.
        heats: Word -> (H, W) uint8.
        opacity: Of a map's greatest value, 0 to 1.

    Raises:
        ConfigError: the opacity is no number from 0 to 1.
    """
    if not isinstance(opacity, int | float) or not 0 <= opacity <= 1:
        raise ConfigError(f"`opacity` is {str(opacity)[:40]!r}; expected 0 to 1.")
    out = np.repeat(image[..., None], 3, 2).astype(float)
    maps = np.array([_above_median(heat / 255.0) for heat in heats.values()])
    if len(heats) == 1:
        return colour_heat(maps[0], image, opacity=opacity)
    if heats:
        weights = maps / np.maximum(maps.sum(0), 1e-6)
        colours = np.array(list(word_colours(list(heats)).values()), float)
        blend = np.einsum("khw,kc->hwc", weights, colours)
        alpha = (opacity * maps.max(0) ** 0.7)[..., None]
        out = out * (1 - alpha) + blend * alpha
    return out.round().astype(np.uint8)


def _above_median(heat: NDArray[np.floating]) -> NDArray[np.floating]:
    """A map from its own median (0) to its maximum (1): what is everywhere hides nothing then."""
    middle = float(np.median(heat))
    return np.clip((heat - middle) / max(float(heat.max()) - middle, 1e-6), 0, 1)


def word_colours(words: Sequence[str]) -> dict[str, tuple[int, int, int]]:
    """A colour for each of several words, told apart by colour-blind readers."""
    return {word: OKABE_ITO[index % len(OKABE_ITO)] for index, word in enumerate(words)}
