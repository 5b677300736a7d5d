"""labelme files for tests."""

from __future__ import annotations

from typing import Any

from lungsynth.films.annotation import Annotation


def to_labelme(annotation: Annotation) -> dict[str, Any]:
    """The labelme JSON value of an annotation, without pixels; `read_labelme` reads it back."""
    return {
        "version": "5.5.0",
        "flags": {},
        "shapes": [
            {
                "label": shape.label,
                "points": [list(point) for point in shape.points],
                "group_id": None,
                "description": "",
                "shape_type": "polygon",
                "flags": {},
            }
            for shape in annotation.shapes
        ],
        "imagePath": annotation.image_name,
        "imageData": None,
        "imageHeight": annotation.height,
        "imageWidth": annotation.width,
    }
