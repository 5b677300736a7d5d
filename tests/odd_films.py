"""A folder of odd films, as hospitals and people store them, and what must become of each."""

from __future__ import annotations

import io
import struct
import zlib
from collections.abc import Callable
from pathlib import Path

import numpy as np
from bad_films import animated, bomb
from dicoms import write_dicom
from encoded import without_preamble, without_syntax, write_encoded
from PIL import Image

from lungsynth.films import codestream

READ, REFUSED, LEFT_OUT = "read", "refused", "left out"

Make = Callable[[Path, np.ndarray], object]
Expected = tuple[str, str, str]
"""Path, what becomes of it, and words of the reason or the warning ("" = none is asked for)."""


def png_16(path: Path, samples: np.ndarray, colour_type: int) -> None:
    """A PNG of 16 bits a sample: (H, W, C) uint16; colour type 4 = grey and alpha, 2 = RGB, 6 = RGBA."""
    height, width = samples.shape[:2]
    rows = samples.astype(">u2").reshape(height, -1)
    raw = b"".join(b"\0" + row.tobytes() for row in rows)

    def chunk(kind: bytes, data: bytes) -> bytes:
        body = kind + data
        return struct.pack(">I", len(data)) + body + struct.pack(">I", zlib.crc32(body))

    head = struct.pack(">IIBBBBB", width, height, 16, colour_type, 0, 0, 0)
    path.write_bytes(
        b"\x89PNG\r\n\x1a\n"
        + chunk(b"IHDR", head)
        + chunk(b"IDAT", zlib.compress(raw))
        + chunk(b"IEND", b"")
    )


def wide(grey: np.ndarray) -> np.ndarray:
    """8 bits -> 12 bits in 16."""
    return grey.astype(np.uint16) * 16


def _saved(picture: Image.Image, path: Path, kind: str, **options: object) -> None:
    buffer = io.BytesIO()
    picture.save(buffer, kind, **options)
    path.write_bytes(buffer.getvalue())


def _with_alpha(grey: np.ndarray, alpha: int) -> Image.Image:
    picture = Image.fromarray(grey).convert("RGBA")
    picture.putalpha(alpha)
    return picture


def _tiff_pages(path: Path, grey: np.ndarray) -> None:
    page = Image.fromarray(grey)
    page.save(path, "TIFF", save_all=True, append_images=[page])


def _nan_tiff(path: Path, grey: np.ndarray) -> None:
    values = grey.astype(np.float32)
    values[0, 0] = np.nan
    _saved(Image.fromarray(values), path, "TIFF")


def _report(path: Path, grey: np.ndarray) -> None:
    """A data set without pixels."""
    import pydicom

    write_dicom(path, grey)
    data = pydicom.dcmread(path)
    del data.PixelData, data.Rows, data.Columns
    data.save_as(path, enforce_file_format=True)


def _twelve_bit_jpeg(path: Path, _: np.ndarray) -> None:
    """Lossy JPEG of 12 bits: pydicom's own test file."""
    from pydicom.data import get_testdata_file

    path.write_bytes(Path(str(get_testdata_file("JPGExtended.dcm"))).read_bytes())


def _damaged(path: Path, grey: np.ndarray) -> None:
    """A compressed stream with its tables overwritten."""
    write_encoded(path, wide(grey), codestream.JPEG_LOSSLESS_SV1)
    content = bytearray(path.read_bytes())
    at = content.index(b"\xff\xc4")
    content[at + 4 : at + 40] = b"\xff" * 36
    path.write_bytes(bytes(content))


def _cut_stream(path: Path, grey: np.ndarray) -> None:
    """A compressed file whose end is missing."""
    write_encoded(path, wide(grey), codestream.JPEG_LOSSLESS_SV1)
    path.write_bytes(path.read_bytes()[:-2000])


def _renamed_syntax(uid: str) -> Make:
    """JPEG 2000 that says it is something else."""

    def make(path: Path, grey: np.ndarray) -> None:
        import pydicom

        data = pydicom.dcmread(write_encoded(path, wide(grey), codestream.JPEG_2000_LOSSLESS))
        data.file_meta.TransferSyntaxUID = uid
        data.save_as(path, enforce_file_format=True)

    return make


def _unknown_syntax(path: Path, grey: np.ndarray) -> None:
    write_encoded(path, wide(grey), codestream.JPEG_2000_LOSSLESS)
    content = path.read_bytes()
    path.write_bytes(content.replace(b"1.2.840.10008.1.2.4.90", b"1.2.840.10008.1.2.4.99"))


def _short(path: Path, grey: np.ndarray) -> None:
    path.write_bytes(write_dicom(path, wide(grey)).read_bytes()[:-4000])


def _cut(path: Path, grey: np.ndarray) -> None:
    buffer = io.BytesIO()
    Image.fromarray(grey).save(buffer, "PNG")
    path.write_bytes(buffer.getvalue()[: len(buffer.getvalue()) // 2])


def _voi_lut(path: Path, grey: np.ndarray) -> None:
    from pydicom.dataset import Dataset

    table = Dataset()
    table.LUTDescriptor = [4096, 0, 16]
    table.LUTData = np.arange(0, 65536, 16, dtype=np.uint16).tobytes()
    table["LUTData"].VR = "OW"
    write_dicom(path, wide(grey), VOILUTSequence=[table])


def _dicom(**tags: object) -> Make:
    return lambda path, grey: write_dicom(path, wide(grey), **tags)


def _compressed(syntax: str) -> Make:
    return lambda path, grey: write_encoded(path, wide(grey), syntax)


def _picture(kind: str, **options: object) -> Make:
    return lambda path, grey: _saved(Image.fromarray(grey), path, kind, **options)


def _bytes(content: bytes) -> Make:
    return lambda path, grey: path.write_bytes(content)


def _turned_by_exif(path: Path, grey: np.ndarray) -> None:
    exif = Image.Exif()
    exif[274] = 6
    _saved(Image.fromarray(grey), path, "JPEG", quality=95, exif=exif)


def _photo(path: Path, grey: np.ndarray) -> None:
    colours = np.random.default_rng(0).integers(0, 255, (64, 64, 3), dtype=np.uint8)
    _saved(Image.fromarray(colours), path, "PNG")


def _samples(grey: np.ndarray, n: int) -> np.ndarray:
    return np.repeat(grey.astype(np.uint16)[..., None] * 257, n, 2)


PICTURES: dict[str, tuple[Make, str, str]] = {
    "plain.png": (_picture("PNG"), READ, ""),
    "plain.jpg": (_picture("JPEG", quality=95), READ, ""),
    "plain.tif": (_picture("TIFF"), READ, ""),
    "plain.bmp": (_picture("BMP"), READ, ""),
    "UPPER.JPEG": (_picture("JPEG", quality=95), READ, ""),
    "dup.png": (_picture("PNG"), READ, ""),
    "dup.jpg": (_picture("JPEG", quality=95), READ, ""),
    "sub/dup.png": (_picture("PNG"), READ, ""),
    "sub/deep/dup.png": (_picture("PNG"), READ, ""),
    "no_ending": (_picture("PNG"), READ, ""),
    "wrong.txt": (_picture("PNG"), READ, ""),
    "wide.png": (lambda p, g: _saved(Image.fromarray(wide(g)), p, "PNG"), READ, ""),
    "wide.tif": (lambda p, g: _saved(Image.fromarray(wide(g)), p, "TIFF"), READ, ""),
    "white_is_zero.tif": (
        lambda p, g: _saved(Image.fromarray(4080 - wide(g)), p, "TIFF", tiffinfo={262: 0}),
        READ,
        "",
    ),
    "float.tif": (lambda p, g: _saved(Image.fromarray(g.astype(np.float32)), p, "TIFF"), READ, ""),
    "nan.tif": (_nan_tiff, REFUSED, "NaN"),
    "rgb.png": (lambda p, g: _saved(Image.fromarray(g).convert("RGB"), p, "PNG"), READ, ""),
    "cmyk.jpg": (
        lambda p, g: _saved(Image.fromarray(g).convert("RGB").convert("CMYK"), p, "JPEG"),
        READ,
        "",
    ),
    "palette.png": (lambda p, g: _saved(Image.fromarray(g).convert("P"), p, "PNG"), READ, ""),
    "opaque.png": (lambda p, g: _saved(_with_alpha(g, 255), p, "PNG"), READ, ""),
    "transparent.png": (lambda p, g: _saved(_with_alpha(g, 0), p, "PNG"), REFUSED, "transparent"),
    "grey_alpha_8.png": (
        lambda p, g: _saved(_with_alpha(g, 255).convert("LA"), p, "PNG"),
        READ,
        "",
    ),
    "grey_alpha_16.png": (lambda p, g: png_16(p, _samples(g, 2), 4), REFUSED, "of 16 bits"),
    "rgb_16.png": (lambda p, g: png_16(p, _samples(g, 3), 2), REFUSED, "of 16 bits"),
    "rgba_16.png": (lambda p, g: png_16(p, _samples(g, 4), 6), REFUSED, "of 16 bits"),
    "exif.jpg": (_turned_by_exif, READ, ""),
    "photo.png": (_photo, READ, "coloured"),
    "flat.png": (lambda p, g: _saved(Image.fromarray(g * 0 + 9), p, "PNG"), READ, "contrast"),
    "strip.png": (
        lambda p, g: _saved(Image.fromarray(np.tile(g[:36], (1, 2))), p, "PNG"),
        READ,
        "odd shape",
    ),
    "tiny.png": (lambda p, g: _saved(Image.fromarray(g[:20, :20]), p, "PNG"), REFUSED, "20x20"),
    "cut.png": (_cut, REFUSED, "damaged or cut short"),
    "bomb.png": (_bytes(bomb()), REFUSED, "far too large"),
    "animated.png": (_bytes(animated()), REFUSED, "2 pages"),
    "pages.tif": (_tiff_pages, REFUSED, "2 pages"),
    "empty.png": (_bytes(b""), REFUSED, "not a picture"),
    "text.png": (_bytes(b"hello"), REFUSED, "not a picture"),
    "film.webp": (_picture("WEBP"), LEFT_OUT, ".webp"),
    "film.gif": (_picture("GIF"), LEFT_OUT, ".gif"),
    "notes.txt": (_bytes(b"no film"), LEFT_OUT, ".txt"),
    "nothing": (_bytes(b""), LEFT_OUT, "empty"),
    ".hidden.png": (_picture("PNG"), LEFT_OUT, "hidden"),
}
"""Name -> how it is made, what becomes of it, words of the reason or the warning."""

DICOMS: dict[str, tuple[Make, str, str]] = {
    "plain.dcm": (_dicom(), READ, ""),
    "IM0001": (_dicom(), READ, ""),
    "inverse.dcm": (
        lambda p, g: write_dicom(p, 4080 - wide(g), space="MONOCHROME1"),
        READ,
        "",
    ),
    "shape.dcm": (
        lambda p, g: write_dicom(p, 4080 - wide(g), PresentationLUTShape="INVERSE"),
        READ,
        "PresentationLUTShape INVERSE",
    ),
    "no_preamble.dcm": (
        lambda p, g: without_preamble(write_dicom(p, wide(g))),
        READ,
        "read as Explicit VR Little Endian",
    ),
    "no_preamble_no_ending": (
        lambda p, g: without_preamble(write_dicom(p, wide(g), syntax=codestream.IMPLICIT_LE)),
        READ,
        "read as Implicit VR Little Endian",
    ),
    "no_syntax.dcm": (
        lambda p, g: without_syntax(write_dicom(p, wide(g))),
        READ,
        "read as Explicit VR Little Endian",
    ),
    "no_syntax_jpeg.dcm": (
        lambda p, g: without_syntax(write_encoded(p, wide(g), codestream.JPEG_LOSSLESS_SV1)),
        READ,
        "read as JPEG Lossless",
    ),
    "window.dcm": (_dicom(WindowCenter=1600, WindowWidth=3200), READ, ""),
    "stale_window.dcm": (_dicom(WindowCenter=-4000, WindowWidth=300), READ, "window leaves"),
    "second_window.dcm": (
        _dicom(WindowCenter=[-4000, 1600], WindowWidth=[300, 3200]),
        READ,
        "window 2 of 2",
    ),
    "no_width.dcm": (_dicom(WindowCenter=10, WindowWidth=0), READ, "not valid"),
    "voi_lut.dcm": (_voi_lut, READ, ""),
    "rgb.dcm": (
        lambda p, g: write_dicom(p, np.repeat(g[..., None], 3, 2), space="RGB"),
        READ,
        "",
    ),
    "palette.dcm": (
        lambda p, g: write_dicom(p, g, space="PALETTE COLOR"),
        REFUSED,
        "colour space",
    ),
    "rle.dcm": (_compressed(codestream.RLE), READ, ""),
    "jpeg_lossless.dcm": (_compressed(codestream.JPEG_LOSSLESS_SV1), READ, ""),
    "jpeg_ls.dcm": (_compressed(codestream.JPEG_LS), READ, ""),
    "jpeg_2000.dcm": (_compressed(codestream.JPEG_2000_LOSSLESS), READ, ""),
    "jpeg.dcm": (lambda p, g: write_encoded(p, g, codestream.JPEG_BASELINE), READ, ""),
    "jpeg_12.dcm": (_twelve_bit_jpeg, REFUSED, "dcmdjpeg"),
    "htj2k.dcm": (_renamed_syntax("1.2.840.10008.1.2.4.201"), REFUSED, "nothing here decodes"),
    "unknown.dcm": (_unknown_syntax, READ, "read as JPEG 2000"),
    "damaged.dcm": (_damaged, REFUSED, "damaged: its compressed pixels"),
    "cut.dcm": (_cut_stream, REFUSED, "ends before its picture"),
    "short.dcm": (_short, REFUSED, "damaged: its pixels"),
    "cine.dcm": (_dicom(NumberOfFrames=9), REFUSED, "9 frames"),
    "report.dcm": (_report, REFUSED, "without a picture"),
    "text.dcm": (_bytes(b"hello"), REFUSED, "not a DICOM file"),
    "DICOMDIR": (_dicom(), LEFT_OUT, "DICOMDIR"),
    "lateral.dcm": (_dicom(ViewPosition="LL"), READ, "lateral"),
    "side.dcm": (_dicom(PatientOrientation=["A", "F"]), READ, "lateral"),
    "hand.dcm": (_dicom(BodyPartExamined="HAND"), READ, "HAND"),
    "ct.dcm": (_dicom(Modality="CT"), READ, "modality CT"),
    "named.dcm": (_dicom(BurnedInAnnotation="YES"), READ, "BurnedInAnnotation"),
}
"""The same of DICOM files."""


def write_odd_films(folder: Path, grey: np.ndarray) -> list[Expected]:
    """Write every odd film below a folder; `grey` (H, W) uint8 is the film they are made of."""
    out = []
    for name, (make, fate, words) in {**PICTURES, **DICOMS}.items():
        path = folder / name
        path.parent.mkdir(parents=True, exist_ok=True)
        make(path, grey)
        out.append((name, fate, words))
    return out
