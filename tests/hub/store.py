"""What a Hub keeps: repositories with commits that never change, branches, tags, large objects."""

from __future__ import annotations

import hashlib
import json
import threading
from dataclasses import dataclass, field

LFS_SUFFIXES = (".parquet", ".safetensors", ".png", ".jpg", ".bin", ".tar")
"""Files the Hub keeps outside git, by its default .gitattributes."""


class HubRefusal(Exception):
    """A request the Hub answers with an error."""

    def __init__(self, status: int, message: str, code: str | None = None) -> None:
        super().__init__(message)
        self.status, self.message, self.code = status, message, code


@dataclass(frozen=True)
class Entry:
    """A file of a commit: its bytes, or the SHA-256 of a large object."""

    size: int
    data: bytes | None = None
    lfs_oid: str | None = None

    @property
    def pointer(self) -> bytes:
        """What git holds of it."""
        if self.lfs_oid is None:
            assert self.data is not None
            return self.data
        return (
            f"version https://git-lfs.github.com/spec/v1\noid sha256:{self.lfs_oid}\n"
            f"size {self.size}\n"
        ).encode()

    @property
    def blob_oid(self) -> str:
        """git's SHA-1 of it."""
        return hashlib.sha1(b"blob %d\0" % len(self.pointer) + self.pointer).hexdigest()


@dataclass(frozen=True)
class Commit:
    """A commit; its name is the hash of what it holds and of its parent."""

    parent: str | None
    title: str
    tree: dict[str, Entry]
    n: int  # commits before it

    @property
    def sha(self) -> str:
        listing = {path: entry.blob_oid for path, entry in sorted(self.tree.items())}
        text = json.dumps([self.parent, self.title, self.n, listing])
        return hashlib.sha1(b"commit\0" + text.encode()).hexdigest()


@dataclass
class Repo:
    """A repository."""

    kind: str  # dataset, model or space
    name: str
    private: bool
    sdk: str | None = None
    hardware: str | None = None
    commits: dict[str, Commit] = field(default_factory=dict)
    branches: dict[str, str] = field(default_factory=dict)
    tags: dict[str, str] = field(default_factory=dict)
    objects: dict[str, bytes] = field(default_factory=dict)  # SHA-256 -> bytes
    lock: threading.RLock = field(default_factory=threading.RLock)

    def __post_init__(self) -> None:
        attributes = b"".join(b"*%s filter=lfs\n" % s.encode() for s in LFS_SUFFIXES)
        first = Commit(
            None, "initial commit", {".gitattributes": Entry(len(attributes), attributes)}, 0
        )
        self.commits[first.sha] = first
        self.branches["main"] = first.sha

    def resolve(self, revision: str) -> Commit:
        """A branch, tag or SHA -> its commit."""
        with self.lock:
            sha = self.branches.get(revision) or self.tags.get(revision) or revision
            if sha not in self.commits:
                raise HubRefusal(404, f"Invalid rev id: {revision}", "RevisionNotFound")
            return self.commits[sha]

    @property
    def head(self) -> Commit:
        """The newest commit of main."""
        return self.resolve("main")

    def history(self) -> list[Commit]:
        """Commits of main, newest first."""
        found: list[Commit] = []
        sha: str | None = self.branches["main"]
        while sha is not None:
            found.append(self.commits[sha])
            sha = self.commits[sha].parent
        return found

    def content(self, entry: Entry) -> bytes:
        """The bytes a reader of a file gets."""
        if entry.lfs_oid is None:
            assert entry.data is not None
            return entry.data
        return self.objects[entry.lfs_oid]

    def files(self, revision: str = "main") -> dict[str, bytes]:
        """Path -> bytes of a commit, without `.gitattributes`."""
        tree = self.resolve(revision).tree
        return {p: self.content(e) for p, e in sorted(tree.items()) if p != ".gitattributes"}

    def commit(
        self, branch: str, title: str, operations: list[tuple[str, dict]], parent: str | None = None
    ) -> Commit:
        """Apply all operations as one commit, or none.

        Raises:
            HubRefusal: 412 when the branch is not at `parent`; 400 for an object that was never
                uploaded; 404 for a deletion of what is not there.
        """
        with self.lock:
            if branch not in self.branches:
                raise HubRefusal(404, f"Invalid rev id: {branch}", "RevisionNotFound")
            before = self.commits[self.branches[branch]]
            if parent is not None and parent != before.sha:
                raise HubRefusal(412, "A commit has happened since. Please refresh and try again.")
            tree = dict(before.tree)
            for key, value in operations:
                self._apply(tree, key, value)
            made = Commit(before.sha, title, tree, before.n + 1)
            self.commits[made.sha] = made
            self.branches[branch] = made.sha
            return made

    def _apply(self, tree: dict[str, Entry], key: str, value: dict) -> None:
        path = value["path"]
        if path.startswith("/") or ".." in path.split("/"):
            raise HubRefusal(400, f"Invalid path: {path}")
        if key == "file":
            import base64

            data = base64.b64decode(value["content"])
            tree[path] = Entry(len(data), data)
        elif key == "lfsFile":
            if value["oid"] not in self.objects:
                raise HubRefusal(
                    400,
                    f"Your push was rejected because an LFS pointer pointed to a file that "
                    f"does not exist: {value['oid']}",
                )
            size = value.get("size", len(self.objects[value["oid"]]))
            tree[path] = Entry(size, lfs_oid=value["oid"])
        elif key == "deletedFile":
            if path not in tree:
                raise HubRefusal(
                    404, f"A file with this name doesn't exist: {path}", "EntryNotFound"
                )
            del tree[path]
        elif key == "deletedFolder":
            for inner in [p for p in tree if p.startswith(path.rstrip("/") + "/")]:
                del tree[inner]
        else:
            raise HubRefusal(400, f"Unknown operation {key}")

    def tag(self, name: str, revision: str) -> None:
        """Name a commit, once and for all."""
        with self.lock:
            sha = self.resolve(revision).sha
            if name in self.tags:
                raise HubRefusal(409, f"Tag reference exists already: {name}")
            self.tags[name] = sha
