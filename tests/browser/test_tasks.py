"""Five tasks of a new visitor, each from a blank browser in at most four actions, as docs/SPACE.md says."""

from __future__ import annotations

import re
from typing import Any

import pytest
from browser_page import drawn, small_shot, taken_away, x_ray

pytestmark = [pytest.mark.slow, pytest.mark.filterwarnings("ignore::ResourceWarning")]

MOST = 4  # actions
STRIP = ".ls-strip"


class Visitor:
    """Acts on a page, and counts: a click or a text typed is one action, whatever it takes inside."""

    def __init__(self, page: Any) -> None:
        self.page, self.actions = page, 0
        page.get_by_text("Words the model knows").wait_for()

    def click(self, target: Any) -> None:
        self.actions += 1
        target.click()

    def press(self, name: str) -> None:
        self.click(self.page.get_by_role("button", name=name, exact=True))

    def type(self, label: str, value: str) -> None:
        self.actions += 1
        field = self.page.get_by_label(label).first
        field.fill(value)
        field.press("Tab")

    def done(self, n: int) -> None:
        """It took the number of actions the documentation names."""
        assert self.actions == n <= MOST


def blank(open_page: Any, **options: Any) -> Visitor:
    return Visitor(open_page(width=1200, height=900, **options))


def test_1_make_a_childs_x_ray_with_pneumonia(open_page):
    visitor = blank(open_page)
    page = visitor.page
    visitor.click(
        page.get_by_role("button", name=re.compile("^Frontal AP chest X-ray of a young child"))
    )
    visitor.press("Draw")
    drawn(page, 0)
    visitor.done(2)
    alt = page.locator("img[alt^='Synthetic chest X-ray drawn']").first.get_attribute("alt")
    assert "young child with bacterial pneumonia" in alt and "lung covers" in alt
    small_shot(page, "space-task-1.png", top="#ls-status")


def test_2_find_which_pixels_right_lung_looked_at(open_page):
    visitor = blank(open_page)
    page = visitor.page
    visitor.type("Describe the X-ray", "PA view, 60-year-old man, pneumonia in the right lung")
    visitor.press("Draw")
    drawn(page, 0)
    before = page.locator("img[alt^='Where']").get_attribute("src")
    visitor.click(page.get_by_label("pneumonia", exact=True))
    visitor.click(page.get_by_label("right lung", exact=True).last)
    page.get_by_text("Where “right lung” acted in the X-ray.", exact=True).wait_for()
    page.wait_for_function("b => document.querySelector(`img[alt^='Where']`).src !== b", arg=before)
    visitor.done(4)
    small_shot(page, "space-task-2.png", top="#ls-looking")


def test_3_change_the_masks_smoothness(open_page):
    visitor = blank(open_page)
    page = visitor.page
    visitor.press("Draw")
    drawn(page, 0)
    strip, picture = page.locator(STRIP).first.inner_html(), x_ray(page)
    visitor.click(page.get_by_role("button", name=re.compile("^Change how the mask is made")))
    visitor.type("number input for CRF smoothness θγ", "0.04")
    page.wait_for_function("b => document.querySelector('.ls-strip').innerHTML !== b", arg=strip)
    page.wait_for_function("location.search.includes('crf.theta_gamma=0.04')")
    visitor.done(3)
    assert x_ray(page) == picture
    small_shot(page, "space-task-3.png", top=STRIP)


def test_4_save_everything(open_page):
    visitor = blank(open_page)
    page = visitor.page
    visitor.press("Draw")
    drawn(page, 0)
    visitor.actions += 1  # `taken_away` clicks the file
    files = taken_away(page)
    visitor.done(2)
    assert {"image.png", "mask.png", "coarse.png", "overlay.png", "record.json"} <= set(files)
    assert files["image.png"] == x_ray(page) and b'"seed": 0' in files["record.json"]
    assert "map_pneumonia.png" in files
    small_shot(page, "space-task-4.png", top="#ls-take")


def test_5_send_a_friend_the_link(open_page):
    visitor = blank(open_page, permissions=["clipboard-read", "clipboard-write"])
    page = visitor.page
    visitor.press("Draw")
    drawn(page, 0)
    mine = taken_away(page)
    box = page.locator("#ls-link")
    visitor.click(box.get_by_role("button", name=re.compile("copy", re.I)))
    visitor.done(2)
    link = page.evaluate("navigator.clipboard.readText()")
    assert link == box.locator("textarea").input_value()
    friend = open_page("?" + link.split("?")[1], width=1200, height=900)
    drawn(friend, 0)
    theirs = taken_away(friend)
    small_shot(friend, "space-task-5.png", top="#ls-status")
    for name in ("image.png", "mask.png"):
        assert theirs[name] == mine[name] and mine[name].startswith(b"\x89PNG")
