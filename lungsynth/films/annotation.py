"""Polygons drawn by hand -> masks: labelme and COCO files in, class ids out.

Points are (x, y) in pixels, (0, 0) the *corner* of the top left pixel, as labelme and COCO have it;
a pixel belongs to a polygon when its centre lies inside.
"""

from __future__ import annotations

import json
import math
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path, PurePosixPath, PureWindowsPath
from typing import Any

import numpy as np
import skimage

from lungsynth.arrays import IGNORE, UInt8Array
from lungsynth.errors import ConfigError, DataError

BACKGROUND_LABEL = "background"
IGNORE_LABEL = "ignore"
RESERVED = {BACKGROUND_LABEL: 0, IGNORE_LABEL: IGNORE}
"""Labels every file may use: `background` cuts a hole, `ignore` marks what counts neither way."""

SLACK = 1.0
"""Pixels a point may lie outside the image (a rounded click); it is moved onto the border."""


@dataclass(frozen=True, slots=True)
class Shape:
    """One closed polygon of one class."""

    label: str
    points: tuple[tuple[float, float], ...]  # (x, y) in pixels of the film


@dataclass(frozen=True, slots=True)
class Annotation:
    """The polygons of one film, in the order they were drawn."""

    image_name: str  # file name without folders
    height: int
    width: int
    shapes: tuple[Shape, ...]


def parse_class_options(texts: Iterable[str]) -> dict[str, int]:
    """`NAME=ID` texts -> {name: id}, in the order given.

    Raises:
        ConfigError: no `=`, an id out of 1-254, a name or id twice, or a reserved name.
    """
    classes: dict[str, int] = {}
    for text in texts:
        name, found, number = text.rpartition("=")
        name = name.strip()
        if not found or not name or not number.strip().isdecimal():
            raise ConfigError(f'--class {text!r}: expected NAME=ID, such as "left lung"=1.')
        class_id = int(number)
        if not 1 <= class_id <= 254:
            raise ConfigError(f"--class {text!r}: ids go from 1 to 254 (0 background, 255 ignore).")
        if name in RESERVED:
            raise ConfigError(f"--class {text!r}: {name!r} always means {RESERVED[name]}.")
        if name in classes or class_id in classes.values():
            raise ConfigError(f"--class {text!r}: the name or the id is given twice.")
        classes[name] = class_id
    return classes


def rasterise(
    shapes: Sequence[Shape], height: int, width: int, classes: Mapping[str, int]
) -> UInt8Array:
    """Fill polygons into a mask of class ids; where they overlap, the later one wins.

    Args:
        shapes: Polygons in the order they were drawn. `background` cuts a hole into what was drawn
            before it, `ignore` writes 255. A polygon that crosses itself is filled by even-odd.
        height: Of the mask, in pixels.
        width: Likewise.
        classes: Label -> id, 1-254.

    Returns:
        (H, W) uint8 class ids.

    Raises:
        DataError: a label in no class, fewer than three points, a point that is not finite or
            outside the image, or a polygon that covers no pixel.
    """
    ids = {**RESERVED, **classes}
    mask = np.zeros((height, width), dtype=np.uint8)
    for number, shape in enumerate(shapes, 1):
        where = f"Polygon {number} ({shape.label!r})"
        if shape.label not in ids:
            raise DataError(
                f"{where}: no class has this label; there are {', '.join(map(repr, ids))}. "
                "Add it with --class NAME=ID, or relabel it."
            )
        if len(shape.points) < 3:
            raise DataError(f"{where}: {len(shape.points)} points; a polygon has at least 3.")
        points = np.asarray(shape.points, dtype=float)
        if not np.isfinite(points).all():
            raise DataError(f"{where}: a point is not a finite number.")
        limit = np.array([width, height], dtype=float)
        outside = ((points < -SLACK) | (points > limit + SLACK)).any(1)
        if outside.any():
            x, y = points[int(np.argmax(outside))]
            raise DataError(
                f"{where}: point ({x:g}, {y:g}) lies outside the image of {width}x{height} "
                "(width x height). Was it drawn on another film, or on one of another size?"
            )
        points = np.clip(points, 0, limit)
        rows, columns = skimage.draw.polygon(
            points[:, 1] - 0.5, points[:, 0] - 0.5, shape=mask.shape
        )
        if rows.size == 0:
            raise DataError(f"{where}: it covers no pixel. Delete it, or draw it larger.")
        mask[rows, columns] = ids[shape.label]
    return mask


def _load_json(path: Path) -> dict[str, Any]:
    try:
        value = json.loads(path.read_text(encoding="utf-8"))
    except OSError as error:
        raise DataError(f"{path}: cannot be read ({error.strerror or error}).") from error
    except ValueError as error:  # not JSON, not UTF-8
        raise DataError(f"{path}: not a JSON file ({error}).") from error
    if not isinstance(value, dict):
        raise DataError(
            f"{path}: a JSON {type(value).__name__}; expected a labelme or COCO object."
        )
    return value


def _file_name(text: object) -> str:
    """The last part of a path written on any system."""
    return PureWindowsPath(PurePosixPath(str(text)).name).name


def _points(pairs: Any, where: str) -> tuple[tuple[float, float], ...]:
    try:
        points = tuple((float(x), float(y)) for x, y in pairs)
    except (TypeError, ValueError, OverflowError) as error:
        raise DataError(f"{where}: its points are not pairs of numbers [[x, y], …].") from error
    if not all(math.isfinite(v) for point in points for v in point):
        raise DataError(f"{where}: a point is not a finite number.")
    return points


def _side(value: Any, where: str) -> int:
    if isinstance(value, bool) or not isinstance(value, int) or value < 1:
        raise DataError(f"{where} is {value!r}; expected the film's size in pixels.")
    return value


def read_labelme(path: Path) -> Annotation:
    """Read a file written by `annotate` or by labelme.

    Polygons and rectangles are read; labelme's other shapes have no unambiguous area.

    Raises:
        DataError: not a labelme file, or a shape that is not an area.
    """
    return _labelme(_load_json(path), path)


def _labelme(value: Mapping[str, Any], path: Path) -> Annotation:
    if not isinstance(value.get("shapes"), list) or "imagePath" not in value:
        raise DataError(f"{path}: not a labelme file; expected `shapes` and `imagePath`.")
    shapes = []
    for number, one in enumerate(value["shapes"], 1):
        where = f"{path}: shape {number}"
        if not isinstance(one, dict) or "label" not in one:
            raise DataError(f"{where} has no label.")
        points = _points(one.get("points"), where)
        kind = one.get("shape_type") or "polygon"
        if kind == "rectangle" and len(points) == 2:
            (x0, y0), (x1, y1) = points
            points = ((x0, y0), (x1, y0), (x1, y1), (x0, y1))
        elif kind not in ("polygon", "rectangle"):
            raise DataError(
                f"{where} is a {kind!r}; only polygons and rectangles are read. Redraw it."
            )
        shapes.append(Shape(str(one["label"]).strip(), points))
    return Annotation(
        _file_name(value["imagePath"]),
        _side(value.get("imageHeight"), f"{path}: imageHeight"),
        _side(value.get("imageWidth"), f"{path}: imageWidth"),
        tuple(shapes),
    )


def _coco(value: Mapping[str, Any], path: Path) -> list[Annotation]:
    """One annotation an image, in the file's order, empty where it has none.

    The polygons of an object are read one by one, so they join.
    """
    parts = [value.get(key) for key in ("images", "annotations", "categories")]
    if not all(isinstance(part, list) for part in parts):
        raise DataError(f"{path}: not a COCO file; expected `images`, `annotations`, `categories`.")
    images, annotations, categories = parts
    try:
        names = {c["id"]: str(c["name"]).strip() for c in categories or []}
        shapes: dict[Any, list[Shape]] = {image["id"]: [] for image in images or []}
        for one in annotations or []:
            where = f"{path}: annotation {one.get('id', '?')}"
            outline = one["segmentation"]
            if not isinstance(outline, list):
                raise DataError(
                    f"{where} is run-length encoded (RLE); only polygons are read. Export polygons, "
                    "or give the masks as images."
                )
            if one["image_id"] not in shapes or one["category_id"] not in names:
                raise DataError(f"{where} names an image or a category that is not in the file.")
            for flat in outline:
                if len(flat) % 2:
                    raise DataError(f"{where}: {len(flat)} coordinates; expected x and y in turn.")
                points = _points(zip(flat[::2], flat[1::2], strict=True), where)
                shapes[one["image_id"]].append(Shape(names[one["category_id"]], points))
        return [
            Annotation(
                _file_name(image["file_name"]),
                _side(image.get("height"), f"{path}: height"),
                _side(image.get("width"), f"{path}: width"),
                tuple(shapes[image["id"]]),
            )
            for image in images or []
        ]
    except (KeyError, TypeError, AttributeError) as error:
        raise DataError(
            f"{path}: not a valid COCO file ({type(error).__name__}: {error})."
        ) from error


def read_annotations(path: Path) -> list[Annotation]:
    """Read a labelme file (see `read_labelme`), or a COCO file whose segmentations are polygons.

    Raises:
        DataError: neither of them, a shape that is not an area, a run-length encoded mask, or an id
            that leads nowhere.
    """
    value = _load_json(path)
    if "shapes" in value:
        return [_labelme(value, path)]
    if "annotations" in value:
        return _coco(value, path)
    raise DataError(
        f"{path}: neither a labelme file (`shapes`) nor a COCO file (`annotations`); it has "
        f"{', '.join(sorted(value)[:5]) or 'nothing'}."
    )
