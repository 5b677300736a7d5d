"""What a visitor sees when no more drawings can wait."""

from __future__ import annotations

import json

import pytest
from browser_server import serve

pytestmark = [
    pytest.mark.slow,
    # Playwright's own loop and pipes, closed when Python ends
    pytest.mark.filterwarnings("ignore::ResourceWarning"),
]

FULL = "24 drawings are waiting for their turn, and no more can wait. Yours was not taken."


def test_the_sentence_of_the_full_queue_is_shown(browser, patience, checkpoint, tmp_path):
    server, address = serve(tmp_path, LUNGSYNTH_MODEL=str(checkpoint))
    try:
        context = browser.new_context()
        context.set_default_timeout(patience)
        page = context.new_page()
        page.goto(address)
        page.get_by_text("Words the model knows:").wait_for()
        config = page.request.get(f"{address}config").json()
        draw = next(d["id"] for d in config["dependencies"] if d.get("api_name") == "draw")

        def answer(route) -> None:  # as the server does, see tests/integration/test_space_load.py
            if json.loads(route.request.post_data)["fn_index"] == draw:
                route.fulfill(status=429, json={"detail": FULL}, headers={"Retry-After": "30"})
            else:
                route.continue_()

        page.route("**/queue/join*", answer)
        page.locator("#ls-draw").click()
        page.get_by_text(FULL).first.wait_for()
        page.get_by_text("Not drawn: the message says why.").first.wait_for()
        context.close()
    finally:
        server.terminate()
        server.wait(timeout=60)
