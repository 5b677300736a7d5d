"""Packing films into one small Parquet file, to carry to a machine with a GPU."""

from __future__ import annotations

import io
from collections.abc import Iterable
from pathlib import Path

from PIL import Image
from tqdm import tqdm

from lungsynth.arrays import UInt8Array
from lungsynth.errors import DataError
from lungsynth.files import write_parquet
from lungsynth.films.data import FIELDS, Record


def jpeg_bytes(image: UInt8Array, *, short_side: int, quality: int) -> bytes:
    """Grey (H, W) -> JPEG whose shorter side is at most `short_side`, aspect ratio kept."""
    height, width = image.shape
    scale = min(1.0, short_side / min(height, width))
    picture = Image.fromarray(image)
    if scale < 1:
        picture = picture.resize(
            (round(width * scale), round(height * scale)), Image.Resampling.LANCZOS
        )
    buffer = io.BytesIO()
    picture.save(buffer, "JPEG", quality=quality, optimize=True)
    return buffer.getvalue()


def pack(
    records: Iterable[Record],
    out: Path,
    *,
    short_side: int = 288,
    quality: int = 88,
    max_megabytes: float = 0.0,
    quiet: bool = False,
) -> list[Path]:
    """Write films, texts and metadata (no masks) as Parquet the training commands read.

    Args:
        records: Films.
        out: File, such as `pack.parquet`; with `max_megabytes`, `pack-00.parquet`, `pack-01…`.
        short_side: Pixels of the shorter side.
        quality: JPEG quality.
        max_megabytes: Start a new file before one grows beyond this; 0 = one file.
        quiet: No progress bar.

    Returns:
        The files written.

    Raises:
        DataError: no film.
        OutputError: a file cannot be written; none is left half-written.
    """
    written: list[Path] = []
    rows: list[dict[str, object]] = []
    size = 0

    def flush() -> None:
        path = out
        if max_megabytes:
            path = out.with_name(f"{out.stem}-{len(written):02d}{out.suffix}")
        write_parquet(rows, path)
        written.append(path)

    for record in tqdm(records, desc="packing", unit="film", disable=quiet, mininterval=2):
        data = jpeg_bytes(record.image, short_side=short_side, quality=quality)
        if max_megabytes and rows and size + len(data) > max_megabytes * 1e6:
            flush()
            rows, size = [], 0
        fields = {name: record.fields.get(name, "") for name in FIELDS}
        rows.append({"image": {"bytes": data, "path": None}, "text": record.text, **fields})
        size += len(data) + 400
    if rows:
        flush()
    if not written:
        raise DataError("No film to pack.")
    return written
