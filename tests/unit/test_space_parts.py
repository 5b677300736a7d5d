"""Prompts from controls, links, limits, a visitor's film, the gallery: without a browser."""

from __future__ import annotations

import io
import json
import shutil
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

from lungsynth.about.figures import Figure, write_figures
from lungsynth.errors import ConfigError, DataError, LungSynthError
from lungsynth.model.measured import Measured
from space.draw import compose, limits, upload
from space.draw.model import MODEL_VARIABLE, measured, synthesizer
from space.page import gallery, opening, text


@pytest.fixture(autouse=True)
def _tiny_model(checkpoint: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv(MODEL_VARIABLE, str(checkpoint))


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


def test_the_heart_is_in_no_lung():
    asked = compose.Controls("PA", 60, "man", ("cardiomegaly",), "left lung")
    assert (
        compose.sentence(asked) == "Frontal PA chest X-ray of a 60-year-old man with cardiomegaly"
    )


def test_only_what_the_checkpoint_obeys_comes_by_chance():
    known = Measured(obeys={"side": False, "findings": ["pneumonia"]})
    for _ in range(40):
        controls, _ = compose.surprise(known)
        assert not controls.side and controls.findings[0] in ("no finding", "pneumonia")


def test_the_page_offers_a_side_only_where_the_checkpoints_figures_say_it_is_obeyed(
    checkpoint, tmp_path, monkeypatch
):
    folder = shutil.copytree(checkpoint, tmp_path / "checkpoint")
    monkeypatch.setenv(MODEL_VARIABLE, str(folder))
    shown = {}
    for share in (0.45, 0.2, 0.8):
        ends = {"low": share - 0.1, "high": share + 0.1, "chance": 0.5}
        write_figures(
            folder,
            [Figure(kind="obedience", name="side", value=share, n=100, command="-", **ends)],
        )
        *_, side = opening._offered()
        shown[share] = side["visible"]
        drawn = {compose.surprise(measured())[0].side for _ in range(60)}
        assert bool(drawn - {""}) == (share == 0.8)
    assert shown == {0.45: False, 0.2: False, 0.8: True}


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
    with zipfile.ZipFile(io.BytesIO(upload.archive([reading]))) as file:
        assert set(file.namelist()) == {"mask.png", "overlay.png", "record.json"}
        record = file.read("record.json").decode()
        mask = np.asarray(Image.open(io.BytesIO(file.read("mask.png"))))
    assert mask.shape == (96, 120) and np.array_equal(mask, reading.mask)
    assert "Doe_Jane" not in record and json.loads(record)["synthetic"] is False
    page = text.film_notes([reading], upload.archive([reading]))
    assert "Doe_Jane" not in page and "120 × 96 pixels" in page and "Not for" in page


def test_several_films_keep_their_names_and_are_compared_by_rule(tmp_path):
    pictures = [uploaded(tmp_path, f"{n}.png", png(film(n)[0])) for n in (1, 2)]
    names = upload.names_of(["/a/x.png", "/b/x.png", "/b/y.png"])
    assert names == ["x.png", "x.png (2)", "y.png"]
    copies = ["/a/film (1).png", "/b/film (1).png", "/c/x", "/d/x (2)", "/e/x"]
    told = ["film (1).png", "film (1).png (2)", "x", "x (2)", "x (3)"]
    assert upload.names_of(copies) == told
    first = upload.segment(pictures[0], name=names[0], compare=True)
    second = upload.segment(pictures[1], name=names[1])
    assert [name for name, _ in first.rules] == ["none", "crf"] and second.rules == ()
    assert np.array_equal(dict(first.rules)["crf"], first.mask)
    assert [name for name, _, _ in first.stages] == ["Threshold", "Mask"]
    with zipfile.ZipFile(io.BytesIO(upload.archive([first, second]))) as file:
        assert "x.png/mask.png" in file.namelist() and "x.png (2)/record.json" in file.namelist()
    notes = text.film_notes([first, second], b"")
    assert "<h2>x.png</h2>" in notes and "<h2>x.png (2)</h2>" in notes


def test_of_a_dicom_file_only_pixels_are_taken(tmp_path, caplog):
    pixels = film(1)[0].astype(np.uint16) * 16
    path = write_dicom(tmp_path / "a.dcm", pixels, BurnedInAnnotation="YES")
    reading = upload.segment(path)
    assert not path.exists()
    assert any("BurnedInAnnotation" in one for one in reading.warnings)
    packed = upload.archive([reading])
    everything = packed + text.film_notes([reading], packed).encode() + caplog.text.encode()
    assert PATIENT.encode() not in everything and b"4711" not in everything


def test_a_film_of_sixteen_bits_is_read(tmp_path):
    deep = film(1)[0].astype(np.uint16) * 200
    buffer = io.BytesIO()
    Image.fromarray(deep).save(buffer, "PNG")
    assert (
        upload.segment(uploaded(tmp_path, "deep.png", buffer.getvalue())).mask.shape
        == film(1)[0].shape
    )


def test_a_photo_is_warned_of(tmp_path):
    photo = np.random.default_rng(0).integers(0, 255, (80, 80, 3), dtype=np.uint8)
    reading = upload.segment(uploaded(tmp_path, "photo.png", png(photo)))
    assert any("coloured" in one for one in reading.warnings)
    assert "Warning: coloured" in text.film_notes([reading], b"")


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
    monkeypatch.setattr(gallery, "CHOSEN", (("Chest X-ray, pneumonia", 1),))
    out = tmp_path / "out"
    monkeypatch.setattr(sys, "argv", ["gallery", "--out", str(out), "--steps", "3"])
    with pytest.raises(SystemExit) as done:
        gallery.main()
    assert done.value.code == 0
    [one] = gallery.load(out)
    assert one.weights == synthesizer().model_hash and one.steps == 3
    [item] = gallery.value(out)["items"]
    titles = ["Noise", "Step 2 of 3", "Where the words look", "Reading", "Threshold", "CRF", "Mask"]
    assert [frame["title"] for frame in item["frames"]] == titles
    assert item["caption"] == one.prompt and [rule["name"] for rule in item["rules"]] == [
        "none",
        "crf",
    ]
    with Image.open(out / gallery.CARD) as card:
        assert card.size == (1200, 630)
    (out / gallery.INDEX).write_text("{")
    assert gallery.load(out) == [] == gallery.load(tmp_path / "none")
    assert gallery.value(out) is None


def test_the_shipped_gallery_is_whole():
    assert len(gallery.load()) == len(gallery.CHOSEN)
    for item in gallery.value()["items"]:
        assert {"Noise", "Words", "Mask"} <= {frame["group"] for frame in item["frames"]}
        assert item["image"].startswith("data:image/png;base64,")
    assert (gallery.FOLDER / gallery.CARD).stat().st_size < 200_000
    first = gallery.value()["items"][0]  # the page opens with a map that was measured to be right
    [told] = [one["told"] for one in first["words"] if one["word"] == first["word"]]
    assert "is grounded" in told


def test_the_readme_pins_the_gradio_that_is_installed():
    from importlib.metadata import version

    import yaml

    front = yaml.safe_load(
        (Path(__file__).parents[2] / "README.md").read_text().split("---\n", 2)[1]
    )
    assert front["sdk_version"] == version("gradio") and front["app_file"] == "app.py"


def test_every_error_of_the_page_is_one_of_ours():
    assert issubclass(limits.TooManyError, LungSynthError)
