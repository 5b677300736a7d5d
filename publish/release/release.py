"""build -> version -> check -> push: a release, whose number follows from what changed in the data."""

from __future__ import annotations

import shutil
from collections.abc import Callable
from dataclasses import dataclass, replace
from pathlib import Path

from lungsynth.errors import ConfigError
from lungsynth.files import file_sha256
from publish.build.engines import Engine
from publish.build.finish import CARD_NAME, finish
from publish.build.plan import Plan
from publish.build.run import build
from publish.card.dataset_card import read_human
from publish.check.checks import Checked, check
from publish.data.changelog import CHANGELOG_NAME, add_entry
from publish.data.errata import ERRATA_NAME, read_errata, write_errata
from publish.data.manifest import MANIFEST_NAME, Manifest, inside, read_manifest, today
from publish.data.shards import locked, write_atomic
from publish.hub.push_plan import TAG
from publish.hub.reader import HubReader
from publish.release.diff import Diff, diff, next_version


@dataclass(frozen=True, slots=True)
class Prepared:
    """A release that is ready on disk."""

    version: str  # X.Y.Z
    previous: str | None  # version before
    changes: Diff | None  # None for a first release
    checks: tuple[Checked, ...]


def prepare(
    the_plan: Plan,
    out: Path,
    previous: Path | None,
    *,
    load: bool = True,
    quiet: bool = False,
    workers: int | None = None,
    engine: Engine | None = None,
) -> Prepared:
    """Build a dataset (`publish.build.run.build`), number it by what changed since the last
    release, and check it.

    Rows that were withdrawn stay withdrawn, the changelog grows, and what people wrote into the
    last card is kept unless the new one has words of its own. The same command gives the same
    files. `previous` is the folder of the last release; None for the first.

    Raises:
        ConfigError: see `build`; or the last release is of a later schema, or cannot be understood.
        OutputError: the folder cannot be written.
    """
    old = read_manifest(previous, earlier=True) if previous is not None else None
    if previous is not None:
        _keep_errata(out, previous)
    drawn_before = read_manifest(out) if (out / MANIFEST_NAME).is_file() else None
    build(the_plan, out, workers=workers, engine=engine, quiet=quiet)
    changes = None
    if previous is not None and old is not None:
        with locked(out):
            changes = _number(out, previous, old, drawn_before)
    version = read_manifest(out).version
    return Prepared(version, old.version if old else None, changes, tuple(check(out, load=load)))


def _keep_errata(out: Path, previous: Path) -> None:
    """Rows withdrawn from the last release are withdrawn from this one."""
    every = {**read_errata(previous), **read_errata(out)}
    if every:
        write_errata(out, every)


def _number(out: Path, previous: Path, old: Manifest, drawn_before: Manifest | None) -> Diff:
    """Give a built folder version and date: first those of the last release, to compare, then its own."""
    for name, wanted in (
        (CHANGELOG_NAME, True),
        (CARD_NAME, not any(text.strip() for text in read_human(out).values())),
    ):
        if wanted and (previous / name).is_file():
            write_atomic(out / name, (previous / name).read_bytes())
    built = read_manifest(out)
    stated = str(built.card.get("date", ""))
    manifest = replace(built, version=old.version, date=stated or old.date, files=())
    finish(out, manifest)
    changes = diff(previous, out)
    if changes.bump == "none":
        return changes
    version = next_version(old.version, changes.bump)
    is_same = drawn_before is not None and drawn_before.version == version
    date = stated or (drawn_before.date if drawn_before and is_same else "") or today()
    text = (out / CHANGELOG_NAME).read_text(encoding="utf-8")
    write_atomic(out / CHANGELOG_NAME, add_entry(text, version, changes.lines()).encode())
    finish(out, replace(manifest, version=version, date=date))
    return changes


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
