"""`python -m benchmarks.space_load`: fifty visitors of the page at once, or many drawings one by one.

The page runs as a program of its own; the visitors (`benchmarks.space_client`) draw as a browser does,
each another seed, and what each is shown is compared with what its seed draws without a page.
"""

from __future__ import annotations

import asyncio
import math
import multiprocessing
import os
import statistics
import sys
import tempfile
import time
from collections.abc import Sequence
from dataclasses import dataclass, field
from multiprocessing.synchronize import Event
from pathlib import Path
from typing import Any
from urllib.request import urlopen

import click
import numpy as np

from benchmarks.space_client import Answer, Visitor, http_client, read_config, served

PROMPT = "Frontal AP chest X-ray of a young child with bacterial pneumonia"
PAUSE = 0.1
"""Seconds between two probes of the page."""


@dataclass
class Load:
    """What was measured of many visitors at once."""

    visitors: int
    refused: int = 0  # calls answered "the queue is full"
    sentences: set[str] = field(default_factory=set)  # in these words
    drawn: int = 0
    failed: list[str] = field(default_factory=list)
    bare: int = 0  # drawn, but the panels that follow stayed empty
    wrong: int = 0  # shown another picture than the one of the visitor's seed
    overtaken: int = 0  # pairs in which the later comer was begun first
    longest_queue: int = 0  # waiting or at work at once, counted by the visitors
    waits: list[float] = field(default_factory=list)  # admitted -> begun, s
    page: list[float] = field(default_factory=list)  # s, every probe of the page
    seconds: float = 0.0


def probe(address: str, stop: Event, out: Any) -> None:
    """Fetch the page again and again, in a process of its own; puts every duration (s) into `out`."""
    times = []
    while not stop.is_set():
        begun = time.monotonic()
        with urlopen(address, timeout=60) as page:
            page.read()
        times.append(time.monotonic() - begun)
        stop.wait(PAUSE)
    out.put(times)


async def load(
    address: str, visitors: int, steps: int, *, gap: float, again: bool
) -> tuple[Load, list[tuple[int, Any, Any]]]:
    """Let visitors come one every `gap` seconds and draw; (figures, [(seed, X-ray, archive's X-ray)]).

    Args:
        address: Of the page.
        visitors: How many; visitor k asks for seed k.
        steps: Denoising steps.
        gap: Seconds between two visitors.
        again: A visitor who is refused tries again until served.
    """
    found, seen, answers = Load(visitors), [], []
    inside = 0
    begun = time.monotonic()
    config = read_config(address)
    async with http_client() as client:

        async def visit(seed: int) -> None:
            nonlocal inside
            await asyncio.sleep(seed * gap)
            visitor = Visitor(client, address, config)
            await visitor.open()
            while True:
                inside += 1
                answer = await visitor.draw(PROMPT, seed, steps)
                inside -= 1
                if not answer.refused:
                    break
                found.refused += 1
                found.sentences.add(answer.refused)
                if not again:
                    break
                await asyncio.sleep(2)
            if answer.outputs is not None:
                found.drawn += 1
                archive = await visitor.archive()
                if archive is None:
                    found.bare += 1
                else:
                    seen.append((seed, await visitor.x_ray(), archive[1]))
                    found.wrong += archive[0]["seed"] != seed
            elif not answer.refused:
                found.failed.append(answer.error)
            answers.append(answer)
            await visitor.close()

        async def count() -> None:
            while True:
                got = await client.get(f"{address}gradio_api/queue/status")
                found.longest_queue = max(found.longest_queue, int(got.json().get("queue_size", 0)))
                await asyncio.sleep(0.2)

        counting = asyncio.create_task(count())
        await asyncio.gather(*(visit(seed) for seed in range(visitors)))
        counting.cancel()
    found.seconds = time.monotonic() - begun
    found.waits = [one.started - one.admitted for one in answers if one.started and one.admitted]
    found.overtaken = overtakings(answers)
    return found, seen


def overtakings(answers: Sequence[Answer]) -> int:
    """Pairs (a, b): a was admitted before b asked, and b was begun before a."""
    taken = [one for one in answers if one.admitted is not None and one.started is not None]
    return sum(a.admitted < b.asked and b.started < a.started for a in taken for b in taken)  # type: ignore[operator]


def run_load(checkpoint: str, visitors: int, steps: int, *, gap: float, again: bool) -> Load:
    """Serve the page, let the visitors in, compare what they saw."""
    context = multiprocessing.get_context("spawn")
    stop, out = context.Event(), context.Queue()
    with (
        tempfile.TemporaryDirectory(prefix="space-load-") as folder,
        served(Path(folder), checkpoint) as (_, address),
    ):
        prober = context.Process(target=probe, args=(address, stop, out), daemon=True)
        prober.start()
        try:
            found, seen = asyncio.run(load(address, visitors, steps, gap=gap, again=again))
        finally:
            stop.set()
        found.page = out.get(timeout=120)
        prober.join()
    found.wrong += count_wrong(checkpoint, steps, seen)
    return found


def count_wrong(checkpoint: str, steps: int, seen: Sequence[tuple[int, Any, Any]]) -> int:
    """Visitors who were shown, or given in the ZIP, another picture than their seed's own.

    Drawn here by the library alone. Grey values may differ by one: the number of threads decides in
    which order a sum is taken.
    """
    from lungsynth.model.sampling import SampleOptions
    from lungsynth.pipeline import Synthesizer

    model, wrong = Synthesizer(checkpoint or None), 0
    for seed, shown, packed in seen:
        [own] = model.generate([PROMPT], [seed], options=SampleOptions(steps=steps))
        for picture in (shown, packed):
            same = picture.shape == own.image.shape
            wrong += not (same and int(np.abs(picture.astype(int) - own.image).max()) <= 1)
    return wrong


def rss(pid: int) -> float:
    """Resident memory of a process, MB."""
    for line in Path(f"/proc/{pid}/status").read_text().splitlines():
        if line.startswith("VmRSS:"):
            return int(line.split()[1]) / 1024
    raise RuntimeError(f"process {pid}: no VmRSS")


async def drawings(pid: int, address: str, n: int, steps: int, each: int) -> list[float]:
    """Resident memory in MB after each of `n` drawings; a visitor leaves after `each`."""
    config, sizes = read_config(address), []
    async with http_client() as client:
        visitor = None
        for seed in range(n):
            if seed % each == 0:
                if visitor is not None:
                    await visitor.close()
                visitor = Visitor(client, address, config)
                await visitor.open()
            assert visitor is not None
            answer = await visitor.draw(PROMPT, seed, steps)
            if answer.outputs is None:
                raise RuntimeError(f"seed {seed}: {answer.refused or answer.error}")
            sizes.append(rss(pid))
        if visitor is not None:
            await visitor.close()
    return sizes


def growth(sizes: Sequence[float], warm: int) -> float:
    """Growth from the first `warm` drawings to the last: share of the median of ten at either end."""
    before = statistics.median(sizes[max(0, warm - 10) : warm])
    return statistics.median(sizes[-10:]) / before - 1


def p(values: Sequence[float], q: float) -> float:
    """Quantile; NaN of nothing."""
    return float(np.quantile(values, q)) if len(values) else float("nan")


def print_load(found: Load) -> None:
    """The figures in words."""
    print(
        f"visitors {found.visitors}, drawn {found.drawn}, of these without panels {found.bare}, "
        f"failed {len(found.failed)}, {found.seconds:.0f} s"
    )
    print(f"wrong pictures {found.wrong}, overtakings {found.overtaken}")
    print(f"refused {found.refused} times; longest queue {found.longest_queue}")
    for sentence in sorted(found.sentences)[:3]:
        print(f"  “{sentence}”")
    print(f"wait for one's turn: p50 {p(found.waits, 0.5):.1f} s, p95 {p(found.waits, 0.95):.1f} s")
    print(
        f"page: n {len(found.page)}, p50 {p(found.page, 0.5):.3f} s, p95 {p(found.page, 0.95):.3f} s, "
        f"worst {max(found.page, default=math.nan):.3f} s; {os.cpu_count()} cores"
    )


@click.command(context_settings={"help_option_names": ["-h", "--help"]})
@click.option("--visitors", default=50, show_default=True, help="At once.")
@click.option("--generations", default=0, help="Instead: memory over so many drawings, one by one.")
@click.option(
    "--each", default=2, show_default=True, help="Drawings a visitor, with --generations."
)
@click.option(
    "--warm", default=250, show_default=True, help="Drawings before the memory's start value."
)
@click.option("--checkpoint", default="mini", show_default=True, help="Shipped name or folder.")
@click.option("--steps", default=20, show_default=True)
@click.option("--gap", default=0.02, show_default=True, help="Seconds between two visitors.")
@click.option(
    "--again/--once", default=True, show_default=True, help="Whoever is refused comes again."
)
def main(
    visitors: int,
    generations: int,
    each: int,
    warm: int,
    checkpoint: str,
    steps: int,
    gap: float,
    again: bool,
) -> None:
    """Measure the page under load. Exit code 1 where a target is missed."""
    if generations:
        with (
            tempfile.TemporaryDirectory(prefix="space-load-") as folder,
            served(Path(folder), checkpoint) as (pid, address),
        ):
            sizes = asyncio.run(drawings(pid, address, generations, steps, each))
        grown = growth(sizes, min(warm, len(sizes) // 2))
        print(f"{'drawings':>9} {'RSS MB':>8}")
        for k in sorted({0, len(sizes) - 1, *range(49, len(sizes), 50)}):
            print(f"{k + 1:9d} {sizes[k]:8.0f}")
        print(f"growth from {min(warm, len(sizes) // 2)} to {len(sizes)} drawings: {grown:+.1%}")
        good = grown <= 0.05
    else:
        found = run_load(checkpoint, visitors, steps, gap=gap, again=again)
        print_load(found)
        good = (
            not (found.wrong or found.overtaken or found.failed or found.bare)
            and max(found.page) <= 1
        )
    sys.exit(0 if good else 1)


if __name__ == "__main__":
    main()
