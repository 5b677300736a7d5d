"""Prompts from controls, links, limits, a visitor's film, the gallery: without a browser."""

from __future__ import annotations

import io
import json
import struct
import sys
import zipfile
import zlib
from pathlib import Path

import numpy as np
import pytest
from dicoms import PATIENT, write_dicom
from PIL import Image
from tiny import film, png

from lungsynth.errors import ConfigError, DataError, LungSynthError
from space.draw import actions, compose, limits, upload
from space.page import gallery, lists, text


@pytest.fixture(autouse=True)
def _tiny_model(checkpoint: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv(actions.MODEL_VARIABLE, str(checkpoint))


@pytest.mark.parametrize(
    ("controls", "prompt"),
    [
        (compose.Controls(), "Frontal chest X-ray"),
        (
            compose.Controls("AP", 3, "woman", ("bacterial pneumonia",)),
            "Frontal AP chest X-ray of a 3-year-old child with bacterial pneumonia",
        ),
        (
            compose.Controls("PA", 82, "man", ("pneumonia", "atelectasis"), "right lung"),
            "Frontal PA chest X-ray of an 82-year-old man with pneumonia and atelectasis in the right lung",
        ),
        (
            compose.Controls("", 12, "woman", ("no finding",)),
            "Frontal chest X-ray of a 12-year-old girl, no finding",
        ),
        (
            compose.Controls("", None, "woman", (), "both lungs"),
            "Frontal chest X-ray of a woman, both lungs",
        ),
        (
            compose.Controls("", None, "", ("infiltration",), "both lungs"),
            "Frontal chest X-ray, infiltration in both lungs",
        ),
        (
            compose.Controls("", 40, "", ("no finding", "tuberculosis")),
            "Frontal chest X-ray of a 40-year-old patient with tuberculosis",
        ),
    ],
)
def test_controls_write_the_prompt(controls, prompt):
    assert compose.sentence(controls) == prompt


@pytest.mark.parametrize(
    "controls",
    [
        compose.Controls("lateral"),
        compose.Controls("", float("nan")),
        compose.Controls("", -1),
        compose.Controls("", None, "<b>"),
        compose.Controls("", None, "", ("plague",)),
        compose.Controls("", None, "", (), "left foot"),
    ],
)
def test_controls_that_are_none_of_the_choices_are_refused(controls):
    with pytest.raises(ConfigError, match="expected"):
        compose.sentence(controls)


def test_surprises_can_be_drawn_and_differ():
    found = [compose.surprise() for _ in range(20)]
    assert len({seed for _, seed in found}) == 20
    assert len({compose.sentence(controls) for controls, _ in found}) > 5


def test_a_visitor_may_have_so_many_pictures():
    rate = limits.RateLimit(3, 60)
    for now in (0.0, 1.0):
        rate.check("a", now=now)
    with pytest.raises(limits.TooManyError, match="Try again in 58 seconds"):
        rate.check("a", cost=2, now=2.0)
    rate.check("a", now=2.0)
    rate.check("b", cost=3, now=2.0)
    with pytest.raises(limits.TooManyError):
        rate.check("a", now=3.0)
    rate.check("a", now=60.5)
    for _ in range(99):
        rate.check("")


def test_the_longest_gone_visitor_is_forgotten(monkeypatch):
    monkeypatch.setattr(limits, "MAX_VISITORS", 2)
    rate = limits.RateLimit(1, 60)
    for name in "abc":
        rate.check(name, now=0.0)
    rate.check("a", now=0.0)
    with pytest.raises(limits.TooManyError):
        rate.check("c", now=0.0)


def test_who_asks(monkeypatch):
    forged = {"x-forwarded-for": "1.1.1.1, 2.2.2.2"}
    monkeypatch.delenv("SPACE_ID", raising=False)
    assert limits.visitor_of("127.0.0.1", forged) == ""
    assert limits.visitor_of("10.0.0.7", forged) == "10.0.0.7"
    monkeypatch.setenv("SPACE_ID", "lab/page")
    assert limits.visitor_of("10.0.0.7", forged) == "2.2.2.2"
    assert limits.visitor_of("10.0.0.7", {}) == "10.0.0.7"


def uploaded(folder: Path, name: str, data: bytes) -> Path:
    path = folder / name
    path.write_bytes(data)
    return path


def test_a_film_is_segmented_and_forgotten(tmp_path):
    picture = film(3, height=96, width=120)[0]
    path = uploaded(tmp_path, "Doe_Jane_1950.png", png(picture))
    reading = upload.segment(path)
    assert not path.exists() and list(tmp_path.iterdir()) == []
    with zipfile.ZipFile(io.BytesIO(reading.archive)) as file:
        assert set(file.namelist()) == {"mask.png", "overlay.png", "record.json"}
        record = file.read("record.json").decode()
        assert file.read("mask.png") == reading.mask
    assert np.asarray(Image.open(io.BytesIO(reading.mask))).shape == (96, 120)
    assert "Doe_Jane" not in record and json.loads(record)["synthetic"] is False
    page = text.film(reading)
    assert "Doe_Jane" not in page and "120 × 96 pixels" in page and "Not for" in page


def test_of_a_dicom_file_only_pixels_are_taken(tmp_path, caplog):
    pixels = film(1)[0].astype(np.uint16) * 16
    path = write_dicom(tmp_path / "a.dcm", pixels, BurnedInAnnotation="YES")
    reading = upload.segment(path)
    assert not path.exists()
    assert any("BurnedInAnnotation" in one for one in reading.warnings)
    everything = reading.archive + text.film(reading).encode() + caplog.text.encode()
    assert PATIENT.encode() not in everything and b"4711" not in everything


def test_a_film_of_sixteen_bits_is_read(tmp_path):
    deep = film(1)[0].astype(np.uint16) * 200
    buffer = io.BytesIO()
    Image.fromarray(deep).save(buffer, "PNG")
    assert upload.segment(uploaded(tmp_path, "deep.png", buffer.getvalue())).mask


def test_a_photo_is_warned_of(tmp_path):
    photo = np.random.default_rng(0).integers(0, 255, (80, 80, 3), dtype=np.uint8)
    reading = upload.segment(uploaded(tmp_path, "photo.png", png(photo)))
    assert any("coloured" in one for one in reading.warnings)
    assert "Warning: coloured" in text.film(reading)


def bomb() -> bytes:
    """A PNG of 60000 x 60000 pixels in a few bytes."""

    def chunk(kind: bytes, data: bytes) -> bytes:
        return (
            struct.pack(">I", len(data)) + kind + data + struct.pack(">I", zlib.crc32(kind + data))
        )

    head = struct.pack(">IIBBBBB", 60000, 60000, 8, 0, 0, 0, 0)
    return (
        b"\x89PNG\r\n\x1a\n"
        + chunk(b"IHDR", head)
        + chunk(b"IDAT", zlib.compress(bytes(9)))
        + chunk(b"IEND", b"")
    )


def animated() -> bytes:
    frames = [Image.fromarray(film(seed)[0]) for seed in (0, 1)]
    buffer = io.BytesIO()
    frames[0].save(buffer, "PNG", save_all=True, append_images=frames[1:])
    return buffer.getvalue()


@pytest.mark.parametrize(
    ("name", "data", "message"),
    [
        ("a.png", b"", "not a picture"),
        ("a.png", b"hello", "not a picture"),
        ("a.png", png(film(0)[0])[:200], "damaged or cut short"),
        ("a.png", bomb(), "far too large|pixels; at most"),
        ("a.png", animated(), "2 pages"),
        ("a.png", png(np.zeros((8, 8), np.uint8)), "at least 32"),
        ("a.dcm", b"no", "DICOM"),
        ("a.jpg", b"\xff\xd8\xff\xe0junk", "not a picture|damaged"),
    ],
)
def test_files_that_are_no_film_are_refused_in_words(tmp_path, name, data, message):
    path = uploaded(tmp_path, name, data)
    with pytest.raises(DataError, match=message) as caught:
        upload.segment(path)
    assert str(tmp_path) not in str(caught.value) and not path.exists()


def test_a_file_beyond_the_limit_is_refused_unread(tmp_path, monkeypatch):
    monkeypatch.setattr(upload, "MAX_BYTES", 100)
    with pytest.raises(DataError, match="at most"):
        upload.segment(uploaded(tmp_path, "a.png", png(film(0)[0])))


def test_the_gallery_is_drawn_and_shown(tmp_path, monkeypatch):
    monkeypatch.setattr(gallery, "CHOSEN", (("Chest X-ray, pneumonia", 1, "pneumonia"),))
    monkeypatch.setattr(sys, "argv", ["gallery", "--out", str(tmp_path), "--steps", "2"])
    with pytest.raises(SystemExit) as done:
        gallery.main()
    assert done.value.code == 0
    [one] = gallery.load(tmp_path)
    titles = [
        "X-ray",
        "Map of “pneumonia”",
        "1 Attention",
        "2 Threshold",
        "3 DenseCRF",
        "4 Final",
    ]
    assert [title for title, _ in one.pictures] == titles
    assert one.weights == actions.synthesizer().model_hash and one.steps == 2
    page = lists.cases([one], ["http://x/?prompt=a"], "other")
    assert page.count("<img") == 6 and page.count("alt=") == 6 and "other weights" in page
    (tmp_path / gallery.INDEX).write_text("{")
    assert gallery.load(tmp_path) == [] == gallery.load(tmp_path / "none")
    assert "No gallery was built" in lists.cases([], [], "")


def test_the_shipped_gallery_is_whole():
    shown = gallery.load()
    assert len(shown) == len(gallery.CHOSEN)
    for one in shown:
        assert len(one.pictures) >= 6 and all(
            data.startswith(b"\x89PNG") for _, data in one.pictures
        )


def test_the_readme_pins_the_gradio_that_is_installed():
    from importlib.metadata import version

    import yaml

    front = yaml.safe_load(
        (Path(__file__).parents[2] / "README.md").read_text().split("---\n", 2)[1]
    )
    assert front["sdk_version"] == version("gradio") and front["app_file"] == "app.py"


def test_every_error_of_the_page_is_one_of_ours():
    assert issubclass(limits.TooManyError, LungSynthError)
