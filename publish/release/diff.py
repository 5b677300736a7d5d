"""What changed between two datasets, and which version number that asks for."""

from __future__ import annotations

import hashlib
import json
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

import pyarrow.parquet as pq
from datasets import Features

from lungsynth.errors import ConfigError
from publish.data.manifest import Manifest, inside, read_manifest
from publish.data.rows import decode, iter_rows
from publish.data.schema import pixel_sha256

RANKS = ("none", "patch", "minor", "major")
PROVENANCE = ("code_version",)
"""Columns whose change does not change what a row says."""


@dataclass(frozen=True, slots=True)
class Diff:
    """Two datasets compared."""

    schema: tuple[int, int]  # version of each; another one: columns may mean something else
    columns_added: tuple[str, ...]
    columns_removed: tuple[str, ...]
    columns_changed: tuple[str, ...]  # other type or meaning
    classes_changed: bool  # a mask value means something else, or is gone
    classes_added: bool
    rows_added: tuple[str, ...]
    rows_removed: tuple[str, ...]  # without those an erratum withdrew
    rows_withdrawn: tuple[str, ...]
    rows_changed: tuple[str, ...]  # other picture, mask, label or split
    files_changed: tuple[str, ...]  # other bytes, the same rows: card, figures, shards written anew

    @property
    def bump(self) -> str:
        """none, patch, minor or major.

        As Croissant 1.1 has it: MAJOR changes or removes what was there, MINOR only adds, PATCH
        leaves every row as it was, or takes out rows that an erratum lists. Another schema version
        is MAJOR, whatever the columns are called.
        """
        if (
            self.schema[0] != self.schema[1]
            or self.columns_removed
            or self.columns_changed
            or self.classes_changed
            or self.rows_removed
            or self.rows_changed
        ):
            return "major"
        if self.columns_added or self.classes_added or self.rows_added:
            return "minor"
        return "patch" if self.rows_withdrawn or self.files_changed else "none"

    def lines(self) -> list[str]:
        """A sentence a change, for a changelog; [] when there is none."""
        said = []
        if self.schema[0] != self.schema[1]:
            said.append("Schema version {} -> {}.".format(*self.schema))
        for what, names in (
            ("Columns added", self.columns_added),
            ("Columns removed", self.columns_removed),
            ("Columns of another type", self.columns_changed),
        ):
            if names:
                said.append(f"{what}: {', '.join(names)}.")
        if self.classes_changed or self.classes_added:
            said.append("Classes changed." if self.classes_changed else "Classes added.")
        for what, rows in (
            ("added", self.rows_added),
            ("removed", self.rows_removed),
            ("withdrawn by an erratum", self.rows_withdrawn),
            ("changed", self.rows_changed),
        ):
            if rows:
                said.append(f"{len(rows):,} row{'s' * (len(rows) > 1)} {what} ({_few(rows)}).")
        if self.files_changed and not said:
            said.append(f"The same rows; files changed: {_few(self.files_changed)}.")
        return said

    def to_json(self) -> dict[str, Any]:
        """For `--json`."""
        return {"bump": self.bump, **asdict(self)}


def diff(old: Path, new: Path) -> Diff:
    """Compare the folder of a published release, perhaps of an earlier schema, with that of the
    next, by schema, rows and files.

    Raises:
        ConfigError: one of them has no manifest that can be understood.
        DataError: a shard cannot be read.
    """
    before, after = (read_manifest(one, earlier=True) for one in (old, new))
    columns = [_columns(*one) for one in ((old, before), (new, after))]
    shared = sorted(set(columns[0]) & set(columns[1]))
    told = [name for name in shared if name not in PROVENANCE]
    rows = [_digests(*one, told) for one in ((old, before), (new, after))]
    gone = [one for one in rows[0] if one not in rows[1]]
    meanings = [set(one.classes.items()) for one in (before, after)]
    return Diff(
        schema=(before.schema, after.schema),
        columns_added=tuple(n for n in columns[1] if n not in columns[0]),
        columns_removed=tuple(n for n in columns[0] if n not in columns[1]),
        columns_changed=tuple(n for n in shared if columns[0][n] != columns[1][n]),
        classes_changed=not meanings[0] <= meanings[1],
        classes_added=meanings[0] < meanings[1],
        rows_added=tuple(one for one in rows[1] if one not in rows[0]),
        rows_removed=tuple(one for one in gone if one not in after.withdrawn),
        rows_withdrawn=tuple(one for one in gone if one in after.withdrawn),
        rows_changed=tuple(
            one for one in rows[0] if rows[1].get(one, rows[0][one]) != rows[0][one]
        ),
        files_changed=_files(before, after),
    )


def next_version(version: str, bump: str) -> str:
    """1.2.3 raised by "none", "patch", "minor" or "major".

    Raises:
        ConfigError: the version is not X.Y.Z, or the bump is unknown.
    """
    parts = version.split(".")
    if len(parts) != 3 or not all(part.isdigit() for part in parts) or bump not in RANKS:
        raise ConfigError(f"Version {version!r}, bump {bump!r}; expected X.Y.Z and one of {RANKS}.")
    major, minor, patch = map(int, parts)
    return {
        "none": version,
        "patch": f"{major}.{minor}.{patch + 1}",
        "minor": f"{major}.{minor + 1}.0",
        "major": f"{major + 1}.0.0",
    }[bump]


def _columns(dist: Path, manifest: Manifest) -> dict[str, str]:
    """Column -> its feature as text."""
    schema = pq.read_schema(inside(dist, manifest.shards[0].name))
    return {name: repr(kind) for name, kind in Features.from_arrow_schema(schema).items()}


def _digests(dist: Path, manifest: Manifest, columns: list[str]) -> dict[str, bytes]:
    """Row -> digest of its values, pictures by their pixels."""
    found = {}
    for _, one in iter_rows(dist, manifest.shards, columns):
        values = {k: _content(one[k], f"{one['id']}, {k}") for k in columns}
        text = json.dumps(values, sort_keys=True)
        found[str(one["id"])] = hashlib.sha256(text.encode()).digest()[:16]
    return found


def _content(value: Any, where: str) -> Any:
    if isinstance(value, dict) and "bytes" in value:
        return pixel_sha256(decode(value, where))
    if isinstance(value, dict):
        return {k: _content(v, where) for k, v in value.items()}
    if isinstance(value, list):
        return [_content(v, where) for v in value]
    return value


def _files(before: Manifest, after: Manifest) -> tuple[str, ...]:
    """Files with other bytes, added or gone."""
    old, new = before.listed, after.listed
    return tuple(sorted(n for n in {*old, *new} if old.get(n) != new.get(n)))


def _few(names: tuple[str, ...]) -> str:
    return ", ".join(names[:5]) + (f" and {len(names) - 5} more" if len(names) > 5 else "")
