"""The outlines that ship: each file, the index beside them, and how widths are measured."""

from __future__ import annotations

import csv
from pathlib import Path

import numpy as np
import pytest

from benchmarks.outlines import CLASSES, cardiothoracic, measured_index, place
from lungsynth.films.annotation import rasterise, read_labelme

FOLDER = Path(__file__).parents[2] / "examples" / "annotations"


def rows() -> list[dict[str, str]]:
    with (FOLDER / "index.csv").open(newline="", encoding="utf-8") as file:
        return list(csv.DictReader(file))


@pytest.mark.parametrize("row", rows(), ids=lambda row: str(row["film"]))
def test_an_outline_has_both_lungs_on_their_sides_and_a_heart_between(row: dict[str, str]) -> None:
    drawn = read_labelme(place(FOLDER, row))
    assert drawn.image_name == f"{row['film']}.png"
    assert [shape.label for shape in drawn.shapes] == ["heart", "left lung", "right lung"]
    alone = {
        shape.label: rasterise([shape], drawn.height, drawn.width, CLASSES) > 0
        for shape in drawn.shapes
    }
    middle = {name: np.nonzero(mask)[1].mean() for name, mask in alone.items()}
    assert middle["right lung"] < middle["heart"] < middle["left lung"]  # the patient faces us
    for first, second in [
        ("left lung", "right lung"),
        ("left lung", "heart"),
        ("right lung", "heart"),
    ]:
        assert (alone[first] & alone[second]).sum() <= 0.005 * alone[second].sum()  # a seam
    for mask in alone.values():
        assert 0.03 < mask.mean() < 0.25


def test_the_index_names_every_file_and_its_numbers_are_those_of_the_polygons() -> None:
    named = {place(FOLDER, row) for row in rows()}
    assert named == set(FOLDER.rglob("*.json"))
    assert measured_index(FOLDER) == (FOLDER / "index.csv").read_text(encoding="utf-8")


def test_no_patient_is_both_trained_on_and_held_out() -> None:
    patients: dict[str, set[str]] = {"train": set(), "held out": set()}
    for row in rows():
        patients[row["use"]].add(row["film"].split("_")[0])
    assert not patients["train"] & patients["held out"]
    assert len(patients["held out"]) >= 3


def test_the_heart_counts_in_whole_and_the_chest_in_its_widest_common_row() -> None:
    masks = {name: np.zeros((10, 40), bool) for name in CLASSES}
    masks["right lung"][2:6, 3:12] = True
    masks["left lung"][2:9, 25:36] = True
    masks["left lung"][8, 36:40] = True  # lower than the right lung ends: not counted
    masks["heart"][3, 12:20] = True
    masks["heart"][6, 18:29] = True
    assert cardiothoracic(masks) == (17, 33)


def test_widths_without_a_heart_are_an_error() -> None:
    with pytest.raises(ValueError, match="A heart"):
        cardiothoracic({name: np.zeros((4, 4), bool) for name in CLASSES})
