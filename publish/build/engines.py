"""`--engine local|slurm|ray`: the shards of a build, drawn by datatrove's executors.

datatrove runs the ranks, skips finished ones, retries lost ones and keeps logs; this file only tells
it what to run and where. datatrove and Ray are in the optional extra `scale`.
"""

from __future__ import annotations

import importlib
import threading
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from lungsynth.errors import ConfigError, MissingDependencyError
from publish.build.executors import check_slurm, run_local, run_ray, run_slurm
from publish.build.plan import Plan
from publish.build.ranks import DrawRank, WorkFolder
from publish.build.worker import Job
from publish.data.shards import Shard

ENGINES = ("local", "slurm", "ray")

OPTIONS: dict[str, dict[str, type]] = {
    "local": {},
    "slurm": {
        "partition": str,
        "time": str,
        "qos": str,
        "cpus_per_task": int,
        "mem_per_cpu_gb": int,
        "gpus_per_task": int,
        "tasks_per_job": int,
        "max_array_size": int,
        "mail_user": str,
    },
    "ray": {
        "address": str,
        "cpus_per_task": int,
        "mem_per_cpu_gb": float,
        "gpus_per_task": int,
        "time": int,
    },
}
"""Engine -> arguments of its executor that may be given, with their types."""

NEEDED = {"local": (), "slurm": ("partition", "time"), "ray": ()}

POLL = 1.0  # seconds between two looks for records of finished shards


@dataclass(frozen=True)
class Engine:
    """Where shards are drawn, and how."""

    name: str  # of ENGINES
    workers: int | None = None  # shards drawn at a time; None for as many as there is room for
    options: dict[str, Any] = field(default_factory=dict)  # arguments of its executor
    logs: Path | None = None  # root of work folders; None for one beside the dataset folder

    def root(self, out: Path) -> Path:
        """Where work folders are made."""
        return self.logs if self.logs is not None else out.absolute().with_name(f"{out.name}.build")


def read_engine(
    name: str, given: Sequence[str] = (), *, workers: int | None = None, logs: Path | None = None
) -> Engine:
    """An engine from options: KEY=VALUE, for slurm also sbatch.KEY=VALUE, any option of sbatch.

    Raises:
        ConfigError: the engine or a key is unknown, a value has the wrong type, or one is missing.
    """
    if name not in ENGINES:
        raise ConfigError(f"--engine {name}: unknown; there are {', '.join(ENGINES)}.")
    known = OPTIONS[name]
    options: dict[str, Any] = {}
    for one in given:
        key, equals, value = one.partition("=")
        if name == "slurm" and key.startswith("sbatch.") and equals:
            options.setdefault("sbatch_args", {})[key.removeprefix("sbatch.")] = value
            continue
        if key not in known or not equals:
            listed = [*known, *(["sbatch.ANYTHING"] if name == "slurm" else [])]
            raise ConfigError(
                f"--engine-option {one!r}: expected KEY=VALUE, for {name} with a KEY of: "
                f"{', '.join(listed) or 'none'}."
            )
        try:
            options[key] = known[key](value)
        except ValueError:
            raise ConfigError(f"--engine-option {one!r}: expected a number after {key}=.") from None
    missing = [key for key in NEEDED[name] if key not in options]
    if missing:
        raise ConfigError(
            f"--engine {name}: needs {' and '.join(f'--engine-option {key}=…' for key in missing)}."
        )
    return Engine(name, workers, options, logs)


def check_engine(engine: Engine, the_plan: Plan, out: Path) -> None:
    """Make sure an engine can run before anything is written.

    Raises:
        MissingDependencyError: a package is not installed.
        WorkerError: the programs of Slurm are not here.
        ConfigError: jobs of this dataset are still in Slurm's queue; or the work folder would lie in
            the dataset folder.
    """
    root = engine.root(out).absolute()
    if out.absolute() in (root, *root.parents):
        raise ConfigError(
            f"--logs {root}: lies in the dataset folder, whose files are published. Choose another."
        )
    for module in ("datatrove", *(("ray",) if engine.name == "ray" else ())):
        try:
            importlib.import_module(module)
        except ImportError as error:
            raise MissingDependencyError(
                f'--engine {engine.name}: {module} is not installed; run: pip install -e ".[scale]"'
            ) from error
    if engine.name == "slurm":
        check_slurm(WorkFolder(engine.root(out), the_plan.config).path)


def adopt(engine: Engine, the_plan: Plan, out: Path, finished: dict[str, Shard]) -> None:
    """Add to `finished`, name -> shard, what workers finished after the last manifest was written.

    The folder is locked.
    """
    folder = WorkFolder(engine.root(out), the_plan.config)
    for name in the_plan.names:
        if name not in finished:
            shard = folder.read_record(out, name, check_hash=True)
            if shard is not None:
                finished[name] = shard


def draw_by_engine(
    engine: Engine,
    the_plan: Plan,
    job: Job,
    finished: Mapping[str, Shard],
    on_shard: Callable[[Shard], None],
) -> None:
    """Draw the shards that are not `finished` (name -> shard); `on_shard` is called with each, one
    at a time.

    Raises:
        LungSynthError: what a worker met; finished shards stay, and the same command goes on.
        WorkerError: workers died more often than the engine retries.
    """
    folder = WorkFolder(engine.root(job.out), the_plan.config)
    folder.prepare(the_plan, finished)
    left = {Path(name).stem: name for name in the_plan.names if name not in finished}
    step = DrawRank(job, folder, the_plan.shards, watch_parent=engine.name == "ray")
    run = {"local": run_local, "slurm": run_slurm, "ray": run_ray}[engine.name]
    with _quiet_datatrove(folder.path / "leader.log"), _told(folder, job.out, left, on_shard):
        run(step, len(left), engine.workers, engine.options)
    if left:
        folder.raise_error(sorted(left.values()))


@contextmanager
def _told(
    folder: WorkFolder, out: Path, left: dict[str, str], on_shard: Callable[[Shard], None]
) -> Iterator[None]:
    """Tell of new records while an engine runs, and of the last ones after it."""
    over, failed = threading.Event(), list[BaseException]()

    def look() -> None:
        for stem in sorted(folder.recorded() & left.keys()):
            shard = folder.read_record(out, left[stem], check_hash=False)
            if shard is not None:
                del left[stem]
                on_shard(shard)

    def watch() -> None:
        try:
            while not over.wait(POLL):
                look()
        except BaseException as error:  # noqa: BLE001 - raised again below, in the main thread
            failed.append(error)

    watcher = threading.Thread(target=watch, daemon=True)
    watcher.start()
    try:
        yield
    finally:
        over.set()
        watcher.join()
        if failed:
            raise failed[0]
        look()


@contextmanager
def _quiet_datatrove(log: Path) -> Iterator[None]:
    """What datatrove says in this process goes into a file."""
    import datatrove.utils.logging  # sets up a logger of its own, to be replaced
    from loguru import logger

    logger.remove()
    logger.add(log, level="DEBUG")
    try:
        yield
    finally:
        logger.remove()
        datatrove.utils.logging.setup_default_logger()
