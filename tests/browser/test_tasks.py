"""Five tasks of a new visitor, by keyboard alone and by phone: draw, where a word looks, own film,
compare, take home."""

from __future__ import annotations

import io
import re
from typing import Any

import numpy as np
import pytest
from browser_page import drawn, pixels, ready, said, shot, stage, steps, taken_away
from PIL import Image
from tiny import film, png

pytestmark = [pytest.mark.slow, pytest.mark.filterwarnings("ignore::ResourceWarning")]

PHONE = {"width": 390, "height": 844, "is_mobile": True, "has_touch": True}
CANVAS = "document.querySelector('#ls-viewer canvas')"
FITS = (
    "s => (({scrollWidth, clientWidth}) => scrollWidth <= clientWidth)(document.querySelector(s))"
)
MOST = 120  # presses of Tab to reach anything


def focus(page: Any, where: str) -> None:
    """Go to an element by pressing Tab, as who has no mouse does."""
    for _ in range(MOST):
        page.keyboard.press("Tab")
        if page.evaluate("s => document.activeElement.matches(s)", where):
            return
    raise AssertionError(f"{where} cannot be reached by Tab")


def start(page: Any) -> None:
    ready(page)
    page.locator("body").click(position={"x": 1, "y": 1})


def test_by_keyboard_draw_look_compare_and_take_home(open_page):
    page = open_page("?prompt=chest%2C+both+lungs&seed=3&steps=4")
    drawn(page, 3)
    start(page)
    # draw
    focus(page, "#ls-prompt textarea")
    page.keyboard.press("Control+A")
    page.keyboard.type("PA view, 60-year-old man, pneumonia in the right lung")
    page.keyboard.press("Control+Enter")
    page.locator("#ls-status progress").wait_for()
    page.wait_for_function("location.search.includes('right')")
    drawn(page, 3)
    assert "right lung" in said(page)
    # where a word looks: its button, then the slider
    focus(page, "#ls-viewer .lv-scrub")
    for _ in range(12):
        page.keyboard.press("ArrowLeft")
    page.wait_for_function(f"{CANVAS}.getAttribute('aria-label').includes('Noise')")
    focus(page, "#ls-viewer .lv-words button")
    page.keyboard.press("Enter")  # stays at the step: where the word looks in the noise
    page.wait_for_function(f"{CANVAS}.getAttribute('aria-label').includes('“right lung”')")
    assert "Noise" in said(page)
    focus(page, "#ls-viewer .lv-stops [data-group=Words]")
    page.keyboard.press("Enter")
    page.wait_for_function(f"{CANVAS}.getAttribute('aria-label').includes('Where the words look')")
    legend = page.locator("#ls-viewer .lv-legend").inner_text()
    assert ("no place" in legend) == ("shows no place" in said(page))
    assert "not measured" in legend or "grounded" in legend
    # compare: pin, change one thing, draw
    focus(page, "#ls-pin")
    page.keyboard.press("Enter")
    page.get_by_text("Pinned. Change one thing").wait_for()
    page.locator("#ls-prompt textarea").focus()
    page.keyboard.press("Control+A")
    page.keyboard.type("PA view, 60-year-old man, no finding")
    page.keyboard.press("Control+Enter")
    page.get_by_text("grey values differ by").wait_for()
    shot(page, "space-compare.png", whole=True)
    # take home
    focus(page, "#ls-zip, #ls-zip button, #ls-zip a")
    with page.expect_download() as download:
        page.keyboard.press("Enter")
    assert download.value.suggested_filename.endswith(".zip")
    # Back returns to the drawing before
    page.go_back()
    page.wait_for_function("location.search.includes('right')")
    page.get_by_text("Done: seed 3").wait_for()


def test_by_keyboard_a_film_of_ones_own(open_page):
    page = open_page()
    start(page)
    focus(page, "[role=tab][data-tab-id=film]")
    page.keyboard.press("Enter")
    page.get_by_text("Only de-identified pictures").wait_for()
    focus(page, "#ls-sample, #ls-sample button")
    page.keyboard.press("Enter")
    page.get_by_text("Done; what you sent has been deleted here.").wait_for()
    focus(page, "#ls-film-viewer .lv-scrub")
    page.keyboard.press("Home")
    page.locator("#ls-film-viewer .lv-note", has_text="Your film").wait_for()


def in_view(page: Any, where: str) -> float:
    """Share of an element's height inside the window."""
    return float(
        page.evaluate(
            """s => { const r = document.querySelector(s).getBoundingClientRect();
            return Math.max(0, Math.min(r.bottom, innerHeight) - Math.max(r.top, 0)) / r.height; }""",
            where,
        )
    )


def test_by_phone_draw_look_compare_and_take_home(open_page):
    page = open_page(**PHONE)
    ready(page)
    assert page.evaluate("document.documentElement.scrollHeight") <= 2200
    assert page.evaluate("document.documentElement.scrollWidth") <= 390
    for name in ("Draw", "Your X-ray", "Batch", "Model"):
        assert page.get_by_role("tab", name=name).is_visible()
    shot(page, "space-390-open.png", whole=True)
    steps(page, 6)
    page.get_by_role("button", name="Advanced").tap()
    page.evaluate("scrollTo(0, 0)")
    page.locator("#ls-draw").tap()
    page.locator("#ls-status progress").wait_for()
    assert in_view(page, "#ls-status") > 0.9
    drawn(page, 0)
    page.wait_for_timeout(500)
    assert in_view(page, "#ls-viewer .lv-stage") > 0.99  # nobody scrolled
    assert page.evaluate(FITS, "#ls-see .ls-scroll")  # the numbers of the classes, trust with them
    shot(page, "space-390.png")
    page.locator("#ls-viewer .lv-words button", has_text="woman").tap()
    page.locator("#ls-viewer .lv-legend", has_text="woman").wait_for()
    stage(page, "Mask")
    assert "Mask" in said(page)
    shot(page, "space-390-mask.png")
    page.locator("#ls-pin").tap()
    page.get_by_text("Pinned. Change one thing").wait_for()
    page.get_by_role("button", name="Surprise me").tap()
    page.get_by_text("grey values differ by").wait_for()
    files = taken_away(page)
    assert {"image.png", "mask.png", "record.json"} <= set(files)


def test_by_phone_a_film_of_ones_own(open_page, tmp_path):
    page = open_page(**PHONE)
    ready(page)
    page.get_by_role("tab", name="Your X-ray").tap()
    for n in (1, 2):
        (tmp_path / f"film {n}.png").write_bytes(png(film(n, height=300, width=280)[0]))
    page.locator("#ls-film input[type=file]").set_input_files(sorted(tmp_path.glob("*.png")))
    page.get_by_text("Done; what you sent has been deleted here.").wait_for()
    page.locator("#ls-film-viewer .lv-thumbs button", has_text="film 2").tap()
    page.locator("#ls-film-viewer .lv-note", has_text="Mask").wait_for()
    with page.expect_download() as download:
        page.get_by_role("link", name=re.compile("^Save masks")).tap()
    assert download.value.suggested_filename == "lungsynth-films.zip"
    shot(page, "space-390-film.png")


def test_the_mask_on_screen_is_the_mask_of_the_file(open_page):
    page = open_page("?prompt=chest%2C+both+lungs&seed=3&steps=6")
    drawn(page, 3)
    stage(page, "Mask")
    page.wait_for_timeout(500)
    mask = np.asarray(Image.open(io.BytesIO(taken_away(page)["mask.png"])))
    shown = np.asarray(Image.open(io.BytesIO(pixels(page))).convert("RGB")).astype(int)
    coloured = np.ptp(shown, axis=2) > 12
    assert coloured[mask > 0].mean() > 0.95 and coloured[mask == 0].mean() < 0.02
