"""axe-core finds nothing on any tab and in any state, light and dark, wide and on a phone."""

from __future__ import annotations

import importlib.util
import os
import re
from pathlib import Path
from typing import Any

import pytest
from browser_page import advanced, drawn, ready, stage, steps
from browser_server import serve

pytestmark = [pytest.mark.slow, pytest.mark.filterwarnings("ignore::ResourceWarning")]

PHONE = {"width": 390, "height": 844, "is_mobile": True, "has_touch": True}


def script() -> str:
    """Where axe.min.js is: `LUNGSYNTH_AXE`, or in the package axe-playwright-python."""
    if path := os.environ.get("LUNGSYNTH_AXE"):
        return path
    found = importlib.util.find_spec("axe_playwright_python")
    if found is None or found.origin is None:
        pytest.skip("no axe.min.js: pip install --no-deps axe-playwright-python==0.1.8")
    return str(Path(found.origin).parent / "axe.min.js")


class Judge:
    """Asks axe at each state, and keeps what it found: where, rule, how bad, element."""

    def __init__(self, page: Any) -> None:
        self.page, self.found = page, []
        page.add_script_tag(path=script())

    def __call__(self, where: str) -> None:
        found: list[Any] = []
        for _ in range(4):  # what opens or fades on a slow machine may be on its way still
            self.page.wait_for_timeout(600)
            report = self.page.evaluate("axe.run(document, {resultTypes: ['violations']})")
            found = [
                (where, one["id"], one["impact"], one["nodes"][0]["html"][:160])
                for one in report["violations"]
            ]
            if not found:
                break
        self.found += found


@pytest.mark.parametrize("size", [{}, PHONE], ids=["wide", "phone"])
@pytest.mark.parametrize("scheme", ["light", "dark"])
def test_axe_finds_nothing_while_drawing(open_page, scheme, size):
    page = open_page(f"?__theme={scheme}", color_scheme=scheme, **size)
    ready(page)
    judge = Judge(page)
    judge("opened")
    page.get_by_label("Describe the X-ray").fill("zebra")
    page.locator(".ls-unknown", has_text="zebra").wait_for()
    page.locator("#ls-draw").click()
    page.get_by_text("Not drawn: the message says why.").wait_for()
    judge("refused")
    page.get_by_label("Describe the X-ray").fill("PA view, 60-year-old man, pneumonia")
    steps(page, 20)
    page.locator("#ls-draw").click()
    page.locator("#ls-status progress").wait_for()
    judge("drawing")
    drawn(page, 0)
    for name in ("Noise", "Words", "Reading", "Mask"):
        stage(page, name)
        judge(name)
    stage(page, "Words")
    page.locator("#ls-viewer .lv-both").check()
    judge("two words")
    page.locator("#ls-viewer .lv-rules summary").click()
    page.locator("#ls-viewer .lv-rules-row canvas").first.wait_for()
    judge("refinements")
    page.locator("#ls-pin").click()
    page.get_by_text("Pinned. Change one thing").wait_for()
    steps(page, 3)
    page.locator("#ls-draw").click()
    page.get_by_text("grey values differ by").wait_for()
    judge("compared")
    advanced(page)
    for name in ("Build the sentence", "The same by program", "Report a bad mask", "Drawn in"):
        page.get_by_role("button", name=re.compile(f"^{name}")).click()
    page.get_by_label("Left and right are swapped").check()
    page.get_by_role("button", name="Make the report").click()
    page.get_by_text("Nothing was sent").wait_for()
    judge("everything unfolded, and a report")
    assert judge.found == []


@pytest.mark.parametrize("scheme", ["light", "dark"])
def test_axe_finds_nothing_on_the_other_tabs(open_page, tmp_path, scheme):
    page = open_page(f"?__theme={scheme}", color_scheme=scheme)
    ready(page)
    steps(page, 2)
    judge = Judge(page)
    page.get_by_role("tab", name="Your X-ray").click()
    page.locator("#ls-sample").wait_for()
    judge("film")
    (tmp_path / "a.png").write_bytes(b"hello")
    page.locator("#ls-film input[type=file]").set_input_files(tmp_path / "a.png")
    page.get_by_text("Not read: the message says why.").wait_for()
    judge("film refused")
    page.locator("#ls-sample").click()
    page.get_by_text("Done; what you sent").wait_for()
    page.locator("#ls-film-viewer .lv-rules summary").click()
    judge("film read")
    page.get_by_role("tab", name="Batch").click()
    page.locator("#ls-batch textarea").wait_for()
    judge("batch")
    page.locator("#ls-batch textarea").fill("chest, both lungs\nzebra\nchest")
    page.locator("#ls-batch-start").click()
    page.get_by_text("Done: 3 rows.").first.wait_for()
    judge("batch done")
    page.get_by_role("tab", name="Model").click()
    page.get_by_role("heading").nth(1).wait_for()
    judge("model")
    assert judge.found == []


def test_axe_finds_nothing_without_a_model(open_page, tmp_path):
    server, address = serve(tmp_path, LUNGSYNTH_MODEL=str(tmp_path / "none"))
    try:
        page = open_page(at=address)
        page.get_by_text("The model could not be loaded.").wait_for()
        judge = Judge(page)
        judge("no model")
        page.close()
        assert judge.found == []
    finally:
        server.terminate()
        server.wait(timeout=60)
