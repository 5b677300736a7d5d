"""Worker processes on this machine, over the standard library's pool."""

from __future__ import annotations

import os
import signal
import sys
import threading
import time
from collections.abc import Callable, Iterable, Iterator
from concurrent.futures import FIRST_COMPLETED, Future, ProcessPoolExecutor, wait
from concurrent.futures.process import BrokenProcessPool
from itertools import islice
from multiprocessing import get_context, parent_process
from typing import TYPE_CHECKING, Any, TypeVar

from lungsynth.doctor import memory_bytes
from lungsynth.errors import WorkerError

if TYPE_CHECKING:  # it imports torch, which a process is not to wait for before it can be ended
    from publish.build.plan import Plan

T = TypeVar("T")
R = TypeVar("R")

DRAWING = (
    "publish.build.worker",
    "lungsynth.pipeline",
    "lungsynth.model.autoencoder",
    "diffusers.pipelines.stable_diffusion.pipeline_stable_diffusion",
)
"""What drawing imports in ten seconds of a core; on a CPU all processes share one import of it."""

LOOK_SECONDS = 1.0
"""Between two looks at how many rows the processes have drawn."""

MIN_ROWS = 64
"""Rows that make a process of their own worth its start of some seconds."""

BYTES_PER_WORKER = 2**30
"""Memory of a worker besides twice its checkpoint: Python, torch, a batch, a row group."""


def usable_cores() -> int:
    """Cores this process may run on."""
    return len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count() or 1


def workers_for(the_plan: Plan, n_shards: int) -> int:
    """Worker processes that make sense on this machine to draw so many shards, at least 1.

    One a GPU, or one a core as far as memory allows; fewer when there is little to draw, for a
    worker draws whole shards.
    """
    device = str(the_plan.config["device"])
    if device == "cpu":
        units, free = usable_cores(), memory_bytes().get("available")
        if free is not None:
            weights = sum(path.stat().st_size for path in the_plan.folder.rglob("*.safetensors"))
            units = min(units, free // (2 * weights + BYTES_PER_WORKER))
    else:
        units = len(visible_gpus()) if device == "cuda" else 1
    n_rows = min(int(the_plan.config["n"]), n_shards * int(the_plan.config["shard_rows"]))
    return max(1, min(units, n_shards, n_rows // MIN_ROWS))


def visible_gpus() -> list[str]:
    """Names of the GPUs this process may use, as CUDA_VISIBLE_DEVICES has them."""
    told = os.environ.get("CUDA_VISIBLE_DEVICES")
    if told is not None:
        return [name.strip() for name in told.split(",") if name.strip()]
    import torch  # deferred: slow to import

    return [str(k) for k in range(torch.cuda.device_count())]


def start_method(device: str) -> str:
    """How worker processes are started: from a small server that has imported `DRAWING`, or each anew.

    Each anew where they draw on a GPU, which a process must not have touched before it is split.
    """
    return "forkserver" if device == "cpu" and sys.platform == "linux" else "spawn"


def in_processes(
    call: Callable[[T], R],
    tasks: Iterable[T],
    workers: int,
    *,
    device: str = "cpu",
    on_rows: Callable[[int], Any] = lambda n: None,
) -> Iterator[R]:
    """What `call` gives for each task, from several processes, in the order they finish.

    `call` travels to each process once; tasks travel one by one, and few are held at a time. A
    process ends when this one does, however that ends, and all end when the iterator is closed.

    On the device "cuda" they take the visible GPUs in turn, and each sees no other; see
    `start_method`. `on_rows` is told how many rows `count_row` has counted since the last time,
    about once a second and before what they belong to is given.

    Raises:
        WorkerError: a process was killed.
        Exception: what `call` raised, the first of it.
    """
    context: Any = get_context(start_method(device))
    context.set_forkserver_preload(list(DRAWING))
    halt = context.RawValue("b", 0)  # an Event would wait for ever for a worker that was killed
    rows, told = context.RawArray("L", workers), 0  # each process counts in a place of its own
    gpus = visible_gpus() if device == "cuda" else []
    seats = context.SimpleQueue()
    for k in range(workers):
        seats.put((k, gpus[k % len(gpus)] if gpus else None))
    pool = ProcessPoolExecutor(
        workers, mp_context=context, initializer=_start, initargs=(call, seats, halt, rows)
    )
    waiting: set[Future[R]] = set()
    left = iter(tasks)
    try:
        while True:
            for task in islice(left, 2 * workers - len(waiting)):
                waiting.add(pool.submit(_run, task))
            if not waiting:
                break
            done, waiting = wait(waiting, LOOK_SECONDS, FIRST_COMPLETED)
            now = sum(rows)
            on_rows(now - told)
            told = now
            for future in done:
                yield future.result()
    except BrokenProcessPool as error:
        halt.value = 1
        raise WorkerError(
            "A worker process was killed, perhaps because memory ran out. Finished shards are kept: "
            "run the same command again, with fewer --workers if memory is short."
        ) from error
    except BaseException:
        halt.value = 1  # what they are drawing is drawn again
        raise
    finally:
        pool.shutdown(wait=True, cancel_futures=True)


_call: Any = None  # of this worker process
_rows: Any = None  # rows drawn, by process; None in the process that leads
_place = 0


def count_row() -> None:
    """Count a row as drawn, for the progress shown; does nothing outside `in_processes`."""
    if _rows is not None:
        _rows[_place] += 1


def _start(call: Any, seats: Any, halt: Any, rows: Any) -> None:
    """Prepare a worker process."""

    global _call, _rows, _place
    signal.signal(signal.SIGINT, signal.SIG_IGN)  # the process that leads ends this one
    _place, gpu = seats.get()
    if gpu is not None:
        os.environ["CUDA_VISIBLE_DEVICES"] = gpu
    threading.Thread(target=_end_with, args=(parent_process(), halt), daemon=True).start()
    _call, _rows = call, rows


def _end_with(leader: Any, halt: Any) -> None:
    """End this process when the one that leads has ended, or wants it to."""
    while leader.is_alive() and not halt.value:
        time.sleep(0.2)
    os._exit(1)


def _run(task: Any) -> Any:
    return _call(task)
