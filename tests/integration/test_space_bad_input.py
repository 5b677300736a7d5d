"""Whatever is sent, the page answers with a plain sentence, and its log gets a short line at most.

The page is a program of its own, spoken to over raw HTTP, so that nothing on the client's side tidies
up what is sent.
"""

from __future__ import annotations

import io
import json
import re
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import httpx
import numpy as np
import pytest
from bad_films import animated, bomb, with_alpha
from browser_server import serve
from dicoms import PATIENT, write_dicom
from PIL import Image
from tiny import film, png

from space.page.text import UNREADABLE

CHEST = "Chest X-ray with pneumonia"
RIGHT_TO_LEFT = "أشعة الصدر"
HTTP = httpx.Client(verify=False)  # reads no certificates; the page is on this machine


@pytest.fixture(scope="module")
def page(checkpoint: Path, tmp_path_factory: pytest.TempPathFactory) -> Iterator[tuple[str, Path]]:
    """Address, and the folder of its log and temporary files."""
    folder = tmp_path_factory.mktemp("bad-input")
    server, url = serve(folder, LUNGSYNTH_MODEL=str(checkpoint))
    yield url, folder
    server.terminate()
    server.wait(timeout=60)
    log = (folder / "log.txt").read_text()
    for never in (
        "Traceback",
        "Exception",
        PATIENT,
        "zebra",
        "alert",
        RIGHT_TO_LEFT,
        "Doe_Jane",
        "passwd",
    ):
        assert never not in log
    assert max(map(len, log.splitlines())) < 120


def call(url: str, name: str, body: str) -> tuple[bool, Any]:
    """(whether it was refused, the words or the values) of an endpoint for a raw JSON body."""
    began = time.monotonic()
    head = {"content-type": "application/json"}
    asked = HTTP.post(f"{url}gradio_api/call/{name}", content=body, headers=head, timeout=60)
    if asked.status_code != 200:
        return True, asked.json()["detail"]
    event = asked.json()["event_id"]
    lines = HTTP.get(f"{url}gradio_api/call/{name}/{event}", timeout=300).text.splitlines()
    assert time.monotonic() - began < 300
    kinds = [line.removeprefix("event: ") for line in lines if line.startswith("event:")]
    data = [json.loads(line.removeprefix("data: ")) for line in lines if line.startswith("data:")]
    return kinds[-1] == "error", data[-1]["error"] if kinds[-1] == "error" else data[-1]


@pytest.mark.parametrize(
    ("values", "said"),
    [
        (["", 0, 2, 3.0, "", ""], "The prompt is empty. Describe the film"),
        ([" \n\t ", 0, 2, 3.0, "", ""], "The prompt is empty. Describe the film"),
        (["chest " * 1667, 0, 2, 3.0, "", ""], "at most 2,000 are read"),
        (["<script>alert()</script>", 0, 2, 3.0, "", ""], "No word of"),
        (["javascript:alert()", 0, 2, 3.0, "", ""], "No word of"),
        (["🫁🩻", 0, 2, 3.0, "", ""], "No word of"),
        ([RIGHT_TO_LEFT, 0, 2, 3.0, "", ""], "No word of"),
        (["Röntgenbild der Lunge", 0, 2, 3.0, "", ""], "No word of"),
        ([None, 0, 2, 3.0, "", ""], "The prompt is empty|not a text"),
        ([CHEST, None, 2, 3.0, "", ""], "`seed` is None; expected a whole number"),
        ([CHEST, float("nan"), 2, 3.0, "", ""], UNREADABLE),
        ([CHEST, float("inf"), 2, 3.0, "", ""], UNREADABLE),
        ([CHEST, "seven", 2, 3.0, "", ""], UNREADABLE),
        ([CHEST, {"a": 1}, 2, 3.0, "", ""], UNREADABLE),
        ([CHEST, -1, 2, 3.0, "", ""], "`seed` is -1; expected a whole number from 0"),
        ([CHEST, 2**60, 2, 3.0, "", ""], "expected a whole number from 0"),
        ([CHEST, 0, -4, 3.0, "", ""], "`steps` is -4; expected a whole number from 1 to 100"),
        ([CHEST, 0, 10**9, 3.0, "", ""], "expected a whole number from 1 to 100"),
        ([CHEST, 0, 2, float("nan"), "", ""], "`guidance` is nan; expected a number from 1 to 20"),
        ([CHEST, 0, 2, -3, "", ""], "`guidance` is -3"),
        ([CHEST, 0, 2, 3.0, "zebra", ""], "Refinement 'zebra' is unknown"),
        ([CHEST, 0, 2, 3.0, "", "size=9999999"], "size|pixels"),
        ([], UNREADABLE),
    ],
)
def test_a_drawing_that_cannot_be_is_refused_in_a_sentence(page, values, said):
    refused, words = call(page[0], "generate", json.dumps({"data": values}))
    assert refused, words
    assert re.search(re.escape(said) if said == UNREADABLE else said, words), words
    assert "Traceback" not in words and "<class" not in words and len(words) < 400


def test_what_was_typed_comes_back_as_text_and_never_as_markup(page):
    refused, found = call(
        page[0], "words", json.dumps({"data": ["<img src=x onerror=alert(1)> zebra"]})
    )
    assert not refused and "zebra" in found[0]["unknown"]


@pytest.mark.parametrize("body", ["", "{", "[]", '{"data": 3}', '{"data": ["chest"'])
def test_a_body_that_is_no_request_is_refused(page, body):
    answer = HTTP.post(
        f"{page[0]}gradio_api/call/generate",
        content=body,
        headers={"content-type": "application/json"},
    )
    assert answer.status_code == 422


def segment(url: str, name: str, data: bytes) -> tuple[bool, Any]:
    sent = HTTP.post(f"{url}gradio_api/upload", files={"files": (name, data)}, timeout=60)
    path = sent.raise_for_status().json()[0]
    body = {"data": [{"path": path, "orig_name": name, "meta": {"_type": "gradio.FileData"}}]}
    return call(url, "segment", json.dumps(body))


def deep() -> bytes:
    buffer = io.BytesIO()
    Image.fromarray(film(1)[0].astype(np.uint16) * 200).save(buffer, "PNG")
    return buffer.getvalue()


@pytest.mark.parametrize(
    ("name", "data", "said"),
    [
        ("Doe_Jane.png", b"hello", "The file: not a picture that can be read"),
        ("a.jpg", b"\xff\xd8\xff\xe0junk", "not a picture|damaged or cut short"),
        ("a.png", png(film(0)[0])[:200], "damaged or cut short"),
        ("a.png", bomb(), "far too large to be a film|pixels; at most"),
        ("a.png", animated(), "2 pages; expected one film"),
        ("a.png", png(np.zeros((8, 8), np.uint8)), "8x8 pixels .* at least 32"),
        ("a.dcm", b"no DICOM at all", "DICOM"),
    ],
)
def test_a_file_that_is_no_film_is_refused_in_a_sentence(page, name, data, said):
    refused, words = segment(page[0], name, data)
    assert refused and re.search(said, words), words
    assert str(page[1]) not in words and "Doe" not in words


@pytest.mark.parametrize(
    ("data", "warned"),
    [
        (deep(), None),
        (with_alpha(), None),
        (png(np.random.default_rng(0).integers(0, 255, (80, 80, 3), dtype=np.uint8)), "coloured"),
    ],
)
def test_an_odd_picture_is_read_and_warned_of(page, data, warned):
    refused, found = segment(page[0], "a.png", data)
    assert not refused, found
    assert warned is None or any(warned in one for one in found[3])


def test_of_a_dicom_film_the_tags_are_dropped_and_burned_in_text_is_warned_of(page, tmp_path):
    pixels = film(1)[0].astype(np.uint16) * 16
    path = write_dicom(tmp_path / "Doe_Jane.dcm", pixels, BurnedInAnnotation="YES")
    refused, found = segment(page[0], "Doe_Jane.dcm", path.read_bytes())
    assert not refused, found
    assert any("BurnedInAnnotation" in one for one in found[3])
    for file in found[:2]:
        kept = HTTP.get(file["url"]).content
        assert PATIENT.encode() not in kept and b"4711" not in kept and b"Doe" not in kept
    assert not [one for one in page[1].rglob("*Doe_Jane*") if one.is_file()]


@pytest.mark.parametrize("path", ["/etc/passwd", "http://127.0.0.1:1/passwd", "../app.py", None])
def test_what_was_not_uploaded_is_not_read(page, path):
    sent = {"path": path, "meta": {"_type": "gradio.FileData"}} if path else 7
    refused, words = call(page[0], "segment", json.dumps({"data": [sent]}))
    assert refused and words == UNREADABLE


def test_no_file_is_told(page):
    refused, words = call(page[0], "segment", json.dumps({"data": [None]}))
    assert refused and words == "No file was sent; expected PNG, JPEG, TIFF, BMP or DICOM."


def test_a_file_beyond_the_limit_is_not_taken(page):
    files = {"files": ("a.png", bytes(51_000_000))}
    sent = HTTP.post(f"{page[0]}gradio_api/upload", files=files, timeout=120)
    assert sent.status_code == 413


def test_an_empty_file_is_told(page):
    refused, words = segment(page[0], "a.png", b"")
    assert refused and "not a picture that can be read" in words
