"""The last release: a folder or the Hub's highest tag, of this schema or of an earlier one."""

from __future__ import annotations

import json
import shutil
from collections.abc import Callable
from dataclasses import fields
from pathlib import Path
from typing import TYPE_CHECKING, Any

from lungsynth.errors import ConfigError
from publish.build.finish import CARD_NAME
from publish.data.changelog import CHANGELOG_NAME
from publish.data.errata import ERRATA_NAME
from publish.data.manifest import MANIFEST_NAME, Manifest, inside, read_manifest, understood
from publish.data.schema import SCHEMA_VERSION
from publish.data.shards import Shard, file_sha256
from publish.hub.push_plan import TAG

if TYPE_CHECKING:
    from publish.hub.reader import HubReader


def schema_of(folder: Path) -> int:
    """Schema version of a dataset folder.

    Raises:
        ConfigError: it has no manifest that says so.
    """
    return int(_told(folder)["schema_version"])


def read_released(folder: Path) -> Manifest:
    """The manifest of a release, which an earlier program may have written.

    Of an earlier schema only what a comparison needs is taken: version, classes, shards, files'
    hashes, withdrawn rows. Its configuration is as that program wrote it.

    Raises:
        ConfigError: there is none, it cannot be understood, or a later program wrote it.
    """
    told = _told(folder)
    if told["schema_version"] == SCHEMA_VERSION:
        return read_manifest(folder)
    path = folder / MANIFEST_NAME
    if told["schema_version"] > SCHEMA_VERSION:
        raise ConfigError(
            f"{path}: schema version {told['schema_version']}, this program knows up to "
            f"{SCHEMA_VERSION}. Use the lungsynth version that made it, "
            f"{told.get('code_version', 'or a later one')}."
        )
    known = {one.name for one in fields(Shard)}
    try:
        shards = tuple(
            Shard(**{key: value for key, value in one.items() if key in known})
            for one in told["shards"]
        )
        for shard in shards:
            inside(folder, shard.name)
        return Manifest(
            dict(told["config"]),
            dict(told["classes"]),
            dict(told.get("environment", {})),
            shards,
            len(shards),
            str(told["version"]),
            dict(told.get("card", {})),
            dict(told.get("withdrawn", {})),
            date=str(told.get("date", "")),
        )
    except (ValueError, KeyError, TypeError, AttributeError) as error:
        raise ConfigError(
            f"{path}: of schema version {told['schema_version']} and cannot be understood "
            f"({error!r}). Give a release made by `publish build`."
        ) from error


def _told(folder: Path) -> dict[str, Any]:
    path = folder / MANIFEST_NAME
    with understood(path):
        told = json.loads(path.read_text(encoding="utf-8"))
        if isinstance(told["schema_version"], bool) or not isinstance(told["schema_version"], int):
            raise ValueError(f"schema_version {told['schema_version']!r}")
        return dict(told)


def last_tag(tags: dict[str, str]) -> str | None:
    """The highest vX.Y.Z of some tags; None without any."""
    named = [tag for tag in tags if TAG.fullmatch(tag)]
    return max(named, key=lambda tag: tuple(map(int, tag[1:].split("."))), default=None)


def fetch_last(hub: HubReader, local: Path, into: Path, say: Callable[[str], None]) -> Path | None:
    """The last tagged release of a repository, as a folder; shards that are here are not fetched.

    Args:
        hub: The repository, connected.
        local: A dataset folder whose shards may be the same.
        into: A folder for it.
        say: Called with a line about each step.

    Raises:
        HubError: the Hub cannot be asked.
        ConfigError: its manifest cannot be understood.
    """
    state = hub.state()
    tag = last_tag(state.tags) if state is not None else None
    if state is None or tag is None:
        return None
    sha = state.tags[tag]
    there = hub.tree(sha)
    if MANIFEST_NAME not in there:
        raise ConfigError(
            f"{hub.name} at {tag}: no {MANIFEST_NAME}, so the next version cannot be computed. Give "
            "a folder of it with --previous, or choose another --repo."
        )
    say(f"comparing with {tag} ({sha[:8]})")
    shutil.copy(hub.download(MANIFEST_NAME, sha), into / MANIFEST_NAME)
    manifest = read_released(into)
    for name in (CARD_NAME, CHANGELOG_NAME, ERRATA_NAME):
        if name in there:
            shutil.copy(hub.download(name, sha), into / name)
    for shard in manifest.shards:
        path, here = inside(into, shard.name), inside(local, shard.name)
        path.parent.mkdir(parents=True, exist_ok=True)
        same = here.is_file() and file_sha256(here) == shard.sha256
        path.symlink_to((here if same else hub.download(shard.name, sha)).resolve())
    return into
