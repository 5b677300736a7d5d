"""What a push would do, decided before anything is changed."""

from __future__ import annotations

import re
from collections.abc import Mapping
from dataclasses import asdict, dataclass
from typing import Any

from lungsynth.errors import ConfigError, TagExistsError
from publish.hub.payload import Payload
from publish.hub.reader import RemoteFile
from publish.hub.repository import Hub

TAG = re.compile(r"v(0|[1-9]\d*)\.(0|[1-9]\d*)\.(0|[1-9]\d*)")
Tree = Mapping[str, RemoteFile]


def check_tag(tag: str | None) -> None:
    """Refuse what is no version.

    Raises:
        ConfigError: it is something else.
    """
    if tag is not None and not TAG.fullmatch(tag):
        raise ConfigError(f"--tag {tag!r}: not a version; expected vX.Y.Z, such as v1.3.0.")


@dataclass(frozen=True)
class Changes:
    """What a push does to each file."""

    new: tuple[str, ...]
    changed: tuple[str, ...]
    same: tuple[str, ...]
    deleted: tuple[str, ...]
    kept: tuple[str, ...]  # not ours, left alone

    @property
    def sent(self) -> tuple[str, ...]:
        """Files that are sent."""
        return tuple(sorted((*self.new, *self.changed)))

    @property
    def touched(self) -> tuple[str, ...]:
        """Files the commit names."""
        return (*self.sent, *self.deleted)


def compare(payload: Payload, tree: Tree) -> Changes:
    """A payload against a commit's files."""
    new: list[str] = []
    changed: list[str] = []
    same: list[str] = []
    for path, file in payload.files.items():
        there = tree.get(path)
        (new if there is None else same if there.is_same_as(file) else changed).append(path)
    others = sorted(path for path in tree if path not in payload.files)
    deleted = [path for path in others if payload.is_stale(path)]
    kept = [path for path in others if path not in deleted]
    return Changes(tuple(new), tuple(changed), tuple(same), tuple(deleted), tuple(kept))


@dataclass(frozen=True)
class Plan:
    """What a push would do."""

    repo: str
    kind: str
    url: str
    user: str | None  # None = not asked
    head: str | None  # None = there is no repository, or it was not asked
    is_private: bool
    tag: str | None
    changes: Changes
    n_bytes: int  # to be sent, at most
    tagged: bool  # the tag is there, on these very files

    @property
    def is_done(self) -> bool:
        """Whether the Hub holds all of it already."""
        return (
            not self.changes.touched and self.head is not None and (self.tag is None or self.tagged)
        )

    def to_json(self) -> dict[str, Any]:
        """For machines."""
        return {
            "repo": self.repo,
            "type": self.kind,
            "url": self.url,
            "user": self.user,
            "head": self.head,
            "private": self.is_private,
            "tag": self.tag,
            **asdict(self.changes),
            "bytes": self.n_bytes,
        }

    def to_text(self) -> str:
        """For people."""
        seen = "private" if self.is_private else "PUBLIC"
        if self.user is None:
            where = "not asked"
        else:
            where = (
                f"to be created, {seen}"
                if self.head is None
                else f"{seen}, main at {self.head[:8]}"
            )
        lines = [f"{self.kind} {self.repo} ({where}) at {self.url}"]
        for name in ("new", "changed", "deleted", "same", "kept"):
            paths = getattr(self.changes, name)
            if paths:
                shown = ", ".join(paths[:4]) + (" …" if len(paths) > 4 else "")
                lines.append(f"  {name:8}{len(paths):>5}  {shown}")
        lines.append(f"  to send  {self.n_bytes / 1e6:.1f} MB at most; tag {self.tag or 'none'}")
        return "\n".join(lines)


def offline_plan(payload: Payload, repo: str, url: str, tag: str | None, *, public: bool) -> Plan:
    """The plan against an empty repository; nothing is asked of the Hub."""
    changes = compare(payload, {})
    return Plan(
        repo, payload.kind, url, None, None, not public, tag, changes, payload.n_bytes, False
    )


def make_plan(hub: Hub, payload: Payload, tag: str | None, *, public: bool) -> Plan:
    """Look at the Hub and decide what to do. Nothing is changed.

    Raises:
        AccessError: no token, or one that cannot write.
        TagExistsError: the tag names other files.
        UnreachableError: the Hub does not answer in time.
    """
    user = hub.check_account()
    state = hub.state()
    tree: Tree = hub.tree(state.head) if state is not None else {}
    tagged = False
    if state is not None and tag in state.tags:
        at = state.tags[str(tag)]
        there = tree if at == state.head else hub.tree(at)
        if compare(payload, there).touched:
            raise TagExistsError(
                f"{tag} of {hub.name} exists, at {at[:8]}, with other files. Tags are never moved: "
                "give the next version."
            )
        tagged, tree = True, there
    changes = compare(payload, tree)
    return Plan(
        hub.name,
        payload.kind,
        hub.url,
        user,
        state.head if state else None,
        state.is_private if state else not public,
        tag,
        changes,
        sum(payload.files[path].size for path in changes.sent),
        tagged,
    )
