"""Writing files and folders: whole or not at all."""

from __future__ import annotations

import contextlib
import hashlib
import io
import shutil
import zipfile
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

from lungsynth.errors import OutputError


def file_sha256(path: Path) -> str:
    """SHA-256 of a file's bytes, in hexadecimal digits."""
    with path.open("rb") as handle:
        return hashlib.file_digest(handle, "sha256").hexdigest()


def check_writable(out: Path, *, make: bool = True) -> None:
    """Make sure a folder can be written before anything long is begun.

    Args:
        out: The folder.
        make: Make it now; else what is there of its path is tried, and nothing is left behind.

    Raises:
        OutputError: it cannot.
    """
    place = out.absolute()
    try:
        if make:
            place.mkdir(parents=True, exist_ok=True)
        while not place.exists():
            place = place.parent
        probe = place / ".lungsynth-probe"
        probe.write_bytes(b"")
        probe.unlink()
    except OSError as error:
        why = error.strerror or error
        raise OutputError(f"{out}: cannot be written ({why}). Choose another --out.") from error


def write_whole(path: Path, data: str | bytes) -> None:
    """Write one file, its folder too: first beside it, then renamed into place of what was there.

    Raises:
        OutputError: the disk is full or the place cannot be written; what was there before stays.
    """
    temporary = path.with_name(path.name + ".tmp")
    try:
        path.parent.mkdir(parents=True, exist_ok=True)
        temporary.write_bytes(data.encode() if isinstance(data, str) else data)
        temporary.replace(path)
    except OSError as error:
        with contextlib.suppress(OSError):
            temporary.unlink(missing_ok=True)
        raise OutputError(
            f"{path}: cannot be written ({error.strerror or error}). Free space or choose another --out."
        ) from error


def write_files(files: Mapping[str, bytes], folder: Path) -> None:
    """Write files into `folder`: first beside it, then renamed into place of what was there.

    Raises:
        OutputError: the disk is full or the place cannot be written; nothing half-written stays.
    """
    temporary = folder.with_name(f".{folder.name}.partial")
    try:
        shutil.rmtree(temporary, ignore_errors=True)
        temporary.mkdir(parents=True)
        for name, data in files.items():
            (temporary / name).write_bytes(data)
        if folder.exists():
            shutil.rmtree(folder)
        temporary.replace(folder)
    except OSError as error:
        shutil.rmtree(temporary, ignore_errors=True)
        raise OutputError(
            f"{folder}: cannot be written ({error.strerror or error}). Free space or choose another --out."
        ) from error


def write_parquet(rows: Sequence[Mapping[str, Any]], path: Path) -> None:
    """Write rows as one Parquet file, whole or not at all.

    Raises:
        OutputError: the disk is full or the place cannot be written; what was there before stays.
    """
    import pyarrow.parquet  # deferred: few commands write tables, all of them write files

    temporary = path.with_name(path.name + ".tmp")
    try:
        path.parent.mkdir(parents=True, exist_ok=True)
        pyarrow.parquet.write_table(pyarrow.Table.from_pylist(rows), temporary, compression="zstd")
        temporary.replace(path)
    except OSError as error:
        temporary.unlink(missing_ok=True)
        raise OutputError(
            f"{path}: cannot be written ({error.strerror or error}). Free space or choose another --out."
        ) from error


def pack(files: dict[str, bytes]) -> bytes:
    """Files as a ZIP without times; PNG is compressed already, so nothing is compressed again."""
    buffer = io.BytesIO()
    with zipfile.ZipFile(buffer, "w", zipfile.ZIP_STORED) as file:
        for name, data in files.items():
            entry = zipfile.ZipInfo(name, date_time=(1980, 1, 1, 0, 0, 0))
            entry.external_attr = 0o644 << 16
            file.writestr(entry, data)
    return buffer.getvalue()
