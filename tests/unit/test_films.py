"""Reading a user's own film."""

from __future__ import annotations

import io
from pathlib import Path

import numpy as np
import pytest
from dicoms import PATIENT, write_dicom
from PIL import Image
from tiny import film

from lungsynth.errors import DataError
from lungsynth.films.film import folder_names, pixels_sha256, read_film, stem_of, to_uint8
from lungsynth.films.finding import find_films


@pytest.fixture
def grey() -> np.ndarray:
    return film(0)[0]  # 96 x 112, not square


def saved(path: Path, array: np.ndarray, **options: object) -> Path:
    Image.fromarray(array).save(path, **options)
    return path


# ---------------------------------------------------------------- pictures


@pytest.mark.parametrize("name", ["a.png", "a.tif", "a.bmp", "a.TIFF"])
def test_lossless_grey_is_kept(name: str, grey: np.ndarray, tmp_path: Path) -> None:
    read = read_film(saved(tmp_path / name, grey))
    np.testing.assert_array_equal(read.image, grey)
    assert (read.stem, read.warnings) == ("a", ())


def test_jpeg_and_grey_rgb(grey: np.ndarray, tmp_path: Path) -> None:
    jpeg = read_film(saved(tmp_path / "a.jpg", grey, quality=95))
    assert np.abs(jpeg.image.astype(int) - grey).mean() < 3 and jpeg.warnings == ()
    colour = read_film(saved(tmp_path / "b.png", np.repeat(grey[..., None], 3, 2)))
    np.testing.assert_array_equal(colour.image, grey)
    assert colour.warnings == ()


def test_a_photo_is_read_the_right_way_up(grey: np.ndarray, tmp_path: Path) -> None:
    exif = Image.Exif()
    exif[274] = 6  # turned by 90 degrees
    path = saved(tmp_path / "a.png", grey, exif=exif)
    np.testing.assert_array_equal(read_film(path).image, np.rot90(grey, -1))


def test_sixteen_bits_keep_their_order_and_ignore_a_dead_pixel(
    grey: np.ndarray, tmp_path: Path
) -> None:
    wide = grey.astype(np.uint16) * 40 + 300
    wide[0, 0] = 65535
    read = read_film(saved(tmp_path / "a.png", wide)).image.astype(float)
    assert np.corrcoef(read.ravel()[1:], grey.ravel()[1:])[0, 1] > 0.995
    assert read.min() == 0 and read.max() == 255 and np.ptp(read[40:60]) > 150


def test_a_sixteen_bit_tiff_whose_zero_is_white(grey: np.ndarray, tmp_path: Path) -> None:
    wide = grey.astype(np.uint16) * 100
    plain = read_film(saved(tmp_path / "a.tif", wide)).image.astype(int)
    buffer = io.BytesIO()
    Image.fromarray(wide).save(buffer, "TIFF", tiffinfo={262: 0})
    (tmp_path / "b.tif").write_bytes(buffer.getvalue())
    with Image.open(tmp_path / "b.tif") as opened:
        assert opened.tag_v2[262] == 0  # the file says so
    white = read_film(tmp_path / "b.tif").image.astype(int)
    assert np.abs((255 - white) - plain).max() <= 1


def test_what_is_unlikely_to_be_a_film_is_warned_of(tmp_path: Path) -> None:
    rng = np.random.default_rng(0)
    photo = read_film(saved(tmp_path / "a.png", rng.integers(0, 255, (64, 64, 3), dtype=np.uint8)))
    assert "coloured" in photo.warnings[0]
    strip = read_film(saved(tmp_path / "b.png", rng.integers(0, 255, (200, 50), dtype=np.uint8)))
    assert strip.warnings == ("50x200 pixels is an odd shape for a frontal film",)
    flat = read_film(saved(tmp_path / "c.png", np.full((64, 64), 7, np.uint8)))
    assert "hardly any contrast" in flat.warnings[0]


@pytest.mark.parametrize(
    ("content", "words"),
    [
        (b"", "not a picture that can be read"),
        (b"hello", "not a picture that can be read"),
        (b"GIF89a" + b"\0" * 50, "not a picture that can be read"),
    ],
)
def test_what_is_no_picture_is_refused(content: bytes, words: str, tmp_path: Path) -> None:
    (tmp_path / "a.png").write_bytes(content)
    with pytest.raises(DataError, match=words):
        read_film(tmp_path / "a.png")


def test_damaged_missing_small_and_many_pages(grey: np.ndarray, tmp_path: Path) -> None:
    whole = saved(tmp_path / "a.png", grey).read_bytes()
    (tmp_path / "cut.png").write_bytes(whole[: len(whole) // 2])
    with pytest.raises(DataError, match="damaged or cut short"):
        read_film(tmp_path / "cut.png")
    with pytest.raises(DataError, match="no such file"):
        read_film(tmp_path / "missing.png")
    with pytest.raises(DataError, match=r"31x40 pixels .*at least 32 a side"):
        read_film(saved(tmp_path / "small.png", grey[:40, :31]))
    page = Image.fromarray(grey)
    page.save(tmp_path / "pages.tif", save_all=True, append_images=[page, page])
    with pytest.raises(DataError, match="3 pages; expected one film"):
        read_film(tmp_path / "pages.tif")


@pytest.mark.parametrize(
    "side", [8000, 12000, 20000]
)  # over our limit, Pillow's warning, its error
def test_a_huge_picture_is_refused_unread(side: int, tmp_path: Path) -> None:
    path = tmp_path / "a.png"
    Image.new("1", (side, side)).save(path)
    with pytest.raises(DataError, match="at most 50,000,000"):
        read_film(path)


# ---------------------------------------------------------------- DICOM


def test_monochrome2_and_its_inverse_are_one_film(grey: np.ndarray, tmp_path: Path) -> None:
    wide = grey.astype(np.uint16) * 16
    bright = read_film(write_dicom(tmp_path / "a.dcm", wide))
    inverse = read_film(write_dicom(tmp_path / "b.dcm", 4095 - wide, space="MONOCHROME1"))
    assert np.abs(bright.image.astype(int) - inverse.image).max() <= 1
    assert np.corrcoef(bright.image.ravel(), grey.ravel())[0, 1] > 0.99
    assert bright.warnings == () and bright.image.shape == grey.shape


def test_eight_bit_dicom_is_kept(grey: np.ndarray, tmp_path: Path) -> None:
    np.testing.assert_array_equal(read_film(write_dicom(tmp_path / "a.dcm", grey)).image, grey)
    inverse = write_dicom(tmp_path / "b.dcm", 255 - grey, space="MONOCHROME1")
    np.testing.assert_array_equal(read_film(inverse).image, grey)


def test_the_window_is_applied(grey: np.ndarray, tmp_path: Path) -> None:
    wide = grey.astype(np.uint16) * 16
    path = write_dicom(tmp_path / "a.dcm", wide, WindowCenter=80 * 16, WindowWidth=40 * 16)
    shown = read_film(path).image
    assert (shown[grey > 105] == 255).all() and (shown[grey < 55] == 0).all()
    assert 100 < shown[(grey > 78) & (grey < 82)].mean() < 155


def test_the_rescale_slope_is_applied(grey: np.ndarray, tmp_path: Path) -> None:
    wide = grey.astype(np.uint16) * 16
    path = write_dicom(tmp_path / "a.dcm", wide, RescaleSlope=-1, RescaleIntercept=4095)
    shown = read_film(path).image
    assert np.corrcoef(shown.ravel(), grey.ravel())[0, 1] < -0.99


@pytest.mark.parametrize(
    "window", [{"WindowCenter": 60000, "WindowWidth": 10}, {"WindowCenter": 10, "WindowWidth": 0}]
)
def test_a_useless_window_is_ignored(
    window: dict[str, int], grey: np.ndarray, tmp_path: Path
) -> None:
    read = read_film(write_dicom(tmp_path / "a.dcm", grey.astype(np.uint16) * 16, **window))
    assert np.corrcoef(read.image.ravel(), grey.ravel())[0, 1] > 0.99
    assert "was ignored" in read.warnings[0]


def test_padding_does_not_set_the_grey_levels(grey: np.ndarray, tmp_path: Path) -> None:
    wide = grey.astype(np.uint16) * 4 + 3000
    plain = read_film(write_dicom(tmp_path / "a.dcm", wide)).image.astype(int)
    wide[:, :10] = 0
    padded = write_dicom(tmp_path / "b.dcm", wide, PixelPaddingValue=0)
    assert np.abs(read_film(padded).image[:, 10:].astype(int) - plain[:, 10:]).mean() < 6


def test_a_colour_dicom(grey: np.ndarray, tmp_path: Path) -> None:
    path = write_dicom(tmp_path / "a.dcm", np.repeat(grey[..., None], 3, 2), space="RGB")
    read = read_film(path)
    assert np.abs(read.image.astype(int) - grey).max() <= 1 and read.warnings == ()


def test_warnings_of_a_dicom(grey: np.ndarray, tmp_path: Path) -> None:
    path = write_dicom(
        tmp_path / "a.dcm", grey, BurnedInAnnotation="YES", ViewPosition="LL", Modality="CT"
    )
    told = " ".join(read_film(path).warnings)
    assert "BurnedInAnnotation is YES" in told and "lateral" in told and "modality CT" in told


def test_dicoms_that_are_refused(grey: np.ndarray, tmp_path: Path) -> None:
    frames = write_dicom(tmp_path / "a.dcm", grey, NumberOfFrames=3)
    with pytest.raises(DataError, match="3 frames; expected one film"):
        read_film(frames)
    short = write_dicom(tmp_path / "b.dcm", grey, PixelData=b"\0" * 100)
    with pytest.raises(DataError, match=r"damaged: its pixels .* do not fit its size of 112x96"):
        read_film(short)
    huge = write_dicom(tmp_path / "c.dcm", grey, Rows=60000, Columns=60000)
    with pytest.raises(DataError, match="at most 50,000,000"):
        read_film(huge)
    palette = write_dicom(tmp_path / "d.dcm", grey, space="PALETTE COLOR")
    with pytest.raises(DataError, match="colour space PALETTE COLOR"):
        read_film(palette)
    (tmp_path / "e.dcm").write_bytes(b"not dicom")
    with pytest.raises(DataError, match="not a DICOM file"):
        read_film(tmp_path / "e.dcm")
    (tmp_path / "f.dcm").write_bytes(frames.read_bytes()[:200])
    with pytest.raises(DataError, match=r"f\.dcm"):
        read_film(tmp_path / "f.dcm")


def test_nothing_of_the_patient_is_read(
    grey: np.ndarray, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    import pydicom

    seen = []
    read = pydicom.dcmread
    monkeypatch.setattr(pydicom, "dcmread", lambda *a, **k: seen.append(read(*a, **k)) or seen[-1])
    path = write_dicom(tmp_path / "a.dcm", grey)
    assert PATIENT in str(read(path))  # it is in the file
    told = read_film(path)
    assert len(seen) == 1 and "Patient" not in str(seen[0]) and PATIENT not in repr(told)


def test_a_dicom_is_known_by_its_content(grey: np.ndarray, tmp_path: Path) -> None:
    path = write_dicom(tmp_path / "1.2.840.10", grey)
    assert read_film(path).stem == "1.2.840.10"


# ---------------------------------------------------------------- finding, naming


def test_finding(grey: np.ndarray, tmp_path: Path) -> None:
    for name in ("b.png", "a/c.JPG", "a/deep/d.tif", "out/x/mask.png", ".hidden/e.png", "a/.f.png"):
        (tmp_path / name).parent.mkdir(parents=True, exist_ok=True)
        saved(tmp_path / name, grey)
    (tmp_path / "notes.txt").write_text("no film")
    write_dicom(tmp_path / "a" / "IM0001", grey)
    write_dicom(tmp_path / "a" / "DICOMDIR", grey)

    def names(*inputs: str, **options: object) -> list[str]:
        found = find_films([str(tmp_path / i) for i in inputs], **options)  # type: ignore[arg-type]
        return [p.relative_to(tmp_path).as_posix() for p in found]

    inside = ["a/IM0001", "a/c.JPG", "a/deep/d.tif", "b.png"]
    assert names(".", exclude=[tmp_path / "out"]) == inside
    assert names(".") == [*inside, "out/x/mask.png"]
    assert names("b.png", ".", "a/../b.png", exclude=[tmp_path / "out"])[0] == "b.png"
    assert len(names("b.png", ".", "b.png")) == 5
    assert names("a/*.JPG") == ["a/c.JPG"] and names("**/*.tif") == ["a/deep/d.tif"]
    assert names("gone.png") == ["gone.png"]  # reported when it is read
    with pytest.raises(DataError, match="no film in it"):
        names("*.bmp")


def test_names_are_distinct_whatever_the_films_are_called() -> None:
    paths = [Path(p) for p in ("a/x.png", "b/x.dcm", "c/X.png", "x-2.png", "..png", "d/x.tif")]
    assert folder_names(paths) == ["x", "x-3", "X-4", "x-2", "film", "x-5"]
    assert stem_of(Path("a/scan.v2.png")) == "scan.v2"


def test_the_hash_is_of_pixels_and_size(grey: np.ndarray, tmp_path: Path) -> None:
    one = read_film(saved(tmp_path / "a.png", grey)).image
    two = read_film(saved(tmp_path / "b.tif", grey)).image
    assert pixels_sha256(one) == pixels_sha256(two) != pixels_sha256(one.T)
    assert pixels_sha256(np.zeros((2, 8), np.uint8)) != pixels_sha256(np.zeros((4, 4), np.uint8))


def test_stretching_a_film_that_is_nearly_all_one_value() -> None:
    values = np.zeros((100, 100))
    values[0, :10] = 5
    assert sorted(set(to_uint8(values).ravel())) == [0, 255]
