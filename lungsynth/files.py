"""Writing files and folders: whole or not at all."""

from __future__ import annotations

import contextlib
import hashlib
import io
import shutil
import zipfile
from collections.abc import Iterator, Mapping, Sequence
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
        probe.unlink(missing_ok=True)  # another process may have tried the same place
    except OSError as error:
        why = error.strerror or error
        raise OutputError(f"{out}: cannot be written ({why}). Choose another --out.") from error


@contextlib.contextmanager
def replacing(path: Path, *also: type[Exception]) -> Iterator[Path]:
    """Where to write a file, its folder made: renamed into place of what was there when it is done.

    Args:
        path: The file.
        also: Errors beside OSError that mean that it cannot be written.

    Raises:
        OutputError: the disk is full or the place cannot be written; what was there before stays.
    """
    temporary = path.with_name(path.name + ".tmp")
    known: tuple[type[Exception], ...] = (OSError, *also)
    try:
        path.parent.mkdir(parents=True, exist_ok=True)
        yield temporary
        temporary.replace(path)
    except known as error:
        with contextlib.suppress(OSError):
            temporary.unlink(missing_ok=True)
        raise _not_written(path, error) from error


@contextlib.contextmanager
def beside(folder: Path, *also: type[Exception]) -> Iterator[Path]:
    """A new folder beside `folder`, to be filled and moved into place; gone afterwards if it was not.

    Args:
        folder: Where its files shall lie in the end.
        also: Errors beside OSError that mean that it cannot be written.

    Raises:
        OutputError: the disk is full or the place cannot be written; nothing half-written stays.
    """
    temporary = folder.with_name(f".{folder.name}.partial")
    shutil.rmtree(temporary, ignore_errors=True)
    known: tuple[type[Exception], ...] = (OSError, *also)
    try:
        temporary.mkdir(parents=True)
        yield temporary
    except known as error:
        raise _not_written(folder, error) from error
    finally:
        shutil.rmtree(temporary, ignore_errors=True)


def _not_written(place: Path, error: Exception) -> OutputError:
    why = getattr(error, "strerror", None) or error
    return OutputError(f"{place}: cannot be written ({why}). Free space or choose another --out.")


def write_whole(path: Path, data: str | bytes) -> None:
    """Write one file, its folder too; see `replacing`."""
    with replacing(path) as temporary:
        temporary.write_bytes(data.encode() if isinstance(data, str) else data)


def write_files(files: Mapping[str, bytes], folder: Path) -> None:
    """Write files into `folder`, in place of what was there; see `beside`."""
    with beside(folder) as temporary:
        for name, data in files.items():
            (temporary / name).write_bytes(data)
        if folder.exists():
            shutil.rmtree(folder)
        temporary.replace(folder)


def write_parquet(rows: Sequence[Mapping[str, Any]], path: Path) -> None:
    """Write rows as one Parquet file, its folder too; see `replacing`."""
    import pyarrow.parquet  # deferred: few commands write tables, all of them write files

    with replacing(path) as temporary:
        pyarrow.parquet.write_table(pyarrow.Table.from_pylist(rows), temporary, compression="zstd")


def pack(files: dict[str, bytes]) -> bytes:
    """Files as a ZIP without times; PNG is compressed already, so nothing is compressed again."""
    buffer = io.BytesIO()
    with zipfile.ZipFile(buffer, "w", zipfile.ZIP_STORED) as file:
        for name, data in files.items():
            entry = zipfile.ZipInfo(name, date_time=(1980, 1, 1, 0, 0, 0))
            entry.external_attr = 0o644 << 16
            file.writestr(entry, data)
    return buffer.getvalue()
