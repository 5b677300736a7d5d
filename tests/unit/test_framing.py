"""Cutting squares out of films."""

from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from lungsynth.films.framing import CLOSE_UPS, SHIFTED, WHOLE, Framing, cut, draw_framing, whole

SHAPES = [(300, 300), (300, 420), (420, 300), (200, 640)]


def disc(height: int, width: int, *, radius: float, cx: float = 0.5, cy: float = 0.5) -> np.ndarray:
    y, x = np.mgrid[:height, :width] + 0.5
    inside = np.hypot(x - cx * width, y - cy * height) < radius
    return np.where(inside, 255, 60).astype(np.uint8)


def extent(mask: np.ndarray) -> tuple[int, int]:
    rows, columns = np.nonzero(mask)
    return int(np.ptp(rows)) + 1, int(np.ptp(columns)) + 1


@pytest.mark.parametrize("shape", SHAPES)
def test_a_circle_stays_a_circle(shape: tuple[int, int]) -> None:
    film = disc(*shape, radius=0.2 * min(shape))
    framings = [Framing(WHOLE, 0.5, 0.5, side) for side in (0.9, 1.0, 1.3, 2.5)]
    for framing in [*framings, Framing("close", 0.48, 0.55, 0.66), Framing("edge", 0.45, 0.5, 1.4)]:
        height, width = extent(cut(film, framing, pixels=128) > 157)
        assert abs(height - width) <= 2, framing
        assert height == pytest.approx(0.4 / framing.side * 128, abs=2), framing
    height, width = extent(whole(film, pixels=128) > 157)
    assert abs(height - width) <= 2


@settings(max_examples=60, deadline=None)
@given(
    height=st.integers(40, 300),
    width=st.integers(40, 300),
    cx=st.floats(0, 1),
    cy=st.floats(0, 1),
    side=st.floats(0.3, 2),
    pixels=st.sampled_from([32, 65, 128]),
)
def test_image_and_mask_are_cut_alike(
    height: int, width: int, cx: float, cy: float, side: float, pixels: int
) -> None:
    film = disc(height, width, radius=0.3 * min(height, width))
    mask = (film > 157).astype(np.uint8)
    framing = Framing("any", cx, cy, side)
    picture = cut(film, framing, pixels=pixels)
    region = cut(mask, framing, pixels=pixels, nearest=True)
    assert picture.shape == region.shape == (pixels, pixels)
    assert set(np.unique(region)) <= {0, 1}
    differing = ((picture > 157) != (region == 1)).mean()
    assert differing < 0.05 + 4 / pixels


def test_outside_the_film_is_black_and_nothing_bleeds_in() -> None:
    film = np.full((200, 300), 200, np.uint8)
    out = cut(film, Framing("left edge", 0.0, 0.5, 1.0), pixels=100)
    assert (out[:, :50] == 0).all() and (out[:, 50:] == 200).all()
    out = cut(film, Framing("beyond", 5.0, 0.5, 1.0), pixels=100)
    assert (out == 0).all()
    out = cut(film, Framing(WHOLE, 0.5, 0.5, 1.5), pixels=120)
    assert (out[:20] == 0).all() and (out[100:] == 0).all() and (out[20:100] == 200).all()


def test_a_whole_chest_stays_on_the_film_where_it_can() -> None:
    film = np.full((200, 300), 200, np.uint8)
    for cx in (0.0, 0.4, 1.0):
        assert (cut(film, Framing(WHOLE, cx, 0.6, 1.0), pixels=64) == 200).all()


def test_the_square_is_where_the_framing_says() -> None:
    film = np.zeros((400, 400), np.uint8)
    film[:, :200] = 255
    assert cut(film, Framing("r", *CLOSE_UPS["right lung"]), pixels=64).mean() > 180
    assert cut(film, Framing("l", *CLOSE_UPS["left lung"]), pixels=64).mean() < 75
    assert SHIFTED["shifted left"] < 0 < SHIFTED["shifted right"]


def test_small_films_are_only_shown_whole() -> None:
    rng = np.random.default_rng(0)
    assert {draw_framing(250, 300, rng).name for _ in range(100)} == {WHOLE}


def test_every_framing_is_drawn_and_close_ups_keep_their_pixels() -> None:
    rng = np.random.default_rng(0)
    drawn = [draw_framing(700, 800, rng, p_whole=0.3) for _ in range(1500)]
    assert {f.name for f in drawn} == {WHOLE, *CLOSE_UPS, *SHIFTED}
    assert min(f.side * 700 for f in drawn) > 0.9 * 190
    share = np.mean([f.name == WHOLE for f in drawn])
    assert 0.25 < share < 0.35
    assert {draw_framing(700, 800, rng, p_whole=1.0).name for _ in range(50)} == {WHOLE}


def test_framings_depend_on_the_generator_only() -> None:
    one = [draw_framing(700, 600, np.random.default_rng(5)) for _ in range(3)]
    assert one[0] == one[1] == one[2]


def test_ids_of_a_mask_are_never_mixed() -> None:
    mask = np.zeros((150, 220), np.uint8)
    mask[20:90, 30:100], mask[20:90, 120:200] = 7, 255
    rng = np.random.default_rng(1)
    for _ in range(20):
        out = cut(mask, draw_framing(150, 220, rng), pixels=64, nearest=True)
        assert set(np.unique(out)) <= {0, 7, 255}
