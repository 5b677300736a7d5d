"""Links with every setting, the maps step by step, a report: in the browser."""

from __future__ import annotations

import json
import re
from pathlib import Path

import pytest
from browser_page import advanced, drawn, said, set_number, taken_away

pytestmark = [pytest.mark.slow, pytest.mark.filterwarnings("ignore::ResourceWarning")]

PICTURE = (
    "?prompt=PA+view%2C+45-year-old+woman%2C+tuberculosis&seed=11&steps=4&guidance=1.5&size=192"
)
MASK = "&classes=v7&method=cross&beta=16.3&crf.theta_beta=40&ignore_band=0.1&min_part=0.02&row=s0-0000007"


def test_a_link_carries_size_convention_and_mask_to_another_browser(open_page):
    taken = []
    for _ in range(2):
        page = open_page(PICTURE + MASK)
        drawn(page, 11)
        taken.append(taken_away(page))
        advanced(page)
        page.get_by_text("This is row s0-0000007 of the dataset.").wait_for()
        page.get_by_text("The link also sets min_part=0.02.").wait_for()
        for part in (
            "size=192",
            "classes=v7",
            "method=cross",
            "beta=16.3",
            "min_part=0.02",
            "ignore_band=0.1",
            "row=s0-0000007",
            "crf.theta_beta=40",
        ):
            assert part in page.url, page.url
    for name in ("image.png", "mask.png"):
        assert taken[0][name] == taken[1][name]
    record = json.loads(taken[0]["record.json"])
    assert (record["options"]["height"], record["options"]["width"]) == (192, 192)
    assert record["refine"]["beta"] == 16.3 and record["refine"]["min_part"] == 0.02

    # the plain mask of the same picture is another one, and the link follows the controls
    advanced(page)
    page.get_by_role("button", name="Back to the defaults").click()
    page.wait_for_function("!location.search.includes('min_part')")
    page.wait_for_timeout(1500)
    plain = taken_away(page)
    assert plain["image.png"] == taken[0]["image.png"] and plain["mask.png"] != taken[0]["mask.png"]
    set_number(page, "number input for CRF smoothness θγ", "0.03")
    page.wait_for_function("location.search.includes('crf.theta_gamma=0.03')")
    page.wait_for_timeout(1500)
    shared, mask = page.url.split("?")[1], taken_away(page)["mask.png"]
    friend = open_page("?" + shared)
    drawn(friend, 11)
    assert taken_away(friend)["mask.png"] == mask != plain["mask.png"]


def test_a_link_that_cannot_be_drawn_says_why(open_page):
    page = open_page("?prompt=chest&method=magic")
    page.get_by_text("Refinement 'magic' is unknown").wait_for()
    other = open_page("?prompt=chest&size=100")
    other.get_by_text("expected a multiple of 64").wait_for()


def test_where_a_word_looks_by_step(open_page):
    page = open_page(PICTURE.replace("steps=4", "steps=9"))
    page.wait_for_function(
        "document.querySelector('#ls-viewer canvas')?.getAttribute('aria-label').includes('as it forms')"
    )
    drawn(page, 11)
    seen = set()
    page.locator("#ls-viewer .lv-scrub").focus()
    for _ in range(12):
        page.keyboard.press("ArrowLeft")
        page.wait_for_timeout(200)
        seen.add(said(page))
    assert len(seen) >= 4 and any("Step 2 of 9" in one for one in seen)


def test_a_bad_mask_is_reported_without_the_prompt(open_page):
    page = open_page(PICTURE)
    drawn(page, 11)
    page.get_by_role("button", name=re.compile("^Report a bad mask")).click()
    page.get_by_role("button", name="Make the report").click()
    page.get_by_text("tick one of the boxes").first.wait_for()
    page.get_by_label("Left and right are swapped").check()
    page.get_by_role("button", name="Make the report").click()
    page.get_by_text("Nothing was sent").wait_for()
    with page.expect_download() as download:
        page.get_by_role("link", name=re.compile("^mask-report-")).click()
    report = json.loads(Path(download.value.path()).read_text())
    assert report["problems"] == ["sides"] and report["seed"] == 11 and report["size"] == "192"
    assert report["prompt"] is None and "tuberculosis" not in json.dumps(report)
