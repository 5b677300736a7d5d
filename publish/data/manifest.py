"""`manifest.json`: what a dataset folder holds, and from which configuration."""

from __future__ import annotations

import hashlib
import json
import os
import platform
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from dataclasses import asdict, dataclass, field
from datetime import UTC, datetime
from importlib.metadata import version
from pathlib import Path
from typing import Any

from lungsynth.about.figures import Figure, figures_of, to_json
from lungsynth.about.sources import Source, sources_of
from lungsynth.errors import ConfigError, OutputError
from publish.data.schema import SCHEMA_VERSION
from publish.data.shards import Shard, file_sha256, write_atomic

MANIFEST_NAME = "manifest.json"
FIRST_VERSION = "1.0.0"

PROCESSOR = "processor"
"""Key of `environment` for the kind of processor."""


def canonical_sha256(value: Mapping[str, Any]) -> str:
    """SHA-256 of a JSON value with sorted keys and no spaces."""
    text = json.dumps(value, sort_keys=True, separators=(",", ":"), ensure_ascii=True)
    return hashlib.sha256(text.encode()).hexdigest()


def json_bytes(value: Any) -> bytes:
    """A JSON value as the text of a file."""
    return (json.dumps(value, indent=2, ensure_ascii=False) + "\n").encode()


def environment() -> dict[str, str]:
    """Versions of Python and of the libraries, and the kind of processor: they decide a row's bytes."""
    names = ("torch", "diffusers", "transformers", "numpy", "pillow", "pyarrow", "datasets")
    versions = {"python": platform.python_version()} | {name: version(name) for name in names}
    return versions | {PROCESSOR: processor()}


def processor() -> str:
    """The instructions sums are made with here, such as "x86_64 AVX512"; another kind rounds otherwise.

    `ATEN_CPU_CAPABILITY` and `ONEDNN_MAX_CPU_ISA`, which lower a machine, are told.
    """
    import torch  # deferred: slow, and a manifest is read without it

    told = f"{platform.machine()} {torch.backends.cpu.get_cpu_capability()}"
    limit = os.environ.get("ONEDNN_MAX_CPU_ISA", "")
    return f"{told}, oneDNN up to {limit}" if limit else told


def today() -> str:
    """The date in UTC, YYYY-MM-DD; that of SOURCE_DATE_EPOCH where it is set."""
    epoch = os.environ.get("SOURCE_DATE_EPOCH", "")
    moment = datetime.fromtimestamp(int(epoch), UTC) if epoch.isdigit() else datetime.now(UTC)
    return moment.date().isoformat()


@dataclass(frozen=True, slots=True)
class File:
    """A file of the repository that is not a shard."""

    name: str  # below the dataset folder
    n_bytes: int
    sha256: str


@dataclass(frozen=True)
class Manifest:
    """What a dataset folder holds."""

    config: dict[str, Any]  # everything that decides the rows
    classes: dict[str, str]  # mask value -> name, background included
    environment: dict[str, str]  # versions of the libraries
    shards: tuple[Shard, ...]  # finished ones, in order
    n_shards: int  # finished and not
    version: str = FIRST_VERSION  # of the dataset, as its tag has it
    card: dict[str, Any] = field(default_factory=dict)  # what the maintainer says; not the rows
    withdrawn: dict[str, str] = field(default_factory=dict)  # row -> why it was taken out
    files: tuple[File, ...] = ()  # everything else but the manifest; () until the build has ended
    sources: tuple[Source, ...] = ()  # what the checkpoint was made from, as it says itself
    measured: tuple[Figure, ...] = ()  # of the checkpoint, as kept with it
    date: str = ""  # of the version, YYYY-MM-DD
    redrawn: dict[str, Any] = field(default_factory=dict)  # see `publish.build.redraws`

    @property
    def n_rows(self) -> int:
        """Rows in the finished shards."""
        return sum(shard.n_rows for shard in self.shards)

    @property
    def n_drawn(self) -> int:
        """Rows drawn for the finished shards, published or not."""
        return sum(shard.n_drawn for shard in self.shards)

    @property
    def splits(self) -> dict[str, int]:
        """Split -> rows, in the order of the configuration."""
        counted: dict[str, int] = {}
        for shard in self.shards:
            counted[shard.split] = counted.get(shard.split, 0) + shard.n_rows
        return counted

    @property
    def named_classes(self) -> dict[int, str]:
        """Mask value -> class name, ascending, without background."""
        return {int(value): name for value, name in self.classes.items() if value != "0"}

    @property
    def listed(self) -> dict[str, str]:
        """Every file but the manifest -> its SHA-256."""
        return {s.name: s.sha256 for s in self.shards} | {f.name: f.sha256 for f in self.files}

    @property
    def is_complete(self) -> bool:
        """Whether every shard and every other file is finished."""
        return len(self.shards) == self.n_shards and bool(self.files)

    def to_json(self) -> dict[str, Any]:
        """The value of the file; no time and no place of this machine in it."""
        return {
            "schema_version": SCHEMA_VERSION,
            "version": self.version,
            "date": self.date,
            "is_complete": self.is_complete,
            "synthetic": True,
            "n_rows": self.n_rows,
            "n_drawn": self.n_drawn,
            "n_shards": self.n_shards,
            "splits": self.splits,
            "model": self.config["model"],
            "model_hash": self.config["model_hash"],
            "code_version": self.config["code_version"],
            "classes": self.classes,
            "card": self.card,
            "withdrawn": self.withdrawn,
            "sources": [asdict(one) for one in self.sources],
            "measured": to_json(self.measured),
            **({"redrawn": self.redrawn} if self.redrawn else {}),
            "config_sha256": canonical_sha256(self.config),
            "config": self.config,
            "environment": self.environment,
            "shards": [asdict(shard) for shard in self.shards],
            "files": [asdict(file) for file in self.files],
        }

    def write(self, out: Path) -> None:
        """Write it into the dataset folder.

        Raises:
            OutputError: it cannot be written; the older manifest stays.
        """
        write_atomic(out / MANIFEST_NAME, json_bytes(self.to_json()))


@contextmanager
def understood(path: Path) -> Iterator[None]:
    """Reading a manifest: an error inside becomes a `ConfigError`."""
    try:
        yield
    except FileNotFoundError as error:
        raise ConfigError(
            f"{path.parent}: no {path.name}, so not a dataset of `publish build`. Build it first."
        ) from error
    except (OSError, ValueError, KeyError, TypeError) as error:
        raise ConfigError(
            f"{path}: cannot be understood ({error!r}). Run `publish build` again."
        ) from error


def read_manifest(out: Path) -> Manifest:
    """The manifest of a dataset folder; its claims are not checked.

    Raises:
        ConfigError: there is none, or it cannot be understood.
    """
    path = out / MANIFEST_NAME
    with understood(path):
        told = json.loads(path.read_text(encoding="utf-8"))
        shards = tuple(Shard(**one) for one in told["shards"])
        files = tuple(File(**one) for one in told["files"])
        for name in [str(one.name) for one in shards] + [str(one.name) for one in files]:
            inside(out, name)
        if told["schema_version"] != SCHEMA_VERSION:
            raise ConfigError(
                f"{path}: schema version {told['schema_version']}, this program writes and reads "
                f"{SCHEMA_VERSION}. Use the lungsynth version that `code_version` names."
            )
        return Manifest(
            dict(told["config"]),
            dict(told["classes"]),
            dict(told["environment"]),
            shards,
            int(told["n_shards"]),
            str(told["version"]),
            dict(told["card"]),
            dict(told["withdrawn"]),
            files,
            tuple(sources_of(told.get("sources", ()))),
            tuple(figures_of(told.get("measured", ()))),
            str(told.get("date", "")),
            dict(told.get("redrawn", {})),
        )


def inside(out: Path, name: str) -> Path:
    """The place of a file of a dataset.

    Raises:
        ConfigError: the name leads out of the folder.
    """
    if name.startswith("/") or ".." in Path(name).parts or "\\" in name:
        raise ConfigError(f"{out}: {name!r} leads out of the folder; the manifest was edited.")
    return out / name


def read_finished(out: Path, config: Mapping[str, Any], names: list[str]) -> dict[str, Shard]:
    """Shards of a folder that are finished and whole, by name.

    Args:
        out: The dataset folder; may not exist yet.
        config: What is to be built.
        names: Shards of what is to be built.

    Raises:
        ConfigError: the folder holds another dataset, or a manifest that cannot be understood.
        OutputError: it cannot be read.
    """
    path, known = out / MANIFEST_NAME, set(names)
    try:
        present = sorted(found.name for found in (out / "data").glob("*.parquet"))
        foreign = [name for name in present if f"data/{name}" not in known]
        text = path.read_text(encoding="utf-8") if path.exists() else None
    except OSError as error:
        raise OutputError(f"{out}: cannot be read ({error.strerror or error}).") from error
    if text is not None:
        _refuse_other(path, text, config)
    if foreign:
        raise ConfigError(
            f"{out / 'data'}: {foreign[0]} is no part of this dataset, but would be loaded with "
            "it. Choose another --out, or move it away."
        )
    if text is None:
        return {}
    finished = {}
    try:
        for entry in json.loads(text)["shards"]:
            shard = Shard(**entry)
            there = out / shard.name
            if shard.name in known and there.is_file() and file_sha256(there) == shard.sha256:
                finished[shard.name] = shard
    except (KeyError, TypeError) as error:
        raise ConfigError(f"{path}: its shards cannot be understood ({error}).") from error
    except OSError as error:
        raise OutputError(f"{out}: cannot be read ({error.strerror or error}).") from error
    return finished


def _refuse_other(path: Path, text: str, config: Mapping[str, Any]) -> None:
    """Raise ConfigError, naming what differs, when a manifest is of another configuration."""
    try:
        old = json.loads(text)["config"]
        keys = sorted({*old, *config})
    except (ValueError, KeyError, TypeError) as error:
        raise ConfigError(
            f"{path}: not a manifest of `publish build` ({error!r}). Choose another --out, or move "
            "the file away."
        ) from error
    if canonical_sha256(old) == canonical_sha256(config):
        return
    differing = [
        f"{key} is {json.dumps(old.get(key))}, not {json.dumps(config.get(key))}"
        for key in keys
        if old.get(key) != config.get(key)
    ]
    raise ConfigError(
        f"{path.parent}: holds a dataset of another configuration ({'; '.join(differing)}). "
        "Choose another --out, or give the same options to resume it."
    )
