"""The page in a real browser: the shipped checkpoint served by `app.py`, Chromium driven by Playwright."""

from __future__ import annotations

import shutil
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest
from browser_server import seconds_of_a_drawing, serve

ARGUMENTS = [
    "--no-sandbox",
    "--disable-gpu",
    "--disable-background-networking",
    "--disable-component-update",
    "--disable-sync",
]


LEAVING = ("AbortError", "Connection errored out")
"""What Gradio says when a page is left while it is told something."""


@pytest.fixture(scope="session")
def served(tmp_path_factory: pytest.TempPathFactory) -> Iterator[tuple[str, Path]]:
    """Address of the page, and the folder of its log and temporary files."""
    folder = tmp_path_factory.mktemp("served")
    page, address = serve(folder)
    yield address, folder
    page.terminate()
    page.wait(timeout=60)


@pytest.fixture(scope="session")
def patience(served: tuple[str, Path]) -> float:
    """Milliseconds to wait for anything: hundreds of drawings, as long as they take on this machine now.

    A wait that is this long has failed; how quick the page is, `python -m benchmarks.space_timing` says.
    """
    seconds_of_a_drawing(served[0])  # its model is loaded
    return max(300_000.0, 200_000 * seconds_of_a_drawing(served[0]))


@pytest.fixture(scope="session")
def browser() -> Iterator[Any]:
    """Chromium; skipped where it or Playwright is not installed."""
    api = pytest.importorskip("playwright.sync_api", reason="pip install playwright")
    program = shutil.which("chromium") or shutil.which("chromium-browser")
    if program is None:
        pytest.skip("no chromium: apt-get install chromium")
    with api.sync_playwright() as playwright:
        one = playwright.chromium.launch(executable_path=program, args=ARGUMENTS)
        yield one
        one.close()


@pytest.fixture
def open_page(
    browser: Any, served: tuple[str, Path], patience: float
) -> Iterator[Callable[..., Any]]:
    """Open the page in a context of its own; at the end nothing foreign was asked, nothing complained."""
    contexts, foreign, complaints = [], [], []

    def call(
        query: str = "", *, width: int = 1440, height: int = 900, at: str = "", **options: Any
    ) -> Any:
        context = browser.new_context(viewport={"width": width, "height": height}, **options)
        contexts.append(context)
        context.set_default_timeout(patience)
        page = context.new_page()
        page.on("request", lambda r: foreign.append(r.url) if not local(r.url) else None)
        page.on(
            "console",
            lambda m: (
                complaints.append(m.text)
                if m.type == "error" and not any(one in m.text for one in LEAVING)
                else None
            ),
        )
        page.on("pageerror", lambda e: complaints.append(str(e)))
        page.goto((at or served[0]) + query)
        return page

    yield call
    for context in contexts:
        context.close()
    assert foreign == [] and complaints == []


def local(url: str) -> bool:
    return url.startswith(("http://127.0.0.1:", "data:", "blob:"))
