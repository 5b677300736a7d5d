"""What is to be pushed: the files of a folder with their hashes, and what a reader must get back."""

from __future__ import annotations

import hashlib
import re
import shutil
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path
from typing import Any

import yaml  # type: ignore[import-untyped]

from lungsynth.errors import ConfigError, OutputError

TOKEN = re.compile(r"\bhf_[A-Za-z0-9]{30,}")
"""A Hub token."""

DATA_SUFFIXES = (".parquet", ".arrow", ".tar")
"""Files that hold rows; `load_dataset` may take any of them for part of the dataset."""

CONTENT_SUFFIXES = {
    "dataset": DATA_SUFFIXES,
    "model": (".safetensors", ".bin", ".ckpt", ".pt", ".pth"),
}
"""Files that are taken for part of a repository wherever they lie, by its kind."""

MAX_FILES = 25_000
"""Large files one commit may hold (docstring of huggingface_hub's create_commit)."""

MAX_TEXT = 2_000_000
"""Bytes up to which a file is searched for tokens."""


@dataclass(frozen=True)
class LocalFile:
    """A file to be pushed."""

    path: Path
    size: int
    sha256: str
    git_sha1: str  # as git names a file with these bytes


@dataclass(frozen=True)
class SplitRows:
    """What a split of the dataset must hold when it is loaded from the Hub."""

    config: str
    split: str
    n_rows: int
    ids_sha256: str  # over the `id` column in order


@dataclass(frozen=True)
class Payload:
    """Everything a repository must hold after a push."""

    kind: str  # dataset, model or space
    files: dict[str, LocalFile]  # path in the repository -> file, sorted
    splits: tuple[SplitRows, ...] = ()

    @cached_property
    def clean_folders(self) -> frozenset[str]:
        """Folders of the repository in which nothing else stays."""
        return frozenset(name.split("/")[0] for name in self.files if "/" in name)

    @property
    def n_bytes(self) -> int:
        """Of all files."""
        return sum(file.size for file in self.files.values())

    def is_stale(self, path: str) -> bool:
        """Whether a file of the repository must go: data, or a file in a folder that is all ours."""
        if path in self.files:
            return False
        if path.split("/")[0] in self.clean_folders and "/" in path:
            return True
        return path.endswith(CONTENT_SUFFIXES.get(self.kind, ()))


def hash_file(path: Path) -> LocalFile:
    """Read a file once, for both hashes."""
    size = path.stat().st_size
    sha256, sha1 = hashlib.sha256(), hashlib.sha1(b"blob %d\0" % size, usedforsecurity=False)
    with path.open("rb") as handle:
        while block := handle.read(1 << 20):
            sha256.update(block)
            sha1.update(block)
    return LocalFile(path, size, sha256.hexdigest(), sha1.hexdigest())


def read_folder(folder: Path, kind: str) -> Payload:
    """The files of a folder for a repository of a kind; hidden and half-written ones (`.*`) are
    left out.

    Raises:
        ConfigError: there is no file, a link leads out of the folder, or a text holds a token.
        OutputError: a file cannot be read.
    """
    if not folder.is_dir():
        raise ConfigError(f"{folder}: no such folder. Build it first, or give its right name.")
    files: dict[str, LocalFile] = {}
    root = folder.resolve()
    try:
        for path in sorted(folder.rglob("*")):
            name = path.relative_to(folder).as_posix()
            if not path.is_file() or any(part.startswith(".") for part in name.split("/")):
                continue
            if not path.resolve().is_relative_to(root):
                raise ConfigError(
                    f"{path}: a link to {path.resolve()}, outside the folder. Put the file itself "
                    "there, or remove the link."
                )
            _refuse_token(path)
            files[name] = hash_file(path)
    except OSError as error:
        raise OutputError(f"{folder}: cannot be read ({error.strerror or error}).") from error
    if not files:
        raise ConfigError(f"{folder}: holds no file to push. Build it first.")
    if len(files) > MAX_FILES:
        raise ConfigError(
            f"{folder}: {len(files):,} files, but one commit may hold {MAX_FILES:,}. Build larger shards."
        )
    return Payload(kind, files)


def write_out(payload: Payload, out: Path) -> None:
    """Write a payload as a folder, to be looked at.

    Raises:
        ConfigError: the folder holds other files.
        OutputError: it cannot be written.
    """
    there = {p.relative_to(out).as_posix() for p in out.rglob("*") if p.is_file()}
    foreign = sorted(there - payload.files.keys())
    if foreign:
        raise ConfigError(
            f"--out {out}: holds {foreign[0]}, no part of this. Give an empty folder."
        )
    try:
        for name, file in payload.files.items():
            if file.path.resolve() == (out / name).resolve():
                raise ConfigError(f"--out {out}: is the folder that is read. Give another.")
            (out / name).parent.mkdir(parents=True, exist_ok=True)
            shutil.copyfile(file.path, out / name)
    except OSError as error:
        raise OutputError(f"--out {out}: cannot be written ({error.strerror or error}).") from error


def _refuse_token(path: Path) -> None:
    if path.stat().st_size > MAX_TEXT or path.suffix in (".parquet", ".safetensors", ".png"):
        return
    if TOKEN.search(path.read_text(encoding="utf-8", errors="replace")):
        raise ConfigError(
            f"{path}: holds what looks like a Hub token (hf_…). Take it out, and revoke it: it may "
            "have been seen."
        )


def front_matter(readme: Path) -> dict[str, Any]:
    """The YAML at the top of a card.

    Raises:
        ConfigError: there is none, or it is no YAML mapping.
    """
    text = readme.read_text(encoding="utf-8")
    parts = text.split("---\n", 2)
    try:
        if not text.startswith("---\n") or len(parts) < 3:
            raise ValueError("it must begin with --- and end with ---")
        values = yaml.safe_load(parts[1])
        if not isinstance(values, dict):
            raise ValueError("it is no mapping")
    except (ValueError, yaml.YAMLError) as error:
        raise ConfigError(
            f"{readme}: its front matter cannot be read ({error}); the Hub would show it as text."
        ) from error
    return values
