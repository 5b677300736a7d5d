"""The label-free prior."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest

from lungsynth.errors import ConfigError, ShapeError
from lungsynth.training.prior import Ellipse, Prior, darkness, load_priors, place_score, prior_mask

ROOT = Path(__file__).parents[2]
TWO = Prior("x", (Ellipse(0.3, 0.5, 0.15, 0.3), Ellipse(0.7, 0.5, 0.15, 0.3)))


def body(dark: int = 60, bright: int = 180) -> np.ndarray:
    image = np.zeros((128, 128), np.uint8)
    image[8:120, 8:120] = bright
    y, x = np.mgrid[:128, :128]
    for cx in (38, 90):
        image[((x - cx) / 17) ** 2 + ((y - 64) / 36) ** 2 < 1] = dark
    return image


def test_it_finds_dark_parts_where_they_are_expected() -> None:
    image = body()
    mask = prior_mask(image, TWO)
    truth = image == 60
    found = mask == 255
    assert set(np.unique(mask)) <= {0, 127, 255}
    assert (found & truth).sum() / (found | truth).sum() > 0.6
    assert (mask[0] == 0).all()  # outside the body it is sure


def test_a_bright_organ_is_asked_for_by_name() -> None:
    image = body(dark=240, bright=100)
    dark, bright = (
        prior_mask(image, Prior("x", TWO.ellipses, dark=d)) == 255 for d in (True, False)
    )
    truth = image == 240
    assert (bright & truth).sum() > 3 * (dark & truth).sum()


def test_place_is_one_in_the_middle_and_zero_on_the_border() -> None:
    place = place_score(Prior("x", (Ellipse(0.5, 0.5, 0.25, 0.25),)), 101, 101)
    assert place[50, 50] == pytest.approx(1, abs=1e-3)
    assert abs(place[50, 75]) < 0.06
    assert place.min() == -2.5


def test_a_blank_film_has_no_organ_and_no_crash() -> None:
    blank = np.zeros((64, 64), np.uint8)
    assert (darkness(blank) == -2).all()
    assert not (prior_mask(blank, TWO) == 255).any()


def test_the_example_file_reads_and_bad_ones_are_refused(tmp_path: Path) -> None:
    priors = load_priors(ROOT / "examples/priors/lungs.json")
    assert set(priors) == {"left lung", "right lung", "lung"}
    assert priors["left lung"].ellipses[0].cx > 0.5  # the patient's left is on the right
    assert len(priors["lung"].ellipses) == 2
    path = tmp_path / "bad.json"
    for text in (
        "{",
        '{"classes": {"a": {}}}',
        '{"classes": {"a": {"ellipses": []}}}',
        '{"classes": {"a": {"ellipses": [[0.5, 0.5, 0, 1]]}}}',
        '{"classes": {"a": {"ellipses": [[0.5, 0.5, 1, 1]], "weight": "x"}}}',
        f'{{"classes": {{"a": {{"ellipses": [[0.5, 0.5, 1, 1{"0" * 400}]]}}}}}}',
        '{"classes": {"a": {"ellipses": [[0.5, 0.5, 1, 1]], "margin": null}}}',
        '{"classes": {"a": {"ellipses": [[0.5, 0.5, 1, 1]], "dark": "no"}}}',
    ):
        path.write_text(text)
        with pytest.raises(ConfigError, match="ellipses"):
            load_priors(path)
    with pytest.raises(ShapeError, match="16 pixels"):
        prior_mask(np.zeros((8, 8), np.uint8), TWO)
