"""The page as its visitors use it: by clicking, by typing, by keyboard, on a phone."""

from __future__ import annotations

import os
import re
import time
import zipfile

import numpy as np
import pytest
from browser_page import drawn, set_number, shot, steps, x_ray
from browser_server import serve
from dicoms import PATIENT, write_dicom
from PIL import Image
from tiny import film, png

pytestmark = [
    pytest.mark.slow,
    # Playwright's own loop and pipes, closed when Python ends
    pytest.mark.filterwarnings("ignore::ResourceWarning"),
]

LINK = "?prompt=PA+view%2C+45-year-old+woman%2C+tuberculosis&seed=11&steps=6&guidance=1.5"
AXE = os.environ.get("LUNGSYNTH_AXE")  # axe.min.js: npm install axe-core


def test_a_childs_x_ray_with_pneumonia_from_a_blank_browser(open_page):
    page = open_page()
    page.get_by_text("Words the model knows").wait_for()
    page.get_by_role("button", name=re.compile("^Frontal AP chest X-ray of a young child")).click()
    page.get_by_role("button", name="Draw", exact=True).click()
    page.locator("img[alt^='The X-ray as it forms']").first.wait_for()
    page.get_by_text(re.compile(r"Step \d+ of 20, about \d+ s left")).wait_for()
    drawn(page, 0)
    shot(page, "space-1440.png")
    assert page.get_by_label("pneumonia", exact=True).is_checked()

    # which pixels a word looked at; two words get a legend
    picture = page.locator("img[alt^='Where']")
    before = picture.get_attribute("src")
    page.get_by_label("child", exact=True).check()
    page.locator(".ls-legend").get_by_text("child").wait_for()
    page.wait_for_function("b => document.querySelector(`img[alt^='Where']`).src !== b", arg=before)

    # the mask's smoothness, without drawing again
    page.get_by_role("button", name=re.compile("^Change how the mask is made")).click()
    strip = page.locator(".ls-strip").first
    before, picture_before = strip.inner_html(), x_ray(page)
    begun = time.monotonic()
    set_number(page, "number input for CRF grey width θβ", "40")
    page.wait_for_function("b => document.querySelector('.ls-strip').innerHTML !== b", arg=before)
    assert time.monotonic() - begun < 3
    assert x_ray(page) == picture_before
    page.locator("[class*=slider] img[src*='file=']").first.wait_for()

    # everything in one file
    page.wait_for_timeout(1500)
    with page.expect_download() as download:
        page.get_by_role("link", name=re.compile("KB")).first.click()
    with zipfile.ZipFile(download.value.path()) as archive:
        assert {"image.png", "mask.png", "map_pneumonia.png", "record.json"} <= set(
            archive.namelist()
        )
        assert archive.read("image.png") == picture_before
        assert b'"theta_beta": 40' in archive.read("record.json")


def test_a_link_draws_the_same_bytes_in_another_browser(open_page):
    pictures = []
    for _ in range(2):
        page = open_page(LINK)
        drawn(page, 11)
        pictures.append(x_ray(page))
    assert pictures[0] == pictures[1] and pictures[0].startswith(b"\x89PNG")
    page.wait_for_timeout(3000)  # a request cut off by leaving the page is an error to Gradio
    page.reload()
    drawn(page, 11)
    assert x_ray(page) == pictures[0]


def test_words_are_marked_as_they_are_typed(open_page):
    page = open_page()
    page.get_by_label("Describe the X-ray").fill("chest with zebra <img src=x onerror=alert(1)>")
    page.locator(".ls-unknown", has_text="zebra").wait_for()
    page.get_by_label("Describe the X-ray").fill("🫁 أشعة")
    page.get_by_role("button", name="Draw", exact=True).click()
    page.get_by_text("No word of").first.wait_for()
    page.get_by_text("Not drawn: the message says why.").wait_for()


def test_the_controls_write_the_sentence(open_page):
    page = open_page()
    page.get_by_role("button", name=re.compile("^Build the sentence")).click()
    page.get_by_label("PA", exact=True).check()
    page.get_by_label("Age in years").fill("60")
    page.get_by_label("man", exact=True).check()
    page.get_by_label("tuberculosis", exact=True).check()
    page.get_by_label("right lung", exact=True).check()
    wanted = "Frontal PA chest X-ray of a 60-year-old man with tuberculosis in the right lung"
    page.wait_for_function(
        "w => document.querySelector('#ls-prompt textarea').value === w", arg=wanted
    )


def test_cancel_stops_and_the_next_drawing_begins_at_once(open_page):
    page = open_page()
    page.get_by_text("Words the model knows").wait_for()
    steps(page, 100)
    page.get_by_role("button", name="Draw", exact=True).click()
    page.get_by_text(re.compile(r"Step \d+ of 100")).wait_for()
    page.get_by_role("button", name="Cancel").first.click()
    page.get_by_text("Stopped.").wait_for()
    page.wait_for_timeout(1500)
    assert page.get_by_text("Stopped.").is_visible()
    steps(page, 4)
    set_number(page, "Seed", "21")
    begun = time.monotonic()
    page.get_by_role("button", name="Draw", exact=True).click()
    drawn(page, 21)
    assert time.monotonic() - begun < 15  # 100 steps would have taken longer


def test_several_pictures_can_be_looked_through(open_page):
    page = open_page()
    page.get_by_text("Words the model knows").wait_for()
    steps(page, 3)
    set_number(page, "number input for Pictures", "3")
    set_number(page, "Seed", "5")
    page.get_by_role("button", name="Draw", exact=True).click()
    page.get_by_text("Done: seeds 5, 6, 7.").wait_for()
    drawn(page, 5)
    first = x_ray(page)
    page.get_by_label("Seed 7").check()
    page.locator("img[alt*='seed 7.']").first.wait_for()
    assert x_ray(page) != first


def test_surprise_draws(open_page):
    page = open_page()
    page.get_by_text("Words the model knows").wait_for()
    steps(page, 2)
    page.get_by_role("button", name="Surprise me").click()
    page.get_by_text(re.compile(r"Done: seed \d+")).wait_for()


@pytest.mark.parametrize("kind", ["png", "dcm"])
def test_a_film_is_marked_and_nothing_of_it_stays(open_page, served, tmp_path, kind):
    picture = film(4, height=300, width=280)[0]
    path = tmp_path / f"Doe_Jane.{kind}"
    if kind == "png":
        path.write_bytes(png(picture))
    else:
        write_dicom(path, picture.astype(np.uint16) * 16, BurnedInAnnotation="YES")
    page = open_page()
    page.get_by_role("tab", name="Your X-ray").click()
    page.get_by_text("Only de-identified pictures").wait_for()
    page.locator("#ls-film input[type=file]").set_input_files(path)
    page.locator(".ls-film img").wait_for()
    page.get_by_text("280 × 300 pixels").wait_for()
    assert "Machine-made mask" in page.locator(".ls-film").inner_text()
    if kind == "dcm":
        page.get_by_text("BurnedInAnnotation").first.wait_for()
    with page.expect_download() as download:
        page.get_by_role("link", name="Save mask.png alone").click()
    with Image.open(download.value.path()) as mask:
        assert mask.size == (280, 300) and set(np.unique(mask)) <= {0, 1, 2, 255}
    folder = served[1]
    assert not [
        one for one in (folder / "gradio").rglob("*") if "Doe" in one.name and one.is_file()
    ]
    log = (folder / "log.txt").read_text()
    assert PATIENT not in log and "Doe_Jane" not in log and "Traceback" not in log


def test_a_file_that_is_no_film_is_told(open_page, tmp_path):
    (tmp_path / "a.png").write_bytes(b"hello")
    page = open_page()
    page.get_by_role("tab", name="Your X-ray").click()
    page.locator("#ls-film input[type=file]").set_input_files(tmp_path / "a.png")
    page.get_by_text("not a picture that can be read").first.wait_for()
    page.get_by_text("Not read: the message says why.").wait_for()


def test_two_drawings_side_by_side(open_page):
    page = open_page()
    page.get_by_text("Words the model knows").wait_for()
    steps(page, 2)
    page.get_by_role("tab", name="Compare").click()
    page.get_by_role("button", name="Draw both").click()
    page.get_by_text("grey values differ by").wait_for()
    page.get_by_role("tab", name="Gallery").click()
    page.get_by_text("Drawn beforehand").first.wait_for()
    assert page.locator(".ls-case img").count() >= 18
    page.get_by_role("tab", name="Model").click()
    page.get_by_role("heading", name="lungsynth mini").wait_for()


def test_by_keyboard_alone(open_page):
    page = open_page()
    page.get_by_text("Words the model knows").wait_for()
    steps(page, 3)
    page.locator("body").click(position={"x": 1, "y": 1})
    seen = []
    for _ in range(30):
        page.keyboard.press("Tab")
        seen.append(page.evaluate("document.activeElement.id || document.activeElement.tagName"))
        if page.evaluate("document.activeElement.id") == "ls-draw":
            break
    assert seen[-1] == "ls-draw", seen
    page.keyboard.press("Enter")
    drawn(page, 0)
    box = page.get_by_label("child", exact=True)
    box.focus()
    page.keyboard.press("Space")
    page.locator(".ls-legend").get_by_text("child").wait_for()


def test_on_a_phone(open_page):
    page = open_page(LINK, width=390, height=844, is_mobile=True, has_touch=True)
    drawn(page, 11)
    assert page.evaluate("document.documentElement.scrollWidth") <= 390
    assert page.get_by_text("Research only. Not for diagnosis.").first.is_visible()
    shot(page, "space-390.png")


def serious(page, where):
    """What axe finds serious or worse: where, rule, element."""
    report = page.evaluate("axe.run(document, {resultTypes: ['violations']})")
    return [
        (where, one["id"], one["nodes"][0]["html"][:160])
        for one in report["violations"]
        if one["impact"] in ("serious", "critical")
    ]


@pytest.mark.parametrize("scheme", ["light", "dark"])
def test_axe_finds_nothing_serious(open_page, scheme):
    if not AXE:
        pytest.skip("LUNGSYNTH_AXE names no axe.min.js (npm install axe-core)")
    blank = open_page(f"?__theme={scheme}", color_scheme=scheme)
    blank.get_by_text("Words the model knows").wait_for()
    blank.wait_for_timeout(5000)
    blank.add_script_tag(path=AXE)
    found = serious(blank, "blank")
    page = open_page(LINK + f"&__theme={scheme}", color_scheme=scheme)
    drawn(page, 11)
    page.add_script_tag(path=AXE)
    for name in ("Step by step", "Report a bad mask", "The same by program"):
        page.get_by_role("button", name=re.compile(f"^{name}")).click()
    page.get_by_role("button", name=re.compile("^Change how the mask is made")).click()
    page.get_by_role("button", name=re.compile("^Build the sentence")).click()
    for tab in ("Draw", "Your X-ray", "Compare", "Gallery", "Model"):
        page.get_by_role("tab", name=tab).click()
        page.wait_for_timeout(2000)
        found += serious(page, tab)
    assert found == []


def test_without_a_model_the_gallery_is_shown_with_the_reason(open_page, tmp_path):
    server, address = serve(tmp_path, LUNGSYNTH_MODEL=str(tmp_path / "none"))
    try:
        page = open_page(at=address)
        page.get_by_text("The model could not be loaded.").wait_for()
        page.get_by_text("no such folder").first.wait_for()
        page.locator(".ls-case img").first.wait_for()
        assert page.locator(".ls-case img").first.is_visible()
        page.close()
    finally:
        server.terminate()
        server.wait(timeout=60)
