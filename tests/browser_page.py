"""What tests of the page share: waiting, reading, pictures of it."""

from __future__ import annotations

import io
import os
import re
import zipfile
from pathlib import Path
from typing import Any

from PIL import Image

SHOTS = os.environ.get("LUNGSYNTH_SHOTS")  # a folder for screenshots


def drawn(page: Any, seed: int) -> None:
    """Wait until everything of a picture is shown."""
    page.get_by_text(re.compile(rf"Done: seeds? {seed}")).wait_for()
    page.locator(".ls-strip img").nth(3).wait_for()
    page.wait_for_function(f"location.search.includes('seed={seed}')")


def taken_away(page: Any) -> dict[str, bytes]:
    """Every file of the page's ZIP as it is now."""
    page.wait_for_timeout(1500)
    with page.expect_download() as download:
        page.get_by_role("link", name=re.compile("KB|MB")).first.click()
    with zipfile.ZipFile(download.value.path()) as archive:
        return {name: archive.read(name) for name in archive.namelist()}


def x_ray(page: Any) -> bytes:
    """The bytes of the X-ray as the browser has them."""
    source = page.locator("img[alt^='Synthetic chest X-ray drawn']").first.get_attribute("src")
    return page.request.get(source).body()


def shot(page: Any, name: str) -> None:
    if SHOTS:
        page.wait_for_timeout(2000)
        for share in (0.25, 0.5, 0.75, 1, 0):  # pictures are fetched when they come into view
            page.evaluate("s => window.scrollTo(0, s * document.body.scrollHeight)", share)
            page.wait_for_timeout(400)
        page.screenshot(path=str(Path(SHOTS) / name), full_page=True)


def set_number(page: Any, label: str, value: str) -> None:
    field = page.get_by_label(label, exact=True).first
    field.fill(value)
    field.press("Tab")


def steps(page: Any, value: int) -> None:
    set_number(page, "number input for Steps", str(value))


def small_shot(page: Any, name: str, *, top: str, colours: int = 192) -> None:
    """A small picture of what is seen when `top` (a selector) is at the top of the window."""
    if not SHOTS:
        return
    page.evaluate(
        "s => { const at = document.querySelector(s).getBoundingClientRect().top + scrollY;"
        " scrollTo({top: at - 95, behavior: 'instant'}); }",
        top,
    )
    page.wait_for_timeout(1500)
    with Image.open(io.BytesIO(page.screenshot())) as picture:
        small = picture.convert("RGB").quantize(colours, dither=Image.Dither.NONE)
        small.save(Path(SHOTS) / name, optimize=True)
