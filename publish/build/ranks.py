"""Ranks of an engine: which shard each draws, and the folder where workers leave word.

A worker never writes the manifest. It writes its shard into the dataset folder and a record of it
into the work folder, beside the engine's own markers and logs; the process that leads reads the
records. The work folder lies outside the dataset folder, so nothing of it is checked or pushed.
"""

from __future__ import annotations

import json
import os
import shutil
import threading
import time
from collections.abc import Mapping, Sequence
from contextlib import suppress
from dataclasses import asdict
from pathlib import Path
from typing import Any, NoReturn

import numpy as np

from lungsynth import errors
from lungsynth.errors import LungSynthError, OutputError, WorkerError
from lungsynth.files import file_sha256
from publish.build.plan import Plan
from publish.build.worker import Drawer, Job, Order
from publish.data.manifest import canonical_sha256, inside
from publish.data.shards import Shard, write_atomic

PARENT_CHECK = 1.0  # seconds between two looks at whether the parent process lives


class WorkFolder:
    """The work folder, below `root`, of one configuration; its words outlive a killed leader."""

    def __init__(self, root: Path, config: Mapping[str, Any]) -> None:
        self.path = root.absolute() / canonical_sha256(config)[:12]
        self._config = config

    def prepare(self, the_plan: Plan, finished: Mapping[str, Shard]) -> None:
        """Make an engine's markers say what is true: ranks whose shards are finished and whole, no
        others.

        Raises:
            OutputError: the folder cannot be written.
        """
        marks = self.path / "completions"
        try:
            for name in ("completions", "shards", "rows"):
                (self.path / name).mkdir(parents=True, exist_ok=True)
            shutil.rmtree(self.path / "errors", ignore_errors=True)
            for rank, name in enumerate(the_plan.names):
                if name in finished:
                    (marks / f"{rank:05d}").touch()
                else:
                    (marks / f"{rank:05d}").unlink(missing_ok=True)
                    self._record(name).unlink(missing_ok=True)
            for split, rows in the_plan.rows.items():
                if len(rows) != int(the_plan.config["n"]):  # else they are 0, 1, 2 …
                    np.save(self.path / "rows" / f"{split}.npy", rows)
        except OSError as error:
            raise OutputError(
                f"{self.path}: cannot be written ({error.strerror or error}). Choose another --logs."
            ) from error

    def indices(self, split: str, rank: int) -> list[int]:
        """Row numbers of a shard, of a plan given to `prepare`; see `Plan.indices`."""
        path, size = self.path / "rows" / f"{split}.npy", int(self._config["shard_rows"])
        rows = np.load(path, mmap_mode="r") if path.is_file() else range(int(self._config["n"]))
        return [int(i) for i in rows[rank * size : (rank + 1) * size]]

    def write_record(self, shard: Shard) -> None:
        """Say that a shard is finished."""
        write_atomic(self._record(shard.name), json.dumps(asdict(shard)).encode())

    def read_record(self, out: Path, name: str, *, check_hash: bool) -> Shard | None:
        """What a worker said of a shard that is there; None without both.

        The whole file is compared with its hash, or its size alone.
        """
        try:
            shard = Shard(**json.loads(self._record(name).read_text(encoding="utf-8")))
            there = inside(out, shard.name)
            if shard.name != name or there.stat().st_size != shard.n_bytes:
                return None
            return None if check_hash and file_sha256(there) != shard.sha256 else shard
        except (OSError, ValueError, TypeError):
            return None

    def recorded(self) -> set[str]:
        """Names of the records, as `Path.stem` of a shard has them."""
        with suppress(OSError):
            return {path.stem for path in (self.path / "shards").glob("*.json")}
        return set()

    def write_error(self, rank: int, error: Exception) -> None:
        """Say why a rank could not be drawn."""
        told = {"kind": type(error).__name__, "message": str(error)}
        with suppress(LungSynthError):
            write_atomic(self.path / "errors" / f"{rank:05d}.json", json.dumps(told).encode())

    def raise_error(self, missing: Sequence[str]) -> NoReturn:
        """Raise what a worker met, for shards that an engine did not finish; else WorkerError."""
        where = f"{len(missing)} shards are missing. Logs: {self.path}"
        for path in sorted((self.path / "errors").glob("*.json")):
            told = json.loads(path.read_text(encoding="utf-8"))
            kind = getattr(errors, str(told["kind"]), None)
            if isinstance(kind, type) and issubclass(kind, LungSynthError):
                raise kind(f"{told['message']} ({where})")
            raise WorkerError(f"rank {path.stem}: {told['kind']}: {told['message']} ({where})")
        raise WorkerError(
            f"{where}, first {missing[0]}: workers died or never ran. The same command draws what "
            "is missing."
        )

    def _record(self, name: str) -> Path:
        return self.path / "shards" / f"{Path(name).stem}.json"


class DrawRank:
    """What an engine runs for each rank, a step of a datatrove pipeline: rank r draws shard r of
    `table`.

    With `watch_parent` this process ends when its parent does: for engines whose workers are
    children of a process that can be lost.
    """

    def __init__(
        self,
        job: Job,
        folder: WorkFolder,
        table: Sequence[tuple[str, int, str]],
        *,
        watch_parent: bool = False,
    ) -> None:
        self.folder, self.table, self.watch_parent = folder, table, watch_parent
        self.job, self._draw = job, Drawer(job)

    def __repr__(self) -> str:  # of the engine's logs
        return f"draw {len(self.table)} shards into {self.job.out}"

    def __call__(self, data: Any, rank: int, world_size: int = 1) -> None:
        """Draw the shard of a rank, unless a worker that was given up for lost has drawn it."""
        if self.watch_parent:
            threading.Thread(target=_end_with, args=(os.getppid(),), daemon=True).start()
        split, number, name = self.table[rank]
        try:
            if self.folder.read_record(self.job.out, name, check_hash=True) is None:
                order = Order(split, number, name, self.folder.indices(split, number))
                self.folder.write_record(self._draw(order))
        except Exception as error:
            self.folder.write_error(rank, error)
            raise


def _end_with(parent: int) -> None:
    while os.getppid() == parent:
        time.sleep(PARENT_CHECK)
    os._exit(1)
