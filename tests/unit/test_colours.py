"""One colour per class everywhere, told apart by colour-blind readers."""

from __future__ import annotations

import re
from itertools import combinations
from pathlib import Path

import numpy as np
import pytest

from lungsynth.images import WORD_COLOURS, class_colour, overlay

ROOT = Path(__file__).parents[2]
N_CLASSES = 3
"""Left lung, right lung, heart."""

# Viénot, Brettel & Mollon 1999, in linear RGB (protan, deutan); Machado et al. 2009, severity 1 (tritan)
SEEN = {
    "all cones": np.eye(3),
    "protanopia": np.array([[0.1124, 0.8876, 0], [0.1124, 0.8876, 0], [0.004, -0.004, 1]]),
    "deuteranopia": np.array([[0.2927, 0.7073, 0], [0.2927, 0.7073, 0], [-0.0223, 0.0223, 1]]),
    "tritanopia": np.array(
        [
            [1.255528, -0.076749, -0.178779],
            [-0.078411, 0.930809, 0.147602],
            [0.004733, 0.691367, 0.3039],
        ]
    ),
}


def lab(colour: tuple[int, int, int], eye: np.ndarray) -> np.ndarray:
    """CIE L*a*b* of an sRGB colour as an eye sees it."""
    share = np.array(colour) / 255
    linear = np.where(share <= 0.04045, share / 12.92, ((share + 0.055) / 1.055) ** 2.4)
    linear = np.clip(eye @ linear, 0, 1)
    to_xyz = np.array(
        [[0.4124, 0.3576, 0.1805], [0.2126, 0.7152, 0.0722], [0.0193, 0.1192, 0.9505]]
    )
    x, y, z = np.cbrt(np.maximum(to_xyz @ linear / np.array([0.9505, 1, 1.089]), 0.008856))
    return np.array([116 * y - 16, 500 * (x - y), 200 * (y - z)])


@pytest.mark.parametrize("eye", SEEN)
def test_classes_and_words_are_told_apart_by_every_eye(eye):
    colours = [class_colour(n) for n in range(1, N_CLASSES + 1)] + [WORD_COLOURS[0]]
    for one, two in combinations(colours, 2):
        apart = np.linalg.norm(lab(one, SEEN[eye]) - lab(two, SEEN[eye]))
        assert apart > 12, (one, two, apart)  # 2.3 is just noticeable


def test_an_overlay_has_the_colour_of_the_table():
    mask = np.zeros((20, 20), np.uint8)
    for class_id in (1, 2, 3):
        mask[2:18, 6 * class_id - 5 : 6 * class_id] = class_id
    picture = overlay(np.zeros_like(mask), mask)
    for class_id in (1, 2, 3):
        assert tuple(picture[2, 6 * class_id - 4]) == class_colour(class_id)


def test_page_and_figures_take_their_colours_from_the_table():
    """No other place lists a colour of a class: neither by its numbers nor by the old constant."""
    numbers = [", ".join(map(str, class_colour(n))) for n in range(1, N_CLASSES + 1)]
    hexes = ["#{:02x}{:02x}{:02x}".format(*class_colour(n)) for n in range(1, N_CLASSES + 1)]
    told = re.compile("|".join(map(re.escape, [*numbers, *hexes, "OKABE_ITO"])), re.IGNORECASE)
    files = [p for room in ("lungsynth", "publish", "space") for p in (ROOT / room).rglob("*")]
    wrong = [
        f"{path.relative_to(ROOT)}: {line.strip()}"
        for path in files
        if path.suffix in (".py", ".js", ".css", ".html") and path.name != "images.py"
        for line in path.read_text(encoding="utf-8").splitlines()
        if told.search(line) and "focus-visible" not in line
    ]
    assert wrong == []


def test_the_viewer_is_given_the_same_colours():
    from types import SimpleNamespace

    from space.page import viewer

    lungs = [SimpleNamespace(id=1, name="left lung"), SimpleNamespace(id=2, name="right lung")]
    assert viewer.word_colour("left lung", lungs) == class_colour(1)
    assert viewer.word_colour("right lung", lungs) == class_colour(2)
    assert viewer.word_colour("pneumonia", lungs) not in map(class_colour, range(1, 4))
