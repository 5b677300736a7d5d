"""The page as its visitors use it: by clicking and typing, with a film, with axe, without a model."""

from __future__ import annotations

import re
import time

import numpy as np
import pytest
from browser_page import (
    advanced,
    drawn,
    pixels,
    ready,
    said,
    set_number,
    shot,
    stage,
    steps,
    taken_away,
)
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


def test_a_finished_picture_is_there_on_opening_and_can_be_scrubbed(open_page):
    page = open_page()
    page.locator("img[alt^='Synthetic chest X-ray'], #ls-viewer canvas").first.wait_for()
    ready(page)
    assert said(page).startswith("Synthetic chest X-ray drawn from")
    shot(page, "space-1440.png")
    seen = set()
    for name in ("Noise", "Drawing", "Reading", "Threshold", "Mask"):
        page.locator("#ls-viewer .lv-stops button", has_text=name).click()
        page.wait_for_timeout(400)
        seen.add(pixels(page))
    assert len(seen) == 5
    page.locator("#ls-viewer .lv-thumbs button").nth(1).click()
    page.wait_for_function(
        "document.querySelector('#ls-prompt textarea').value.includes('60-year-old man')"
    )
    assert "60-year-old man" in said(page)


def test_a_link_draws_the_same_bytes_in_another_browser(open_page):
    pictures = []
    for _ in range(2):
        page = open_page(LINK)
        drawn(page, 11)
        pictures.append(taken_away(page))
    assert pictures[0]["image.png"] == pictures[1]["image.png"]
    assert pictures[0]["mask.png"] == pictures[1]["mask.png"]


def test_the_mask_follows_its_controls_and_the_picture_stays(open_page):
    page = open_page(LINK)
    drawn(page, 11)
    stage(page, "Mask")
    before = taken_away(page)
    advanced(page)
    set_number(page, "number input for CRF smoothness θγ", "0.04")
    page.wait_for_function("location.search.includes('crf.theta_gamma=0.04')")
    page.wait_for_timeout(1500)
    after = taken_away(page)
    assert after["image.png"] == before["image.png"] and after["mask.png"] != before["mask.png"]
    assert "Mask" in said(page)  # the viewer stays at its stage
    page.locator("#ls-viewer .lv-rules summary").click()
    page.locator("#ls-viewer .lv-rules-row canvas").first.wait_for()
    assert page.locator("#ls-viewer .lv-rules-row canvas").count() >= 2
    set_number(page, "number input for CRF smoothness θγ", "0.03")
    page.locator("#ls-viewer .lv-rules[open]").wait_for(
        state="detached"
    )  # they were of another mask


def test_words_are_marked_as_they_are_typed(open_page):
    page = open_page()
    page.get_by_label("Describe the X-ray").fill("chest with zebra <img src=x onerror=alert(1)>")
    page.locator(".ls-unknown", has_text="zebra").wait_for()
    page.get_by_label("Describe the X-ray").fill("🫁 أشعة")
    page.locator("#ls-draw").click()
    page.get_by_text("No word of").first.wait_for()
    page.get_by_text("Not drawn: the message says why.").wait_for()
    page.get_by_label("Describe the X-ray").fill("chest")
    steps(page, 2)
    page.locator("#ls-draw").click()  # closes the message about the drawing before
    page.locator("[data-testid=toast-body]").wait_for(state="detached")
    drawn(page, 0)


def test_the_controls_write_the_sentence(open_page):
    page = open_page()
    ready(page)
    page.get_by_role("button", name=re.compile("^Build the sentence")).click()
    age = page.get_by_label("Age in years")
    assert age.input_value() == "0"

    def written(wanted: str) -> None:
        page.wait_for_function(
            "w => document.querySelector('#ls-prompt textarea').value === w", arg=wanted
        )

    page.get_by_label("PA", exact=True).check()
    written("Frontal PA chest X-ray")  # of no age and no sex while none is chosen
    page.get_by_label("man", exact=True).check()
    written("Frontal PA chest X-ray of a man")
    age.fill("60")
    page.get_by_label("tuberculosis", exact=True).check()
    written("Frontal PA chest X-ray of a 60-year-old man with tuberculosis")
    age.fill("")
    written("Frontal PA chest X-ray of a man with tuberculosis")


def test_cancel_stops_and_the_next_drawing_begins_at_once(open_page):
    page = open_page()
    ready(page)
    steps(page, 100)
    page.locator("#ls-draw").click()
    begun = time.monotonic()
    told = page.get_by_text(re.compile(r"Step \d+ of 100")).first
    told.wait_for()
    done = int(re.findall(r"\d+", told.inner_text())[0])
    of_all = (time.monotonic() - begun) / done * 100  # what 100 steps take as the machine is now
    begun = time.monotonic()
    page.get_by_role("button", name="Cancel").first.click()
    page.get_by_text("Stopped.").wait_for()
    steps(page, 4)
    set_number(page, "Seed", "21")
    page.locator("#ls-draw").click()
    page.get_by_text(re.compile("Step 1 of 4|Done: seed 21")).first.wait_for()
    assert time.monotonic() - begun < of_all / 2  # it begins only when the one before has ended
    drawn(page, 21)


def test_several_pictures_can_be_looked_through(open_page):
    page = open_page()
    ready(page)
    steps(page, 3)
    set_number(page, "number input for Pictures", "3")
    set_number(page, "Seed", "5")
    page.locator("#ls-draw").click()
    page.get_by_text("Done: seeds 5, 6, 7.").wait_for()
    drawn(page, 5)
    page.locator("#ls-viewer .lv-thumbs button", has_text="Seed 7").click()
    page.wait_for_function("location.search.includes('seed=7')")
    assert "seed 7." in said(page)


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
    assert "synthetic" not in page.locator("#ls-banner").inner_text().lower()  # it is a real film
    page.locator("#ls-film input[type=file]").set_input_files(path)
    page.get_by_text("280 × 300 pixels").wait_for()
    assert "Machine-made mask" in page.locator(".ls-film").inner_text()
    if kind == "dcm":
        page.get_by_text("BurnedInAnnotation").first.wait_for()
    with page.expect_download() as download:
        page.get_by_role("link", name="Save mask.png alone").click()
    with Image.open(download.value.path()) as mask:
        assert mask.size == (280, 300) and set(np.unique(mask)) <= {0, 1, 2, 3, 255}
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


def test_a_batch_goes_on_after_a_reload(open_page):
    page = open_page()
    ready(page)
    steps(page, 3)
    page.get_by_role("tab", name="Batch").click()
    page.locator("#ls-batch textarea").fill("\n".join(["chest, both lungs"] * 5))
    page.locator("#ls-batch-start").click()
    page.get_by_text(re.compile(r"[1-3] of 5 drawn")).first.wait_for()
    page.wait_for_timeout(1500)
    page.reload()
    page.get_by_role("tab", name="Batch").click()
    page.get_by_text("Done: 5 rows.").first.wait_for()
    with page.expect_download() as download:
        page.locator("#ls-batch-parquet").click()
    assert download.value.suggested_filename == "lungsynth-batch.parquet"


def test_what_was_drawn_here_is_listed_after_a_reload(open_page):
    page = open_page("?prompt=chest&seed=8&steps=2")
    drawn(page, 8)
    page.wait_for_function("(localStorage['lungsynth-history'] ?? '').length > 200")
    page.goto(page.url.split("?")[0])
    ready(page)
    page.get_by_role("button", name=re.compile("^Drawn in this browser")).click()
    page.get_by_role("link", name="chest, seed 8").wait_for()


def test_more_tabs_than_a_browser_has_connections_all_draw(open_page):
    first = open_page("?prompt=chest&seed=0&steps=2")
    tabs = [first, *(first.context.new_page() for _ in range(7))]
    for seed, page in enumerate(tabs[1:], 1):
        page.goto(
            first.url.split("?")[0] + f"?prompt=chest&seed={seed}&steps=2", wait_until="commit"
        )
    for seed, page in enumerate(tabs):
        drawn(page, seed)
        assert f"seed {seed}." in said(page)


def test_without_a_model_the_gallery_is_shown_with_the_reason(open_page, tmp_path):
    server, address = serve(tmp_path, LUNGSYNTH_MODEL=str(tmp_path / "none"))
    try:
        page = open_page(at=address)
        page.get_by_text("The model could not be loaded.").wait_for()
        page.get_by_text("no such folder").first.wait_for()
        assert said(page).startswith("Synthetic chest X-ray")
        page.close()
    finally:
        server.terminate()
        server.wait(timeout=60)
