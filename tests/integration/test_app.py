"""The page, served in this process and called over HTTP."""

from __future__ import annotations

import json
import zipfile
from collections.abc import Iterator
from pathlib import Path

import httpx
import numpy as np
import pytest
from gradio_client import Client, handle_file
from gradio_client.exceptions import AppError
from PIL import Image
from space_page import page
from tiny import film, png

from lungsynth import RESEARCH_NOTICE
from space.draw import actions, limits
from space.draw.model import MODEL_VARIABLE, model_state
from space.draw.tuning import tuning_of
from space.page import text

pytestmark = [
    # it counts its answers with pandas calls that are to go
    pytest.mark.filterwarnings("ignore:The copy keyword is deprecated"),
    pytest.mark.filterwarnings("ignore:.future.no_silent_downcasting"),
]

PROMPT = "Chest X-ray with pneumonia, zebra"


@pytest.fixture(scope="module")
def uploads(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return tmp_path_factory.mktemp("gradio")


@pytest.fixture(scope="module")
def address(checkpoint: Path, uploads: Path) -> Iterator[str]:
    """Where the page is served from the tiny checkpoint."""
    with page(checkpoint, uploads) as url:
        yield url


@pytest.fixture(scope="module")
def client(address: str, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Client]:
    one = Client(
        address,
        verbose=False,
        download_files=tmp_path_factory.mktemp("files"),
        analytics_enabled=False,
    )
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
    image, mask, overlay, *_ = answer
    assert picture(image).mode == "L" and picture(image).size == (64, 64)
    assert picture(mask).mode == "L" and set(np.unique(picture(mask))) <= {0, 1, 2}
    assert picture(overlay).mode == "RGB"


def test_the_x_ray_carries_the_synthetic_mark(answer):
    assert "trainedAlgorithmicMedia" in picture(answer[0]).info["XML:com.adobe.xmp"]


def test_the_zip_holds_what_was_answered(answer):
    with zipfile.ZipFile(answer[4]) as archive:
        assert {"image.png", "mask.png", "map_pneumonia.png", "record.json"} <= set(
            archive.namelist()
        )
        assert archive.read("image.png") == Path(answer[0]).read_bytes()
        assert json.loads(archive.read("record.json")) == answer[3]
    assert answer[3]["seed"] == 3 and answer[3]["options"]["steps"] == 2
    assert answer[3]["notice"] == RESEARCH_NOTICE


def test_the_same_request_gives_the_same_bytes(client, answer):
    again = client.predict(PROMPT, 3, 2, 3.0, api_name="/generate")
    assert Path(again[4]).read_bytes() == Path(answer[4]).read_bytes()


def test_the_method_of_the_mask_can_be_chosen(client):
    record = client.predict(PROMPT, 3, 2, 3.0, "none", api_name="/generate")[3]
    assert record["refine"]["method"] == "none"
    with pytest.raises(AppError, match="needs an affinity network"):
        client.predict(PROMPT, 3, 2, 3.0, "cross", api_name="/generate")


def test_whatever_a_link_can_say_can_be_asked_for(client):
    settings = "size=128x64&method=none&min_part=0.1&scheduler=euler"
    image, mask, _, record, *_ = client.predict(
        PROMPT, 3, 2, 3.0, "", settings, api_name="/generate"
    )
    assert picture(image).size == picture(mask).size == (128, 64)
    assert record["refine"]["min_part"] == 0.1 and record["refine"]["method"] == "none"
    assert record["options"]["scheduler"] == "euler"
    with pytest.raises(AppError, match="`settings` names 'colour'; there are size"):
        client.predict(PROMPT, 3, 2, 3.0, "", "colour=red", api_name="/generate")


def test_a_film_is_segmented_and_nothing_of_it_stays(client, uploads, tmp_path):
    path = tmp_path / "Doe_Jane.png"
    path.write_bytes(png(film(2)[0]))
    mask, archive, summary, notes = client.predict(handle_file(path), api_name="/segment")
    assert picture(mask).size == (112, 96) and summary and isinstance(notes, list)
    with zipfile.ZipFile(archive) as file:
        assert "Doe" not in file.read("record.json").decode()
    assert not [one for one in uploads.rglob("*Doe*") if one.is_file()]


def test_a_file_that_is_no_film_is_refused_without_its_place(client, uploads, tmp_path):
    path = tmp_path / "Doe_Jane.png"
    path.write_bytes(b"nothing")
    with pytest.raises(AppError, match="The file: not a picture") as caught:
        client.predict(handle_file(path), api_name="/segment")
    assert str(uploads) not in str(caught.value) and "Doe" not in str(caught.value)


def test_words_and_sentences_over_the_api(client):
    found = client.predict(PROMPT, api_name="/words")
    assert found["unknown"] == ["zebra"] and "chest" in found["known"]
    written = client.predict("PA", 60, "man", "pneumonia", "right lung", api_name="/write")
    assert written == "Frontal PA chest X-ray of a 60-year-old man with pneumonia in the right lung"
    with pytest.raises(AppError, match="expected one of AP, PA"):
        client.predict("lateral", api_name="/write")


@pytest.mark.parametrize(
    ("values", "message"),
    [
        ((" ", 0, 2, 3.0), "The prompt is empty. Describe the film"),
        (("zebra", 0, 2, 3.0), "No word of 'zebra' was seen in training"),
        (("chest " * 2000, 0, 2, 3.0), "at most 2,000 are read"),
        ((PROMPT, None, 2, 3.0), "`seed` is None; expected a whole number"),
        ((PROMPT, 0, -4, 3.0), "`steps` is -4; expected a whole number from 1 to 100"),
        ((PROMPT, 0, 2, 3.0, "magic"), "Refinement 'magic' is unknown"),
    ],
)
def test_a_mistake_is_told_in_a_plain_sentence(client, caplog, values, message):
    with pytest.raises(AppError, match=message):
        client.predict(*values, api_name="/generate")
    assert "zebra" not in caplog.text and "Traceback" not in caplog.text


def test_what_is_not_our_error_is_bland_and_logged_without_the_prompt(client, monkeypatch, caplog):
    def broken(*_, **__):
        raise RuntimeError(f"broken by {PROMPT}")

    monkeypatch.setattr(actions, "make_study", broken)
    with pytest.raises(AppError, match=r"Something went wrong on our side"):
        client.predict(PROMPT, 3, 2, 3.0, api_name="/generate")
    assert "unexpected RuntimeError" in caplog.text and "zebra" not in caplog.text


def test_a_visitor_who_asks_too_often_is_told(client, monkeypatch):
    from space.page import handlers

    monkeypatch.setattr(handlers, "RATE", limits.RateLimit(1, 600))
    monkeypatch.setattr(limits, "visitor_of", lambda *_: "somebody")
    client.predict(PROMPT, 3, 1, 1.0, api_name="/generate")
    with pytest.raises(AppError, match="Try again in"):
        client.predict(PROMPT, 3, 1, 1.0, api_name="/generate")


def test_visitors_at_once_get_their_own_pictures(address, answer):
    visitors = [Client(address, verbose=False, analytics_enabled=False) for _ in range(2)]
    jobs = [
        (seed, who.submit(PROMPT, seed, 2, 3.0, api_name="/generate"))
        for seed in range(3)
        for who in visitors
    ]
    for seed, job in jobs:
        assert job.result()[3]["seed"] == seed
    for who in visitors:
        who.close()


def test_the_page_says_what_it_is_and_asks_nothing_of_other_machines(address):
    config = httpx.get(f"{address}config").json()
    assert any(RESEARCH_NOTICE in str(c["props"].get("value")) for c in config["components"])
    assert config["analytics_enabled"] is False
    named = httpx.get(f"{address}gradio_api/info").json()["named_endpoints"]
    assert set(named) == {"/generate", "/segment", "/words", "/write"}
    for one in named.values():
        assert one["description"] and all(p["type"] for p in one["parameters"])
    assert "Synthetic image, research only" in named["/generate"]["description"]
    paths = httpx.get(f"{address}gradio_api/openapi.json").json()["paths"]
    for name in named:
        assert any(path.endswith(name) for path in paths)
    page = httpx.get(address).text
    assert "fonts.googleapis.com" not in page


def test_the_queue_is_bounded_and_the_model_is_one_at_a_time(address):
    from space.page.ui import build_demo

    demo = build_demo()
    drawing = [fn for fn in demo.fns.values() if fn.concurrency_id == "model"]
    assert {fn.name for fn in drawing} == {
        "draw",
        "draw_next",
        "read_films",
        "read_sample",
        "generate",
        "segment",
    }
    assert min(fn.concurrency_limit for fn in drawing if isinstance(fn.concurrency_limit, int)) == 1
    assert limits.WaitingRoom().n == 24 < demo._queue.max_size
    assert demo.get_config_file()["connect_heartbeat"] is False  # an idle tab keeps no connection


def test_a_missing_model_is_said_on_the_page(monkeypatch, tmp_path):
    monkeypatch.setenv(MODEL_VARIABLE, str(tmp_path / "none"))
    from space.page.opening import report_words

    assert "could not be loaded" in text.model_line(model_state())
    assert report_words(PROMPT) == ""


def test_controls_of_the_mask_start_at_the_programs_own_values(address):
    from lungsynth.masks.refine import RefineConfig
    from space.page.ui import build_demo

    demo = build_demo()
    event = next(fn for fn in demo.fns.values() if fn.name == "remask")
    values = [component.value for component in event.inputs[2:]]
    assert tuning_of(values).config(RefineConfig()) == RefineConfig()


def test_a_gpu_is_borrowed_for_as_long_as_the_drawing_needs():
    from space.page.handlers import seconds

    assert seconds("chest", 0, 20, 1.5, 1) == 9 < seconds("chest", 0, 100, 1.5, 4) <= 60
    assert seconds("chest", 0, 100, 1.5, "", "", None) == seconds("chest", 0, 100, 1.5, 1) == 14
    assert seconds("chest", 0, None) == seconds("chest", 0, "many") == 10
