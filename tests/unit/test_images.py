"""Pictures as bytes."""

from __future__ import annotations

import io

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from PIL import Image

from lungsynth.images import (
    OKABE_ITO,
    QUICK_LEVEL,
    colour_heat,
    contact_sheet,
    heat_to_uint8,
    overlay,
    png_bytes,
    slug,
)

GREY = np.random.default_rng(0).integers(0, 256, (20, 34), dtype=np.uint8)


def test_the_same_array_gives_the_same_bytes_and_back() -> None:
    assert png_bytes(GREY) == png_bytes(GREY.copy())
    assert np.array_equal(np.asarray(Image.open(io.BytesIO(png_bytes(GREY)))), GREY)
    colour = np.stack([GREY] * 3, -1)
    assert Image.open(io.BytesIO(png_bytes(colour))).mode == "RGB"


def test_drawn_pictures_carry_the_mark() -> None:
    opened = Image.open(io.BytesIO(png_bytes(GREY)))
    assert "trainedAlgorithmicMedia" in opened.info["XML:com.adobe.xmp"]
    assert b"trainedAlgorithmicMedia" not in png_bytes(GREY, synthetic=False)


def test_heat_is_scaled_and_clipped() -> None:
    assert heat_to_uint8(np.array([[-1.0, 0.0, 0.5, 1.0, 2.0]])).tolist() == [[0, 0, 128, 255, 255]]


def test_heat_over_a_picture() -> None:
    heat = np.zeros(GREY.shape, np.float32)
    heat[5:10, 5:10] = 1
    out = colour_heat(heat, GREY)
    assert out.shape == (20, 34, 3) and out.dtype == np.uint8
    assert np.array_equal(out[0], np.repeat(GREY[0][:, None], 3, 1))  # nothing where the map is 0
    assert (out[7, 7].astype(int) != GREY[7, 7]).any()


def test_classes_have_their_colours_and_borders() -> None:
    mask = np.zeros(GREY.shape, np.uint8)
    mask[2:10, 2:10], mask[12:18, 20:30], mask[2:8, 20:30] = 1, 9, 255
    out = overlay(GREY, mask)
    assert tuple(out[2, 2]) == OKABE_ITO[0]
    assert tuple(out[12, 20]) == OKABE_ITO[8 % len(OKABE_ITO)]
    assert tuple(out[5, 5]) != OKABE_ITO[0] and tuple(out[5, 5]) != (GREY[5, 5],) * 3
    assert (out[4, 20:30] == 160).any()
    assert np.array_equal(out[mask == 0], np.repeat(GREY[mask == 0][:, None], 3, 1))


@given(st.text(max_size=200))
def test_a_slug_is_never_a_path(text: str) -> None:
    name = slug(text)
    assert 1 <= len(name) <= 40
    assert set(name) <= set("abcdefghijklmnopqrstuvwxyz0123456789-")
    assert not name.startswith("-")


@pytest.mark.parametrize(
    ("text", "name"),
    [("Left Lung", "left-lung"), ("../../etc/passwd", "etc-passwd"), ("🫁", "word"), ("", "word")],
)
def test_slugs(text: str, name: str) -> None:
    assert slug(text) == name


def test_contact_sheets_of_any_number() -> None:
    pictures = [Image.fromarray(GREY)] * 5
    assert contact_sheet(pictures, n_columns=2, pixels=40).size == (80, 120)
    assert contact_sheet(pictures, ["a", "b"], n_columns=8, pixels=40).size == (200, 54)
    assert contact_sheet([], pixels=40).size == (40, 40)


def test_less_compression_changes_no_pixel() -> None:
    picture = np.random.default_rng(0).integers(0, 40, (32, 48, 3), np.uint8)
    small, quick = png_bytes(picture, level=9), png_bytes(picture, level=QUICK_LEVEL)
    for told in (small, quick):
        np.testing.assert_array_equal(np.asarray(Image.open(io.BytesIO(told))), picture)
    assert len(small) < len(quick) and png_bytes(picture) == png_bytes(picture, level=6)
