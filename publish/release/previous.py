"""The last release: a folder or the Hub's highest tag, of this schema or of an earlier one."""

from __future__ import annotations

import shutil
from collections.abc import Callable
from pathlib import Path
from typing import TYPE_CHECKING

from lungsynth.errors import ConfigError
from lungsynth.files import file_sha256
from publish.build.finish import CARD_NAME
from publish.data.changelog import CHANGELOG_NAME
from publish.data.errata import ERRATA_NAME
from publish.data.manifest import MANIFEST_NAME, inside, read_manifest
from publish.hub.push_plan import TAG

if TYPE_CHECKING:
    from publish.hub.reader import HubReader


def last_tag(tags: dict[str, str]) -> str | None:
    """The highest vX.Y.Z of some tags; None without any."""
    named = [tag for tag in tags if TAG.fullmatch(tag)]
    return max(named, key=lambda tag: tuple(map(int, tag[1:].split("."))), default=None)


def fetch_last(hub: HubReader, local: Path, into: Path, say: Callable[[str], None]) -> Path | None:
    """The last tagged release of a repository, as the folder `into`; None when there is none.

    Shards that lie in the dataset folder `local` are not fetched.

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
    manifest = read_manifest(into, earlier=True)
    for name in (CARD_NAME, CHANGELOG_NAME, ERRATA_NAME):
        if name in there:
            shutil.copy(hub.download(name, sha), into / name)
    for shard in manifest.shards:
        path, here = inside(into, shard.name), inside(local, shard.name)
        path.parent.mkdir(parents=True, exist_ok=True)
        same = here.is_file() and file_sha256(here) == shard.sha256
        path.symlink_to((here if same else hub.download(shard.name, sha)).resolve())
    return into
