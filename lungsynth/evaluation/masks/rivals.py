"""What a mask must beat: rivals that need no diffusion model, in one table with those that do.

A rival is a factory (context -> function of a batch). The function returns either masks (bool) or a
map in [0, 1], which is then thresholded in every way the project knows.
Rivals answer for all counted classes together.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable

import numpy as np
from scipy import ndimage
from skimage.filters import threshold_otsu

from lungsynth.arrays import BoolArray, Float64Array, UInt8Array
from lungsynth.errors import ConfigError, DataError, LungSynthError
from lungsynth.evaluation.masks.figures import ALL, iou, split_names
from lungsynth.evaluation.masks.reading import Rival, RivalContext
from lungsynth.evaluation.masks.rivals_attention import daam, self4
from lungsynth.films.framing import whole
from lungsynth.masks.quality import clean


def parse_rivals(text: str) -> list[str]:
    """`all`, `none` or names with commas -> names, in the order of the table.

    Raises:
        ConfigError: unknown name.
    """
    if text in ("all", "none"):
        return list(RIVALS) if text == "all" else []
    names = split_names(text)
    for name in names:
        if name not in RIVALS:
            raise ConfigError(
                f"Rival {name!r} is unknown; there are all, none, {', '.join(RIVALS)}."
            )
    return [n for n in RIVALS if n in names]


def make_rivals(
    names: Iterable[str], context: RivalContext, *, required: bool = True
) -> tuple[dict[str, Rival], dict[str, str]]:
    """Rivals ready to read batches, by title; and, where they are not required, why some cannot.

    Raises:
        LungSynthError: a required rival cannot be made.
    """
    made, skipped = {}, {}
    for name in names:
        title, factory = RIVALS[name]
        try:
            made[title] = factory(context)
        except LungSynthError as error:
            if required:
                raise
            skipped[title] = str(error)
    return made, skipped


def mean_mask(truths: BoolArray, valid: BoolArray) -> BoolArray:
    """(P, P) mean of expert masks (N, P, P) at the threshold of best mean IoU on those same films.

    A strong rival: lungs sit in the middle of every film.
    """
    mean = (truths & valid).sum(0) / np.maximum(valid.sum(0), 1)
    levels = np.linspace(0.05, 0.95, 37)
    scores = [
        np.mean([iou(mean > x, t, v) for t, v in zip(truths, valid, strict=True)]) for x in levels
    ]
    return np.asarray(mean > levels[int(np.argmax(scores))])


def _mean_mask(context: RivalContext) -> Rival:
    if not context.train:
        raise DataError(
            "The rival 'mean-mask' learns from annotated films of another split, and there are none; name "
            "one with --rival-split, or leave it out of --rivals."
        )
    truths, valids = [], []
    for record in context.train:
        assert record.mask is not None
        written = whole(record.mask, pixels=context.pixels, nearest=True)
        regions, valid = context.truth.regions(written)
        truths.append(regions[ALL])
        valids.append(valid)
    mask = mean_mask(np.stack(truths), np.stack(valids))
    context.facts["mean mask films"] = len(truths)
    return lambda batch: np.repeat(mask[None], len(batch.images), 0)


def ellipse_pair(pixels: int) -> BoolArray:
    """(P, P): two upright ellipses side by side, the same for every film.

    Centres at 0.30 and 0.70 of the width and 0.48 of the height, half-axes 0.13 of the width and 0.30
    of the height: set by eye for a frontal film, never fitted to a mask.
    """
    y, x = (np.indices((pixels, pixels)) + 0.5) / pixels
    sides = [((x - cx) / 0.13) ** 2 + ((y - 0.48) / 0.30) ** 2 <= 1 for cx in (0.30, 0.70)]
    return np.asarray(sides[0] | sides[1])


def _ellipses(context: RivalContext) -> Rival:
    mask = ellipse_pair(context.pixels)
    return lambda batch: np.repeat(mask[None], len(batch.images), 0)


def body_of(smooth: Float64Array, exposed: BoolArray) -> BoolArray:
    """The patient: the largest bright part by Otsu's threshold, closed, and all between its edges.

    A margin of 3 % of the side at its edge is left out; empty where nothing is bright. `exposed` is
    all but the black beyond the collimator.
    """
    size, eight = max(1, round(0.06 * len(smooth))), np.ones((3, 3), dtype=bool)
    bright = np.pad((smooth > threshold_otsu(smooth[exposed])) & exposed, size)
    closed = ndimage.binary_closing(bright, eight, iterations=size)[size:-size, size:-size]
    body = clean(closed, n_parts=1)
    between = (
        np.logical_or.accumulate(body, 1) & np.logical_or.accumulate(body[:, ::-1], 1)[:, ::-1]
    )
    margin = max(1, round(0.03 * len(smooth)))
    return np.asarray(ndimage.binary_erosion(between & exposed, iterations=margin, border_value=1))


def otsu_dark(image: UInt8Array, *, n_parts: int = 2) -> BoolArray:
    """The largest dark parts inside the body: Otsu's threshold on the inverted film.

    Air beside the patient is cleared by `body_of`, and Otsu's threshold is taken once more within the
    body. Dark parts are opened (1.2 % of the side), the `n_parts` largest stay, holes are filled. The
    sizes were set on films of train splits. Empty on a flat film.
    """
    frame = np.zeros(image.shape, dtype=bool)
    frame[0] = frame[-1] = frame[:, 0] = frame[:, -1] = True
    black = ndimage.binary_propagation(frame & (image <= 8), mask=image <= 8)
    exposed = ~ndimage.binary_dilation(black, iterations=3)
    smooth = ndimage.gaussian_filter(image.astype(np.float64), 0.01 * len(image))
    nothing = np.zeros(image.shape, dtype=bool)
    if exposed.sum() < 16 or np.ptp(smooth[exposed]) < 1:
        return nothing
    body = body_of(smooth, exposed)
    if body.sum() < 16 or np.ptp(smooth[body]) < 1:
        return nothing
    dark = (smooth < threshold_otsu(smooth[body])) & body
    opened = ndimage.binary_opening(dark, iterations=max(1, round(0.012 * len(image))))
    return clean(opened, n_parts=n_parts)


def _otsu(context: RivalContext) -> Rival:
    return lambda batch: np.stack([otsu_dark(i, n_parts=context.n_parts) for i in batch.images])


RIVALS: dict[str, tuple[str, Callable[[RivalContext], Rival]]] = {
    "mean-mask": ("mean training mask", _mean_mask),
    "ellipses": ("centred ellipses", _ellipses),
    "otsu": ("Otsu on the inverted film", _otsu),
    "daam": ("DAAM of the word", daam),
    "self4": ("self-attention⁴ · word", self4),
}
"""Name on the command line -> (title in tables, factory)."""
