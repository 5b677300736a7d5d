"""The page, served in this process and called over HTTP."""

from __future__ import annotations

import gc
import warnings
import zipfile
from collections.abc import Iterator
from pathlib import Path

import httpx
import numpy as np
import pytest
from gradio_client import Client
from gradio_client.exceptions import AppError
from PIL import Image

from lungsynth import RESEARCH_NOTICE
from space import actions, text

# gradio makes event loops for its locks and leaves them, with their socket pairs, to the collector
pytestmark = [
    pytest.mark.filterwarnings("ignore:unclosed event loop:ResourceWarning"),
    pytest.mark.filterwarnings("ignore:unclosed <socket.socket fd=.*family=1,:ResourceWarning"),
]

PROMPT = "Chest X-ray with pneumonia, zebra"


@pytest.fixture(scope="module")
def address(checkpoint: Path, tmp_path_factory: pytest.TempPathFactory) -> Iterator[str]:
    """Where the page is served from the tiny checkpoint."""
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv(actions.MODEL_VARIABLE, str(checkpoint))
        patch.setenv("GRADIO_TEMP_DIR", str(tmp_path_factory.mktemp("gradio")))
        from space.ui import build_demo, launch

        demo = build_demo()
        _, url, _ = launch(demo, prevent_thread_lock=True, quiet=True)
        yield url
        demo.close()
        with warnings.catch_warnings():
            warnings.simplefilter("ignore", ResourceWarning)
            gc.collect()  # what gradio left, so that no later test meets it


@pytest.fixture(scope="module")
def client(address: str, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Client]:
    one = Client(address, verbose=False, download_files=tmp_path_factory.mktemp("files"),
                 analytics_enabled=False)  # fmt: skip
    yield one
    one.close()


@pytest.fixture(scope="module")
def answer(client: Client) -> tuple:
    return client.predict(PROMPT, 3, 2, 3.0, api_name="/generate")


def picture(path: str) -> Image.Image:
    with Image.open(path) as image:
        image.load()
        assert image.format == "PNG"
        return image


def test_pictures_are_png_of_the_right_size(answer):
    _, image, maps, coarse, refined, *_ = answer
    assert picture(image).mode == "L" and picture(image).size == (64, 64)
    assert [one["caption"] for one in maps][:2] == ["chest", "pneumonia"]
    for path in (coarse, refined, *(one["image"] for one in maps)):
        assert picture(path).size == (64, 64) and picture(path).mode == "RGB"


def test_the_x_ray_carries_the_synthetic_mark(answer):
    assert "trainedAlgorithmicMedia" in picture(answer[1]).info["XML:com.adobe.xmp"]


def test_the_zip_holds_what_the_page_shows(answer):
    with zipfile.ZipFile(answer[7]) as archive:
        assert {"image.png", "mask.png", "record.json"} <= set(archive.namelist())
        with archive.open("image.png") as file, Image.open(file) as image:
            assert np.array_equal(np.asarray(image), np.asarray(picture(answer[1])))


def test_numbers_and_words_are_told(answer):
    status, *_, table, summary, _, words = answer
    assert "Done: seed 3" in status and "left lung" in table and "stability" in summary
    assert "✗</span> zebra" in words


def test_steps_are_streamed(client):
    job = client.submit(PROMPT, 3, 4, 3.0, api_name="/generate")
    job.result()
    assert any("Step 1 of 4" in str(output[0]) for output in job.outputs())


@pytest.mark.parametrize(
    ("values", "message"),
    [((" ", 0, 2, 3.0), "The prompt is empty. Describe the film"),
     (("zebra", 0, 2, 3.0), "No word of 'zebra' was seen in training"),
     ((PROMPT, None, 2, 3.0), "`seed` is None; expected a whole number")],
)  # fmt: skip
def test_a_mistake_is_told_in_a_plain_sentence(client, values, message):
    with pytest.raises(AppError, match=message):
        client.predict(*values, api_name="/generate")


def test_what_is_not_our_error_is_bland_and_logged_without_the_prompt(client, monkeypatch, caplog):
    def broken(*_):
        raise RuntimeError(f"broken by {PROMPT}")

    monkeypatch.setattr(actions, "describe", broken)
    with pytest.raises(AppError, match=r"Something went wrong on our side"):
        client.predict(PROMPT, 3, 2, 3.0, api_name="/generate")
    assert "unexpected RuntimeError" in caplog.text and "zebra" not in caplog.text


def test_the_page_says_what_it_is_and_asks_nothing_of_other_machines(address):
    config = httpx.get(f"{address}config").json()
    assert any(RESEARCH_NOTICE in str(c["props"].get("value")) for c in config["components"])
    assert config["analytics_enabled"] is False
    named = httpx.get(f"{address}gradio_api/info").json()["named_endpoints"]
    assert list(named) == ["/generate"]
    assert "Synthetic image, research only" in named["/generate"]["description"]
    page = httpx.get(address).text
    assert "fonts.googleapis.com" not in page


def test_a_missing_model_is_said_on_the_page(monkeypatch, tmp_path):
    monkeypatch.setenv(actions.MODEL_VARIABLE, str(tmp_path / "none"))
    from space.ui import report_words

    assert "could not be loaded" in text.model_line(actions.model_state())
    assert report_words(PROMPT) == ""
