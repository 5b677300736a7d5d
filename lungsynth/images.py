"""Pictures to look at: PNG bytes with a synthetic mark, heat maps, overlays, contact sheets."""

from __future__ import annotations

import io
import re
from collections.abc import Sequence

import numpy as np
import scipy
from numpy.typing import NDArray
from PIL import Image, ImageDraw
from PIL.PngImagePlugin import PngInfo

from lungsynth.arrays import UInt8Array

OKABE_ITO = (
    (230, 159, 0),
    (86, 180, 233),
    (0, 158, 115),
    (240, 228, 66),
    (213, 94, 0),
    (204, 121, 167),
    (0, 114, 178),
)
"""Colours of class 1, 2, … (Okabe & Ito: colour-blind readers can tell them apart): see `class_colour`."""

WORD_COLOURS = OKABE_ITO[4:6]
"""Colours of words that name no class, when one or two are looked at; no lung or heart has them."""

XMP = (
    '<x:xmpmeta xmlns:x="adobe:ns:meta/"><rdf:RDF '
    'xmlns:rdf="http://www.w3.org/1999/02/22-rdf-syntax-ns#"><rdf:Description rdf:about="" '
    'xmlns:Iptc4xmpExt="http://iptc.org/std/Iptc4xmpExt/2008-02-29/" '
    "Iptc4xmpExt:DigitalSourceType="
    '"http://cv.iptc.org/newscodes/digitalsourcetype/trainedAlgorithmicMedia"/>'
    "</rdf:RDF></x:xmpmeta>"
)
"""IPTC mark "made by a trained algorithm", carried by every picture we draw."""


def class_colour(class_id: int) -> tuple[int, int, int]:
    """RGB, 0-255, of a class (1, 2, …, as in the mask) in every mask, legend, card and map."""
    return OKABE_ITO[(class_id - 1) % len(OKABE_ITO)]


QUICK_LEVEL = 2
"""Compression of pictures to look at: files a seventh larger, several times quicker to write."""


def png_bytes(array: UInt8Array, *, synthetic: bool = True, level: int = 6) -> bytes:
    """Encode (H, W) grey or (H, W, 3) RGB uint8 as PNG; same array, same bytes.

    Args:
        array: The picture.
        synthetic: Put the IPTC mark into the file.
        level: Of compression, 0 to 9; it changes the file and no pixel.
    """
    info = PngInfo()
    if synthetic:
        info.add_itxt("XML:com.adobe.xmp", XMP)
    buffer = io.BytesIO()
    Image.fromarray(array).save(buffer, "PNG", pnginfo=info, compress_level=level)
    return buffer.getvalue()


def heat_to_uint8(heat: NDArray[np.floating]) -> UInt8Array:
    """Map (H, W) in [0, 1] -> (H, W) uint8."""
    return (np.clip(heat, 0, 1) * 255).round().astype(np.uint8)


def colour_heat(
    heat: NDArray[np.floating], image: UInt8Array, *, opacity: float = 0.55
) -> UInt8Array:
    """A map over its picture: (H, W) in [0, 1] and (H, W) grey -> (H, W, 3) RGB.

    Black - purple - orange - yellow, lightness rising with the value; `opacity` is that of value 1.
    """
    stops = np.array(
        [[0, 0, 4], [87, 16, 110], [188, 55, 84], [249, 142, 9], [252, 255, 164]], float
    )
    level = np.clip(heat, 0, 1) * (len(stops) - 1)
    low = np.minimum(level.astype(int), len(stops) - 2)
    share = (level - low)[..., None]
    colour = stops[low] * (1 - share) + stops[low + 1] * share
    alpha = (opacity * np.clip(heat, 0, 1) ** 0.5)[..., None]
    grey = np.repeat(image[..., None], 3, 2).astype(float)
    return (grey * (1 - alpha) + colour * alpha).round().astype(np.uint8)


def overlay(image: UInt8Array, mask: UInt8Array, *, opacity: float = 0.3) -> UInt8Array:
    """A mask over its picture, each class in its colour with a solid border.

    Args:
        image: (H, W) grey.
        mask: (H, W) class ids, 0 = background, 255 = ignore (hatched grey).
        opacity: Of the filling.

    Returns:
        (H, W, 3) RGB.
    """
    out = np.repeat(image[..., None], 3, 2).astype(float)
    for class_id in sorted(set(np.unique(mask).tolist()) - {0}):
        region = mask == class_id
        if class_id == 255:
            stripes = (np.indices(mask.shape).sum(0) % 4) < 2
            out[region & stripes] = 160
            continue
        colour = np.array(class_colour(class_id), float)
        out[region] = out[region] * (1 - opacity) + colour * opacity
        out[region & ~scipy.ndimage.binary_erosion(region, iterations=1)] = colour
    return out.round().astype(np.uint8)


def slug(text: str, *, limit: int = 40) -> str:
    """A file name of a word: lower-case letters, digits and dashes; never empty, never a path."""
    return re.sub(r"[^a-z0-9]+", "-", text.lower()).strip("-")[:limit] or "word"


def picture_files(image: UInt8Array, coarse: UInt8Array, mask: UInt8Array) -> dict[str, bytes]:
    """PNG files of a drawn picture, its first and its finished mask, and that mask over it.

    Args:
        image: (H, W) grey.
        coarse: (H, W) class ids, before refinement.
        mask: (H, W) class ids.
    """
    return {
        "image.png": png_bytes(image),
        "coarse.png": png_bytes(coarse),
        "mask.png": png_bytes(mask),
        "overlay.png": png_bytes(overlay(image, mask), level=QUICK_LEVEL),
    }


def contact_sheet(
    pictures: Sequence[Image.Image],
    labels: Sequence[str] = (),
    *,
    n_columns: int = 8,
    pixels: int = 256,
) -> Image.Image:
    """Lay pictures out in rows.

    Args:
        pictures: Pictures of any mode and size; each is fitted into a square.
        labels: One line of text below each picture; fewer labels than pictures leave blanks.
        n_columns: Pictures a row.
        pixels: Side of a cell.
    """
    line = 14 if labels else 0
    n_rows = -(-len(pictures) // n_columns)
    columns = min(n_columns, max(1, len(pictures)))
    sheet = Image.new("RGB", (columns * pixels, max(1, n_rows) * (pixels + line)), (24, 24, 24))
    draw = ImageDraw.Draw(sheet)
    for index, picture in enumerate(pictures):
        x, y = index % n_columns * pixels, index // n_columns * (pixels + line)
        fitted = picture.convert("RGB")
        fitted.thumbnail((pixels, pixels))
        sheet.paste(fitted, (x + (pixels - fitted.width) // 2, y + (pixels - fitted.height) // 2))
        if index < len(labels):
            draw.text((x + 3, y + pixels + 1), labels[index][: pixels // 6], fill=(230, 230, 230))
    return sheet
