"""Polygons -> masks, and the files they come in."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from labelme import to_labelme

from lungsynth.errors import ConfigError, DataError
from lungsynth.films.annotation import (
    Annotation,
    Shape,
    parse_class_options,
    rasterise,
    read_annotations,
    read_labelme,
)

CLASSES = {"left lung": 1, "right lung": 2}


def box(label: str, x0: float, y0: float, x1: float, y1: float) -> Shape:
    return Shape(label, ((x0, y0), (x1, y0), (x1, y1), (x0, y1)))


def write(path: Path, value: Any) -> Path:
    path.write_text(json.dumps(value))
    return path


@given(
    x0=st.integers(0, 20), y0=st.integers(0, 10), width=st.integers(1, 9), height=st.integers(1, 9)
)
def test_a_box_covers_exactly_its_pixels(x0: int, y0: int, width: int, height: int) -> None:
    """Corners are pixel corners: a box from 2 to 5 covers pixels 2, 3, 4."""
    mask = rasterise([box("left lung", x0, y0, x0 + width, y0 + height)], 19, 29, CLASSES)
    wanted = np.zeros((19, 29), np.uint8)
    wanted[y0 : y0 + height, x0 : x0 + width] = 1
    np.testing.assert_array_equal(mask, wanted)


def test_a_triangle_covers_half_its_box() -> None:
    mask = rasterise([Shape("left lung", ((0, 0), (200, 0), (0, 100)))], 100, 200, CLASSES)
    assert mask.shape == (100, 200) and mask.dtype == np.uint8
    assert abs(mask.mean() - 0.5) < 0.01
    assert mask[0, 0] == 1 and mask[99, 199] == 0


def test_the_later_polygon_wins_and_background_cuts_a_hole() -> None:
    shapes = [
        box("left lung", 0, 0, 10, 10),
        box("right lung", 5, 0, 12, 10),
        box("background", 6, 4, 8, 6),
        box("ignore", 0, 8, 12, 10),
    ]
    mask = rasterise(shapes, 10, 12, CLASSES)
    assert mask[0, 4] == 1 and mask[0, 5] == 2
    assert (mask[4:6, 6:8] == 0).all() and mask[5, 8] == 2
    assert (mask[8:] == 255).all()
    assert rasterise(shapes[1::-1], 10, 12, CLASSES)[0, 5] == 1


def test_a_rounded_click_outside_is_moved_onto_the_border() -> None:
    mask = rasterise([box("left lung", -0.9, -0.9, 8.9, 8.9)], 8, 8, CLASSES)
    assert (mask == 1).all()


@pytest.mark.parametrize(
    ("shape", "words"),
    [
        (box("heart", 0, 0, 4, 4), "no class has this label; there are .*'left lung'"),
        (Shape("left lung", ((0, 0), (4, 4))), "2 points; a polygon has at least 3"),
        (box("left lung", 0, 0, 31, 4), r"point \(31, 0\) lies outside the image of 20x10"),
        (box("left lung", 1.1, 1.1, 1.3, 1.3), "covers no pixel"),
        (Shape("left lung", ((0, 0), (4, float("nan")), (4, 4))), "not a finite number"),
    ],
)
def test_a_wrong_polygon_is_refused(shape: Shape, words: str) -> None:
    with pytest.raises(DataError, match=words):
        rasterise([shape], 10, 20, CLASSES)


def test_class_options() -> None:
    assert parse_class_options(["left lung=1", "a=b=7"]) == {"left lung": 1, "a=b": 7}
    for bad in (
        ["x"],
        ["=1"],
        ["x=0"],
        ["x=255"],
        ["x=y"],
        ["x=1", "y=1"],
        ["x=1", "x=2"],
        ["background=3"],
    ):
        with pytest.raises(ConfigError, match="--class"):
            parse_class_options(bad)


def test_labelme_is_written_and_read_back(tmp_path: Path) -> None:
    one = Annotation(
        "film.png", 10, 20, (box("left lung", 1, 2, 3.5, 4), box("ignore", 0, 0, 9, 9))
    )
    value = to_labelme(one)
    assert value["imageData"] is None and value["shapes"][0]["shape_type"] == "polygon"
    assert read_labelme(write(tmp_path / "a.json", value)) == one


def test_labelme_rectangles_and_paths_of_other_systems(tmp_path: Path) -> None:
    value = to_labelme(Annotation("x", 10, 20, ()))
    value["imagePath"] = "..\\films\\a film.png"
    value["shapes"] = [
        {"label": " left lung ", "points": [[1, 2], [5, 4]], "shape_type": "rectangle"}
    ]
    read = read_labelme(write(tmp_path / "a.json", value))
    assert read.image_name == "a film.png" and read.shapes == (box("left lung", 1, 2, 5, 4),)


@pytest.mark.parametrize(
    ("change", "words"),
    [
        ({"shapes": 3}, "not a labelme file"),
        ({"imageHeight": None}, "imageHeight is None; expected the film's size"),
        (
            {"shapes": [{"label": "x", "points": [[1, 2], [3, 4]], "shape_type": "circle"}]},
            "shape 1 is a 'circle'; only polygons",
        ),
        ({"shapes": [{"label": "x", "points": [[1], [3, 4]]}]}, "not pairs of numbers"),
        ({"shapes": [{"label": "x", "points": [[10**400, 1]]}]}, "not pairs of numbers"),
        ({"shapes": [{"points": []}]}, "shape 1 has no label"),
    ],
)
def test_a_wrong_labelme_file_is_refused(
    change: dict[str, Any], words: str, tmp_path: Path
) -> None:
    value = to_labelme(Annotation("x.png", 10, 20, ())) | change
    with pytest.raises(DataError, match=words):
        read_labelme(write(tmp_path / "a.json", value))


def coco(**changes: Any) -> dict[str, Any]:
    one = {
        "id": 4,
        "image_id": 1,
        "category_id": 7,
        "segmentation": [[0, 0, 4, 0, 4, 4], [6, 6, 9, 6, 9, 9, 6, 9]],
    }
    return {
        "images": [
            {"id": 1, "file_name": "a/b.png", "height": 10, "width": 20},
            {"id": 2, "file_name": "c.png", "height": 5, "width": 5},
        ],
        "categories": [{"id": 7, "name": "left lung"}],
        "annotations": [one | changes],
    }


def test_coco_polygons(tmp_path: Path) -> None:
    first, second = read_annotations(write(tmp_path / "c.json", coco()))
    assert (first.image_name, first.height, first.width) == ("b.png", 10, 20)
    assert [shape.label for shape in first.shapes] == ["left lung", "left lung"]
    mask = rasterise(first.shapes, 10, 20, CLASSES)
    assert mask[1, 3] == 1 and (mask[6:9, 6:9] == 1).all() and mask[5, 5] == 0
    assert second == Annotation("c.png", 5, 5, ())


@pytest.mark.parametrize(
    ("changes", "words"),
    [
        ({"segmentation": {"counts": [1], "size": [1, 1]}}, "run-length encoded"),
        ({"segmentation": [[1, 2, 3]]}, "3 coordinates; expected x and y in turn"),
        ({"image_id": 9}, "names an image or a category that is not in the file"),
        ({"category_id": 9}, "names an image or a category"),
    ],
)
def test_a_wrong_coco_file_is_refused(changes: dict[str, Any], words: str, tmp_path: Path) -> None:
    with pytest.raises(DataError, match=words):
        read_annotations(write(tmp_path / "c.json", coco(**changes)))


def test_the_kind_of_file_is_found_out(tmp_path: Path) -> None:
    one = Annotation("x.png", 10, 20, ())
    assert read_annotations(write(tmp_path / "a.json", to_labelme(one))) == [one]
    assert len(read_annotations(write(tmp_path / "c.json", coco()))) == 2
    with pytest.raises(DataError, match=r"neither a labelme file .* it has foo"):
        read_annotations(write(tmp_path / "d.json", {"foo": 1}))
    with pytest.raises(DataError, match="a JSON list; expected"):
        read_annotations(write(tmp_path / "e.json", []))
    (tmp_path / "f.json").write_bytes(b"\xff{")
    with pytest.raises(DataError, match="not a JSON file"):
        read_annotations(tmp_path / "f.json")
    with pytest.raises(DataError, match="cannot be read"):
        read_annotations(tmp_path / "missing.json")
