"""`manifest.json`: what a dataset folder holds, and from which configuration."""

from __future__ import annotations

import hashlib
import json
import os
import platform
from collections.abc import Iterable, Mapping
from dataclasses import asdict, dataclass, field, fields
from datetime import UTC, datetime
from importlib.metadata import version
from pathlib import Path
from typing import Any, TypeVar

from lungsynth.about.figures import Figure, figures_of, to_json
from lungsynth.about.sources import Source, sources_of
from lungsynth.errors import ConfigError, DataError, OutputError
from lungsynth.files import file_sha256
from publish.data.schema import SCHEMA_VERSION
from publish.data.shards import Shard, write_atomic

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


def jsonl_bytes(values: Iterable[Mapping[str, Any]]) -> bytes:
    """JSON values as the text of a file, a line each."""
    return "".join(json.dumps(one, ensure_ascii=False) + "\n" for one in values).encode()


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
    schema: int = SCHEMA_VERSION

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
            "schema_version": self.schema,
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


def read_manifest(out: Path, *, earlier: bool = False) -> Manifest:
    """The manifest of a dataset folder; its claims are not checked.

    Args:
        out: The dataset folder.
        earlier: Take one of an earlier schema, too. Of such a one only what a comparison needs is taken:
            version, classes, shards, withdrawn rows; its configuration is as that program wrote it.

    Raises:
        ConfigError: there is none, it cannot be understood, or it is of another schema.
    """
    path = out / MANIFEST_NAME
    try:
        told = json.loads(path.read_text(encoding="utf-8"))
        schema = told["schema_version"]
        if type(schema) is not int:
            raise ValueError(f"schema_version {schema!r}")
        if schema > SCHEMA_VERSION or (schema < SCHEMA_VERSION and not earlier):
            raise ConfigError(
                f"{path}: schema version {schema}, this program writes and reads {SCHEMA_VERSION}. Use "
                f"the lungsynth version that made it, {told.get('code_version', 'another one')}, or "
                "build into another folder."
            )
        is_current = schema == SCHEMA_VERSION
        shards = tuple(_known(Shard, one) for one in told["shards"])
        files = tuple(_known(File, one) for one in told["files"]) if is_current else ()
        for name in [*(one.name for one in shards), *(one.name for one in files)]:
            inside(out, name)
        return Manifest(
            dict(told["config"]),
            dict(told["classes"]),
            dict(told.get("environment", {})),
            shards,
            int(told["n_shards"]) if is_current else len(shards),
            str(told["version"]),
            dict(told.get("card", {})),
            dict(told.get("withdrawn", {})),
            files,
            tuple(sources_of(told.get("sources", ()) if is_current else ())),
            tuple(figures_of(told.get("measured", ()) if is_current else ())),
            str(told.get("date", "")),
            dict(told.get("redrawn", {})),
            schema,
        )
    except FileNotFoundError as error:
        raise ConfigError(
            f"{out}: no {path.name}, so not a dataset of `publish build`. Build it first."
        ) from error
    except (OSError, ValueError, KeyError, TypeError, AttributeError) as error:
        raise ConfigError(
            f"{path}: cannot be understood as a manifest of `publish build` ({error!r}). Move the file "
            "away, or choose another folder, then run `publish build` again."
        ) from error


T = TypeVar("T", Shard, File)


def _known(kind: type[T], value: Mapping[str, Any]) -> T:
    """An entry of a list, without keys that only another program knows."""
    return kind(**{one.name: value[one.name] for one in fields(kind) if one.name in value})


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

    `config` and `names` are of what is to be built; the folder may not exist yet.

    Raises:
        ConfigError: the folder holds another dataset, or a manifest that cannot be understood.
        OutputError: it cannot be read.
    """
    known = set(names)
    old = read_manifest(out) if (out / MANIFEST_NAME).exists() else None
    if old is not None:
        _refuse_other(out, old.config, config)
    try:
        for path in sorted((out / "data").glob("*.parquet")):
            if f"data/{path.name}" not in known:
                raise ConfigError(
                    f"{path.parent}: {path.name} is no part of this dataset, but would be loaded with "
                    "it. Choose another --out, or move it away."
                )
        return {
            shard.name: shard
            for shard in (old.shards if old is not None else ())
            if shard.name in known
            and (out / shard.name).is_file()
            and file_sha256(out / shard.name) == shard.sha256
        }
    except OSError as error:
        raise OutputError(f"{out}: cannot be read ({error.strerror or error}).") from error


def _refuse_other(out: Path, old: Mapping[str, Any], config: Mapping[str, Any]) -> None:
    """Raise ConfigError, naming what differs, when a folder is of another configuration."""
    if canonical_sha256(old) == canonical_sha256(config):
        return
    differing = [
        f"{key} is {json.dumps(old.get(key))}, not {json.dumps(config.get(key))}"
        for key in sorted({*old, *config})
        if old.get(key) != config.get(key)
    ]
    raise ConfigError(
        f"{out}: holds a dataset of another configuration ({'; '.join(differing)}). "
        "Choose another --out, or give the same options to resume it."
    )


def read_json(path: Path) -> dict[str, Any]:
    """A JSON object of a file.

    Raises:
        DataError: it cannot be read, or is none.
    """
    try:
        value = json.loads(path.read_text(encoding="utf-8"))
    except (OSError, ValueError) as error:
        raise DataError(f"{path}: cannot be read as JSON ({error}).") from error
    if not isinstance(value, dict):
        raise DataError(f"{path}: a JSON {type(value).__name__}; expected an object.")
    return value
