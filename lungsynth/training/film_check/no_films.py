"""Pictures that are no chest films: what the film check learns to tell films from.

Drawn ones (noise, gradients, shapes, limbs, writing), photographs and scans of other kinds that
come with scikit-image, scikit-learn, Matplotlib and pydicom, and films taken apart: halves, close-ups,
shuffled parts, the film's own spectrum without its shapes.
"""

from __future__ import annotations

import warnings
from collections.abc import Callable, Sequence
from functools import lru_cache
from importlib.util import find_spec
from pathlib import Path

import numpy as np
from numpy.typing import NDArray
from PIL import Image, ImageDraw, ImageFont
from scipy import ndimage

from lungsynth.arrays import UInt8Array

SIDE = 128
"""Side of every square in pixels."""
ENDINGS = (".png", ".jpg", ".jpeg", ".tif", ".gif", ".bmp")
PACKAGES = {"skimage": "data", "sklearn": "datasets/images", "matplotlib": "mpl-data/sample_data"}
"""Packages that come with pictures, and where."""
HELD_OUT = tuple(
    "skimage/chelsea skimage/retina skimage/brick skimage/coins skimage/clock skimage/moon "
    "skimage/page sklearn/china matplotlib/Minduka pydicom/examples pydicom/liver pydicom/693 "
    "pydicom/image_dfl".split()
)
"""Beginnings of the names of pictures that training does not see; the check is tested on them."""


def to_square(image: UInt8Array, *, side: int = SIDE) -> UInt8Array:
    """A whole picture (H, W) pressed into (side, side): its shape says nothing about how it lies."""
    return np.asarray(Image.fromarray(image).resize((side, side), Image.Resampling.BOX))


def stretched(values: NDArray[np.floating]) -> UInt8Array:
    """Any finite values -> 0-255 by their own range."""
    low, high = float(values.min()), float(values.max())
    return ((values - low) * (255.0 / max(high - low, 1e-9))).round().astype(np.uint8)


# ---------------------------------------------------------------- drawn


def noise(rng: np.random.Generator) -> UInt8Array:
    """Noise whose power falls with frequency by an exponent from 0 (white) to 4 (clouds)."""
    shape = (SIDE, SIDE)
    f = np.hypot(np.fft.fftfreq(SIDE)[:, None], np.fft.rfftfreq(SIDE)[None])
    f[0, 0] = 1.0
    spectrum = np.fft.rfft2(rng.normal(size=shape)) / f ** rng.uniform(0, 2)
    return stretched(np.fft.irfft2(spectrum, shape))


def gradient(rng: np.random.Generator) -> UInt8Array:
    """A straight, round or wavy gradient."""
    y, x = np.mgrid[-1 : 1 : SIDE * 1j, -1 : 1 : SIDE * 1j]
    a, b = rng.normal(size=2)
    kind = rng.integers(4)
    if kind == 0:
        return stretched(a * x + b * y)
    if kind == 1:
        return stretched(-np.hypot(x - a / 3, (y - b / 3) * rng.uniform(0.5, 2)))
    if kind == 2:
        return stretched(np.sin(rng.uniform(2, 25) * (a * x + b * y)))
    tiles = np.floor(x * rng.uniform(1, 8)) + np.floor(y * rng.uniform(1, 8))
    return stretched(tiles % 2 + 0.2 * a * x)


def shapes(rng: np.random.Generator) -> UInt8Array:
    """Ellipses, boxes and lines of any grey, softened."""
    picture = Image.new("L", (SIDE, SIDE), int(rng.integers(256)))
    pen = ImageDraw.Draw(picture)
    for _ in range(int(rng.integers(1, 14))):
        x, y = rng.uniform(-30, SIDE, 2)
        w, h = rng.uniform(4, 100, 2)
        grey = int(rng.integers(256))
        draw = [pen.ellipse, pen.rectangle, pen.line][int(rng.integers(3))]
        draw((x, y, x + w, y + h), fill=grey)  # type: ignore[operator]
    return _soft(np.asarray(picture), rng)


def limbs(rng: np.random.Generator) -> UInt8Array:
    """One to five bright bones in softer tissue on black, side by side or fanned: legs, arms, hands."""
    y, x = np.mgrid[-1 : 1 : SIDE * 1j, -1 : 1 : SIDE * 1j]
    out = np.zeros((SIDE, SIDE))
    n = int(rng.choice([1, 2, 2, 4, 5]))
    angle = rng.uniform(-0.3, 0.3)
    for i in range(n):
        tilt = angle + (i - (n - 1) / 2) * rng.uniform(0.0, 0.25)
        centre = (i - (n - 1) / 2) * 1.5 / n
        along = np.cos(tilt) * y - np.sin(tilt) * x
        across = np.abs(np.cos(tilt) * x + np.sin(tilt) * y - centre)
        wide = rng.uniform(0.25, 0.48) * 1.5 / n * (1 + rng.uniform(-0.4, 0.4) * along)
        thick = np.sqrt(np.clip(1 - (across / np.maximum(wide, 0.02)) ** 2, 0, None))
        bone = rng.uniform(0.25, 0.5) * wide * (1 + 0.5 * np.abs(along) ** 3)
        out = np.maximum(out, 0.5 * thick)
        inside = np.sqrt(np.clip(1 - (across / np.maximum(bone, 0.01)) ** 2, 0, None))
        joint = 1 - 0.6 * np.exp(-(((along - rng.uniform(-0.5, 0.5)) / 0.03) ** 2))
        out += rng.uniform(0.3, 0.8) * inside * joint
    return _soft(stretched(out), rng)


def head(rng: np.random.Generator) -> UInt8Array:
    """A bright ring with a grey inside and dark holes: a skull, or a slice of a body."""
    y, x = np.mgrid[-1 : 1 : SIDE * 1j, -1 : 1 : SIDE * 1j]
    ry, rx = rng.uniform(0.5, 0.95, 2)
    r = np.hypot(y / ry, x / rx)
    out = np.where(r < 1, rng.uniform(0.3, 0.7), 0.0)
    out += np.exp(-(((r - 0.92) / rng.uniform(0.03, 0.12)) ** 2)) * rng.uniform(0.1, 0.7)
    for _ in range(int(rng.integers(0, 6))):
        cy, cx = rng.uniform(-0.5, 0.5, 2)
        size = rng.uniform(0.05, 0.3)
        out -= rng.uniform(-0.3, 0.4) * np.exp(-((y - cy) ** 2 + (x - cx) ** 2) / size**2)
    return _soft(stretched(out), rng)


def writing(rng: np.random.Generator) -> UInt8Array:
    """Lines of letters, dark on light or light on dark."""
    dark = bool(rng.integers(2))
    picture = Image.new("L", (SIDE * 2, SIDE * 2), 0 if dark else 255)
    pen = ImageDraw.Draw(picture)
    size = float(rng.uniform(8, 60))
    font = ImageFont.load_default(size)
    letters = np.array(list("abcdefghijklmnopqrstuvwxyzABCDEFGHIJKLMNOPQRSTUVWXYZ0123456789    ,."))
    top = float(rng.uniform(0, 40))
    while top < 2 * SIDE and rng.random() < 0.97:
        words = "".join(rng.choice(letters, int(rng.integers(3, 60))))
        pen.text((float(rng.uniform(0, 40)), top), words, fill=255 if dark else 0, font=font)
        top += size * float(rng.uniform(1.0, 1.6))
    return to_square(np.asarray(picture))


def _soft(image: UInt8Array, rng: np.random.Generator) -> UInt8Array:
    out = ndimage.gaussian_filter(image.astype(float), rng.uniform(0, 3))
    return (out + rng.normal(size=out.shape) * rng.uniform(0, 12)).clip(0, 255).astype(np.uint8)


Drawing = Callable[[np.random.Generator], UInt8Array]
DRAWN: tuple[Drawing, ...] = (noise, gradient, shapes, limbs, limbs, head, writing)
"""Kinds of drawn pictures; one that stands twice is drawn twice as often."""


# ---------------------------------------------------------------- photographs and scans


def packaged_pictures() -> dict[str, UInt8Array]:
    """Pictures that come with installed packages, grey, by "package/file"; none of them is a film."""
    found: dict[str, UInt8Array] = {}
    for package, inside in PACKAGES.items():
        spec = find_spec(package)
        for root in (spec.submodule_search_locations or []) if spec else []:
            found |= folder_pictures(Path(root) / inside, prefix=package)
    return found | _dicom_pictures()


def split_pictures(
    pictures: dict[str, UInt8Array],
) -> tuple[list[UInt8Array], dict[str, UInt8Array]]:
    """Pictures to train on, alike ones once only, and those held out, by name."""
    kept: list[UInt8Array] = []
    thumbs: list[NDArray[np.float64]] = []
    held = {}
    for name, picture in pictures.items():
        if name.startswith(HELD_OUT):
            held[name] = picture
            continue
        thumb = to_square(picture, side=16).astype(float).ravel()
        thumb = (thumb - thumb.mean()) / (np.linalg.norm(thumb - thumb.mean()) + 1e-9)
        if all(float(thumb @ other) < 0.99 for other in thumbs):
            kept.append(picture)
            thumbs.append(thumb)
    return kept, held


def folder_pictures(folder: Path, *, prefix: str = "") -> dict[str, UInt8Array]:
    """Every picture in a folder, to any depth, grey, by "prefix/file"; what cannot be read is left out."""
    found = {}
    for path in sorted(folder.rglob("*")):
        if path.suffix.lower() not in ENDINGS:
            continue
        try:
            with Image.open(path) as opened:
                grey = np.asarray(opened.convert("L"))
        except OSError:
            continue
        if min(grey.shape) >= 32 and np.ptp(grey) >= 8:
            found[f"{prefix or folder.name}/{path.name}"] = grey
    return found


@lru_cache(maxsize=1)  # a second and a half
def _dicom_pictures() -> dict[str, UInt8Array]:
    """pydicom's own test files that hold a picture it can decode: slices, ultrasound, test cards.

    Those that are installed: pydicom's own search would download more, one after the other.
    """
    import pydicom.data.data_manager  # deferred: a quarter of a second, and only this needs it

    found = {}
    folder = Path(pydicom.data.data_manager.DATA_ROOT, "test_files")
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        for path in sorted(folder.glob("*.dcm")):
            try:
                values = np.asarray(pydicom.dcmread(path).pixel_array, dtype=np.float32)
            except Exception:  # noqa: BLE001  # reports, and files broken on purpose
                continue
            while values.ndim > 3 or (values.ndim == 3 and values.shape[2] > 4):
                values = values[len(values) // 2]
            grey = stretched(values.mean(2) if values.ndim == 3 else values)
            if min(grey.shape) >= 32 and np.ptp(grey) >= 8:
                found[f"pydicom/{path.name}"] = grey
    return found


def cropped(image: UInt8Array, rng: np.random.Generator) -> UInt8Array:
    """A random part of a picture, at least two fifths of each side."""
    height, width = image.shape
    h, w = (max(16, round(n * rng.uniform(0.4, 1.0))) for n in (height, width))
    y, x = rng.integers(0, height - min(h, height) + 1), rng.integers(0, width - min(w, width) + 1)
    return to_square(np.ascontiguousarray(image[y : y + h, x : x + w]))


# ---------------------------------------------------------------- films taken apart


def dismantled(film: UInt8Array, rng: np.random.Generator) -> UInt8Array:
    """A film (SIDE, SIDE) made into what must not pass for one."""
    kind = rng.integers(5)
    if kind == 0:  # one half
        n = round(SIDE * rng.uniform(0.35, 0.48))
        half = [film[:, :n], film[:, -n:], film[:n], film[-n:]][int(rng.integers(4))]
        return to_square(np.ascontiguousarray(half))
    if kind == 1:  # a close-up
        n = round(SIDE * rng.uniform(0.15, 0.4))
        y, x = rng.integers(0, SIDE - n, 2)
        return to_square(np.ascontiguousarray(film[y : y + n, x : x + n]))
    if kind == 2:  # shuffled tiles
        n = int(rng.choice([2, 3, 4]))
        size = SIDE // n
        tiles = [
            film[i * size : i * size + size, j * size : j * size + size]
            for i in range(n)
            for j in range(n)
        ]
        order = rng.permutation(n * n)
        if (order == np.arange(n * n)).all():
            order = order[::-1]
        rows = [np.concatenate([tiles[order[i * n + j]] for j in range(n)], 1) for i in range(n)]
        return to_square(np.concatenate(rows))
    if kind == 3:  # its spectrum with the phases of noise
        phase = np.angle(np.fft.rfft2(rng.normal(size=film.shape)))
        mixed = np.abs(np.fft.rfft2(film)) * np.exp(1j * phase)
        mixed[0, 0] = 0
        return stretched(np.fft.irfft2(mixed, film.shape))
    turned = np.rot90(film, int(rng.integers(1, 4)))  # two films on one another
    return stretched(film.astype(float) + turned * rng.uniform(0.7, 1.4))


def make_no_films(
    n: int, films: Sequence[UInt8Array], pictures: Sequence[UInt8Array], *, seed: int
) -> UInt8Array:
    """`n` squares (n, SIDE, SIDE) that are no films: a third drawn, pictures, and films taken apart.

    Args:
        n: How many.
        films: Squares of films to take apart.
        pictures: Photographs and scans, each (H, W).
        seed: Of everything drawn.
    """
    rng = np.random.default_rng((seed, 0xF11))
    out = np.empty((n, SIDE, SIDE), np.uint8)
    for i in range(n):
        source = i % 3
        if source == 1 and pictures:
            out[i] = cropped(pictures[int(rng.integers(len(pictures)))], rng)
        elif source == 2 and len(films):
            out[i] = dismantled(films[int(rng.integers(len(films)))], rng)
        else:
            out[i] = DRAWN[int(rng.integers(len(DRAWN)))](rng)
    return out
