"""Reading back what was pushed, as a stranger would, at the commit and from empty caches."""

from __future__ import annotations

import errno
import hashlib
import tempfile
from collections.abc import Callable
from pathlib import Path
from typing import Any

from lungsynth.errors import LungSynthError, OutputError, VerificationError
from lungsynth.files import file_sha256
from publish.data.rows import quiet_datasets
from publish.hub.dataset_files import add_ids
from publish.hub.payload import Payload, SplitRows
from publish.hub.reader import redact
from publish.hub.repository import Hub
from publish.hub.retry import DeadlinePassed, Transient, find_cause
from publish.hub.transport import library_settings

LOAD_ATTEMPTS = 3
"""How often a load is tried whose failure does not say what it was."""


def verify(
    hub: Hub, payload: Payload, sha: str, *, contents: bool = True, say: Callable[[str], None]
) -> dict[str, Any]:
    """Compare a commit with what it should hold; JSON of what was compared.

    With `contents` every file is downloaded and every split loaded, else names, sizes and hashes
    are compared as the Hub gives them.

    Raises:
        VerificationError: something differs, or does not load.
    """
    say(f"comparing the files of commit {sha[:8]}")
    check_tree(hub, payload, sha)
    report: dict[str, Any] = {"files": len(payload.files), "bytes": payload.n_bytes}
    if not contents:
        return report
    try:
        return report | _read_back(hub, payload, sha, say)
    except OSError as error:
        raise OutputError(
            f"What was pushed cannot be read back here ({error.strerror or error}). Free space, set "
            "TMPDIR to a larger disk, or give --verify tree."
        ) from error


def _is_full(error: Exception) -> bool:
    cause = find_cause(error, OSError)
    return cause is not None and cause.errno in (errno.ENOSPC, errno.EDQUOT)


def _read_back(hub: Hub, payload: Payload, sha: str, say: Callable[[str], None]) -> dict[str, Any]:
    """Download every file and load every split, into empty caches that are removed afterwards."""
    with tempfile.TemporaryDirectory(prefix="publish-verify-") as home:
        cache = Path(home)
        with library_settings(HF_HUB_CACHE=str(cache / "hub")):
            for path, file in payload.files.items():
                got = file_sha256(hub.download(path, sha))
                if got != file.sha256:
                    raise VerificationError(
                        f"{path} at {sha[:8]}: what comes back has the SHA-256 {got[:16]}…, not "
                        f"{file.sha256[:16]}…: the Hub's storage spoilt it. Delete it there for good "
                        "(HfApi.permanently_delete_lfs_files) and push again."
                    )
            with quiet_datasets():
                for split in payload.splits:
                    for streaming in (False, True):
                        way = "streaming" if streaming else "plain"
                        say(f"loading {split.config}/{split.split}, {way}")
                        _load(hub, split, sha, cache / "datasets", streaming)
    splits = [{"config": s.config, "split": s.split, "rows": s.n_rows} for s in payload.splits]
    return {"downloaded": True, "splits": splits}


def check_tree(hub: Hub, payload: Payload, sha: str) -> None:
    """Compare names, sizes and hashes.

    Raises:
        VerificationError: they differ.
    """
    tree = hub.tree(sha)
    for path, file in payload.files.items():
        there = tree.get(path)
        if there is None or not there.is_same_as(file):
            what = "is missing" if there is None else "is another file"
            raise VerificationError(
                f"{hub.name} at {sha[:8]}: {path} {what}. Run the same command again."
            )
    stale = [path for path in tree if payload.is_stale(path)]
    if stale:
        raise VerificationError(
            f"{hub.name} at {sha[:8]}: {stale[0]} is still there. Run the same command again."
        )


def _load(hub: Hub, wanted: SplitRows, sha: str, cache: Path, streaming: bool) -> None:
    """Load a split as its users will, and compare its rows."""
    from huggingface_hub import HfFileSystem  # deferred: slow to import

    what = f"{wanted.config}/{wanted.split} at {sha[:8]}, {'streaming' if streaming else 'plain'}"
    failures = 0

    def act() -> tuple[int, str]:
        nonlocal failures
        HfFileSystem.clear_instance_cache()  # it remembers failures
        try:
            return _read_rows(hub.name, wanted, sha, cache, streaming)
        except Exception as error:
            if find_cause(error, Transient) or find_cause(error, DeadlinePassed) or _is_full(error):
                raise
            failures += 1
            if failures >= LOAD_ATTEMPTS or isinstance(error, LungSynthError):
                raise VerificationError(
                    f"{what}: load_dataset fails ({type(error).__name__}: {redact(str(error))[:300]})."
                ) from error
            raise Transient(f"{type(error).__name__}: {redact(str(error))}") from error

    n_rows, ids = hub.retry.call(f"loading {what}", act)
    if n_rows != wanted.n_rows:
        raise VerificationError(f"{what}: {n_rows} rows, not {wanted.n_rows}.")
    if ids != wanted.ids_sha256:
        raise VerificationError(f"{what}: rows are missing, doubled, or in another order.")


def _read_rows(
    name: str, wanted: SplitRows, sha: str, cache: Path, streaming: bool
) -> tuple[int, str]:
    """Number of rows, and the hash over their names; the first row is decoded."""
    import datasets  # deferred: slow to import

    rows = datasets.load_dataset(
        name,
        wanted.config,
        split=wanted.split,
        revision=sha,
        streaming=streaming,
        cache_dir=str(cache),
    )
    next(iter(rows))  # decodes its pictures
    digest, n_rows = hashlib.sha256(), 0
    for batch in rows.select_columns(["id"]).iter(batch_size=1000):
        n_rows += len(batch["id"])
        add_ids(digest, list(batch["id"]))
    return n_rows, digest.hexdigest()
