"""What tests of the page share: waiting, reading, pictures of it."""

from __future__ import annotations

import base64
import io
import os
import re
import zipfile
from pathlib import Path
from typing import Any

from PIL import Image

SHOTS = os.environ.get("LUNGSYNTH_SHOTS")  # a folder for screenshots


def ready(page: Any) -> None:
    """Wait until the page has its model, and the first picture is there."""
    page.get_by_text("Words the model knows:").wait_for()
    page.wait_for_function(
        "document.querySelector('#ls-viewer canvas')?.getAttribute('aria-label').length > 30"
    )


def drawn(page: Any, seed: int) -> None:
    """Wait until everything of a picture is shown."""
    page.get_by_text(re.compile(rf"Done: seeds? {seed}")).wait_for()
    page.wait_for_function(f"location.search.includes('seed={seed}')")
    page.locator("#ls-zip:not([disabled])").first.wait_for()


def said(page: Any) -> str:
    """The alternative text of the large picture."""
    return str(page.locator("#ls-viewer canvas").first.get_attribute("aria-label"))


def stage(page: Any, name: str) -> None:
    """Go to a stage of the viewer, and wait until it is drawn."""
    page.locator("#ls-viewer .lv-stops button", has_text=name).click()
    page.locator("#ls-viewer .lv-stops [aria-current=step]", has_text=name).wait_for()


def taken_away(page: Any) -> dict[str, bytes]:
    """Every file of the page's ZIP as it is now."""
    with page.expect_download() as download:
        page.locator("#ls-zip").click()
    with zipfile.ZipFile(download.value.path()) as archive:
        return {name: archive.read(name) for name in archive.namelist()}


def pixels(page: Any) -> bytes:
    """The large picture as PNG, as the browser shows it."""
    data = page.evaluate("document.querySelector('#ls-viewer canvas').toDataURL()")
    return base64.b64decode(data.partition(",")[2])


def shot(page: Any, name: str, *, whole: bool = False, most: int = 290_000) -> None:
    """A picture of what is seen, of `most` bytes: with fewer colours where it needs them."""
    if not SHOTS:
        return
    page.wait_for_timeout(800)
    with Image.open(io.BytesIO(page.screenshot(full_page=whole))) as picture:
        seen, path = picture.convert("RGB"), Path(SHOTS) / name
        seen.save(path, optimize=True)
        if path.stat().st_size > most:
            seen.quantize(256, dither=Image.Dither.NONE).save(path, optimize=True)


def set_number(page: Any, label: str, value: str) -> None:
    field = page.get_by_label(label, exact=True).first
    field.fill(value)
    field.press("Tab")


def advanced(page: Any) -> None:
    """Open what is folded, unless it is open."""
    if not page.get_by_label("number input for Steps", exact=True).first.is_visible():
        page.get_by_role("button", name="Advanced").click()


def steps(page: Any, value: int) -> None:
    advanced(page)
    set_number(page, "number input for Steps", str(value))
