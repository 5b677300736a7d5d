"""Films as hospitals and people store them: formats, compressions, headers; and finding them."""

from __future__ import annotations

import struct
from pathlib import Path, PurePosixPath

import numpy as np
import pydicom
import pytest
from dicoms import write_dicom
from encoded import GDCM_NAMES, without_preamble, without_syntax, write_encoded
from odd_films import LEFT_OUT, READ, wide, write_odd_films
from PIL import Image
from tiny import film

from lungsynth.errors import DataError, MissingDependencyError
from lungsynth.films import codestream
from lungsynth.films.data import decode_grey
from lungsynth.films.dicom_pixels import leaves_enough
from lungsynth.films.film import read_film
from lungsynth.films.finding import check_names, search_films
from lungsynth.films.moves import Declared

SYNTAXES = [codestream.RLE, *GDCM_NAMES]


@pytest.fixture(scope="module")
def grey() -> np.ndarray:
    return film(0)[0]  # 96 x 112, not square


def test_every_odd_film_is_read_or_refused_with_its_reason(
    grey: np.ndarray, tmp_path: Path
) -> None:
    expected = write_odd_films(tmp_path, grey)
    assert len(expected) >= 60
    search = search_films([str(tmp_path)])
    left = {str(one.relative): one.reason for one in search.left_out}
    found = {str(one.relative): one.path for one in search.films}
    assert left.keys() | found.keys() == {name for name, _, _ in expected}
    for name, fate, words in expected:
        if fate == LEFT_OUT:
            assert words in left[name], name
        elif fate == READ:
            told = "; ".join(read_film(found[name]).warnings)
            assert words in told and (words or not told), f"{name}: {told}"
        else:
            with pytest.raises((DataError, MissingDependencyError)) as caught:
                read_film(found[name])
            assert words in str(caught.value) and name in str(caught.value), name
    assert search.counts().startswith("1 .gif (not read), 1 .txt (not read), 1 .webp (not read)")


@pytest.mark.parametrize("syntax", SYNTAXES)
def test_lossless_compressions_give_the_same_film(
    syntax: str, grey: np.ndarray, tmp_path: Path
) -> None:
    for pixels in (grey, wide(grey)):
        plain = read_film(write_dicom(tmp_path / "plain.dcm", pixels)).image
        path = write_encoded(tmp_path / "a.dcm", pixels, syntax)
        packed = read_film(path)
        np.testing.assert_array_equal(packed.image, plain)
        assert packed.warnings == ()
        unnamed = read_film(without_syntax(path))
        np.testing.assert_array_equal(unnamed.image, plain)
        assert "does not name its transfer syntax" in unnamed.warnings[0]


@pytest.mark.parametrize("syntax", [codestream.IMPLICIT_LE, codestream.EXPLICIT_LE])
def test_a_bare_data_set_is_a_film(syntax: str, grey: np.ndarray, tmp_path: Path) -> None:
    plain = read_film(write_dicom(tmp_path / "a.dcm", wide(grey), syntax=syntax)).image
    bare = without_preamble(write_dicom(tmp_path / "1.2.3", wide(grey), syntax=syntax))
    assert bare.read_bytes()[:2] == b"\x08\x00"
    np.testing.assert_array_equal(read_film(bare).image, plain)
    assert [one.path.name for one in search_films([str(tmp_path)]).films] == ["1.2.3", "a.dcm"]


@pytest.mark.parametrize(
    "content", [b"", b"\x08\x00", b"hello, world" * 60, bytes(600), b"\x02" * 600, b"\xff" * 600]
)
def test_what_is_no_dicom_is_not_taken_for_it(content: bytes) -> None:
    assert not codestream.looks_like_dicom(content)


def test_missing_damaged_and_undecodable_are_three_answers(
    grey: np.ndarray, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    from pydicom.pixels.decoders import base

    whole = write_encoded(tmp_path / "a.dcm", wide(grey), codestream.JPEG_LOSSLESS_SV1)
    content = bytearray(whole.read_bytes())
    at = content.index(b"\xff\xc4")
    content[at + 4 : at + 40] = b"\xff" * 36  # the Huffman table
    (tmp_path / "b.dcm").write_bytes(bytes(content))
    with pytest.raises(DataError, match="damaged: its compressed pixels") as damaged:
        read_film(tmp_path / "b.dcm")
    assert "gdcm" not in str(damaged.value)

    monkeypatch.setattr(base.Decoder, "is_available", False)
    monkeypatch.setattr(base.DecodeRunner, "iter_decode", None)
    with pytest.raises(MissingDependencyError, match=r"no decoder .*pip install python-gdcm"):
        read_film(whole)


@pytest.mark.parametrize(
    ("tag", "value"), [("PatientOrientation", ["L", "F"]), ("PresentationLUTShape", "IDENTITY")]
)
def test_a_value_of_an_unknown_kind_is_damage(
    grey: np.ndarray, tmp_path: Path, tag: str, value: object
) -> None:
    path = write_dicom(tmp_path / "film.dcm", grey, **{tag: value})
    number = pydicom.datadict.tag_for_keyword(tag)
    head = struct.pack("<HH", number >> 16, number & 0xFFFF) + b"CS"
    data = path.read_bytes()
    assert data.count(head) == 1
    path.write_bytes(data.replace(head, head[:4] + b"C\x16"))
    with pytest.raises(DataError, match=r"film\.dcm: damaged DICOM file"):
        read_film(path)


def test_a_second_page_without_a_size_is_damage(grey: np.ndarray, tmp_path: Path) -> None:
    path, page = tmp_path / "film.tif", Image.fromarray(grey)
    page.save(path, save_all=True, append_images=[page])
    data, width = bytearray(path.read_bytes()), struct.pack("<HH", 256, 4)
    at = data.rindex(width)
    assert data.count(width) == 2
    data[at : at + 2] = struct.pack("<H", 255)
    path.write_bytes(bytes(data))
    with pytest.raises(DataError, match=r"film\.tif: damaged or cut short"):
        read_film(path)


def test_a_window_is_judged_by_what_it_leaves() -> None:
    values = np.linspace(0, 4095, 10_000).reshape(100, 100)
    valid = np.ones((100, 100), bool)

    def kept(low: float, high: float) -> bool:
        return leaves_enough(values, np.clip((values - low) / (high - low), 0, 1), valid)

    assert kept(0, 4095) and kept(1000, 2000) and kept(3000, 9000)
    assert not kept(5000, 6000) and not kept(-900, -10) and not kept(2000, 2100)
    assert leaves_enough(values * 0, values * 0, valid)  # nothing to lose


def test_what_a_dicom_declares_comes_with_the_film(grey: np.ndarray, tmp_path: Path) -> None:
    path = write_dicom(
        tmp_path / "a.dcm",
        grey,
        ViewPosition="AP",
        BodyPartExamined="CHEST",
        PatientOrientation=["R", "F"],
        FieldOfViewHorizontalFlip="YES",
        FieldOfViewRotation=180,
    )
    assert read_film(path).declared == Declared(
        view="AP", body_part="CHEST", orientation=("R", "F"), flipped=True, rotated=180
    )


@pytest.mark.parametrize(
    ("space", "shape", "same"),
    [
        ("MONOCHROME1", "INVERSE", False),
        ("MONOCHROME2", "IDENTITY", True),
        ("MONOCHROME2", "INVERSE", False),
        ("MONOCHROME1", "IDENTITY", True),
        ("MONOCHROME2", "", True),
        ("MONOCHROME1", "", False),
    ],
)
def test_the_presentation_shape_says_what_is_bright(
    space: str, shape: str, same: bool, grey: np.ndarray, tmp_path: Path
) -> None:
    tags = {"PresentationLUTShape": shape} if shape else {}
    read = read_film(write_dicom(tmp_path / "a.dcm", grey, space=space, **tags))
    np.testing.assert_array_equal(read.image, grey if same else 255 - grey)
    told = any("PresentationLUTShape" in note for note in read.warnings)
    assert told == ((space, shape) in (("MONOCHROME2", "INVERSE"), ("MONOCHROME1", "IDENTITY")))


def test_training_sources_refuse_what_would_lose_its_low_byte(tmp_path: Path) -> None:
    from odd_films import png_16

    png_16(tmp_path / "a.png", np.zeros((40, 40, 3), np.uint16), 2)
    with pytest.raises(DataError, match="of 16 bits a sample"):
        decode_grey((tmp_path / "a.png").read_bytes(), where="row 3")
    clear = Image.new("RGBA", (40, 40), (9, 9, 9, 0))
    with pytest.raises(DataError, match="row 3: every pixel is transparent"):
        decode_grey(clear, where="row 3")


# ---------------------------------------------------------------- names


def test_a_films_path_depends_on_nothing_else(grey: np.ndarray, tmp_path: Path) -> None:
    for name in ("dup.png", "dup.jpg", "sub/dup.png"):
        (tmp_path / name).parent.mkdir(exist_ok=True)
        Image.fromarray(grey).save(tmp_path / name)

    def paths(*inputs: str) -> list[str]:
        found = search_films([str(tmp_path / text) for text in inputs]).films
        check_names(found)
        return [str(one.relative) for one in found]

    assert paths("") == ["dup.jpg", "dup.png", "sub/dup.png"]
    assert paths("**/*.png") == ["dup.png", "sub/dup.png"] and paths("s*/*") == ["sub/dup.png"]
    assert paths("sub") == ["dup.png"] and paths("dup.jpg", "dup.png") == ["dup.jpg", "dup.png"]
    (tmp_path / "dup.jpg").unlink()
    assert paths("") == ["dup.png", "sub/dup.png"]
    with pytest.raises(DataError, match=r"would both be written to dup\.png\. Name the folder"):
        paths("dup.png", "sub/dup.png")


def test_a_pattern_is_read_from_its_fixed_part(grey: np.ndarray, tmp_path: Path) -> None:
    (tmp_path / "a" / "b").mkdir(parents=True)
    Image.fromarray(grey).save(tmp_path / "a" / "b" / "x.png")
    (found,) = search_films([str(tmp_path / "a" / "*" / "x.png")]).films
    assert found.relative == PurePosixPath("b/x.png")


def test_links_are_followed_once_or_listed(grey: np.ndarray, tmp_path: Path) -> None:
    """Whatever a folder holds is read or listed, and a film keeps the name of its file."""
    films, elsewhere = tmp_path / "films", tmp_path / "elsewhere"
    films.mkdir()
    elsewhere.mkdir()
    for path in (films / "film.png", elsewhere / "far.png"):
        Image.fromarray(grey).save(path)
    for name, target in {
        "also.png": films / "film.png",
        "far.png": elsewhere / "far.png",
        "far_too.png": elsewhere / "far.png",
        "lost.png": tmp_path / "nowhere.png",
        "ward": elsewhere,
    }.items():
        (films / name).symlink_to(target)
    search = search_films([str(films)])
    assert [str(one.relative) for one in search.films] == ["far.png", "film.png"]
    assert {str(one.relative): one.reason for one in search.left_out} == {
        "also.png": "link to a file that is looked at",
        "far_too.png": "link to a file that is looked at",
        "lost.png": "link that leads nowhere",
        "ward": "link to a folder (not followed; name it too)",
    }


@pytest.mark.parametrize("name", ["UN_sequence.dcm", "priv_SQ.dcm", "no_meta_group_length.dcm"])
def test_a_whole_file_without_a_picture_is_not_called_damaged(name: str) -> None:
    from pydicom.data import get_testdata_file

    path = get_testdata_file(name)
    assert isinstance(path, str)
    with pytest.raises(DataError, match="without a picture"):
        read_film(Path(path))


def test_filling_after_the_end_mark_is_no_missing_part() -> None:
    stream = bytes.fromhex("ff4fff51002f") + bytes(60) + b"\xff\xd9"
    for filling in (b"", b"\0", b"\xff", b"\0\0\0"):
        assert codestream.read_stream(stream + filling).whole
    assert not codestream.read_stream(stream[:-2]).whole


def test_masks_of_an_earlier_run_are_no_films(grey: np.ndarray, tmp_path: Path) -> None:
    names = ("image.png", "mask.png", "overlay.png", "map_chest.png", "probability_1_left-lung.png")
    for folder in ("drawn", "own"):
        (tmp_path / folder).mkdir()
        for name in names:
            Image.fromarray(grey).save(tmp_path / folder / name)
    (tmp_path / "drawn" / "record.json").write_text("{}")
    search = search_films([str(tmp_path)])
    assert [one.relative.as_posix() for one in search.films] == [
        "drawn/image.png",
        *(f"own/{name}" for name in sorted(names)),
    ]
    assert search.counts() == "1 .json (not read), 4 result of an earlier run"
