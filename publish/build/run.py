"""Plan -> shards -> everything else: the one file of publish that knows the order.

A shard is a pure function of (configuration, rank, rows withdrawn), and its workers are many or one,
here or elsewhere. One process, which holds the folder's lock, writes the manifest as shards come in.
So a build that was killed goes on where it stopped and ends with the files of an unbroken one.
"""

from __future__ import annotations

import time
from collections.abc import Callable
from contextlib import suppress
from dataclasses import asdict
from pathlib import Path

from tqdm import tqdm

from lungsynth.about.figures import read_figures
from lungsynth.about.sources import read_sources
from lungsynth.errors import OutputError
from lungsynth.files import check_writable
from publish.build.engines import Engine, adopt, check_engine, draw_by_engine
from publish.build.errata import reconcile
from publish.build.finish import collect_reports, finish, write_reports
from publish.build.plan import Plan
from publish.build.pool import in_processes, workers_for
from publish.build.worker import (
    THREADS,
    Drawer,
    Job,
    Order,
    check_all_prompts,
    draw_shard,
    make_job,
)
from publish.build.worker import load as _load
from publish.card.dataset_card import read_human
from publish.data.errata import read_errata
from publish.data.licences import all_sources, licence_of
from publish.data.manifest import (
    FIRST_VERSION,
    MANIFEST_NAME,
    Manifest,
    environment,
    read_finished,
    read_manifest,
    today,
)
from publish.data.schema import id2label
from publish.data.shards import Shard, locked, remove_partials

MANIFEST_SHARE = 0.1
"""Share of the time that may go into writing the manifest, which grows with the shards."""


def build(
    the_plan: Plan,
    out: Path,
    *,
    workers: int | None = None,
    engine: Engine | None = None,
    quiet: bool = False,
) -> Manifest:
    """Draw a dataset into a folder, or what is missing of it; the manifest is also at
    `out/manifest.json`.

    Workers are processes that draw, 1 for this one, None for what suits this machine; an engine
    draws the shards instead.

    Raises:
        ConfigError: the folder holds another dataset, or another process is writing it.
        OutputError: the folder cannot be written; finished shards stay.
        PromptError: a line of the file of prompts cannot be drawn.
        WorkerError: a worker died; finished shards stay.
        MissingDependencyError: the engine is not installed.
    """
    if engine is not None:
        check_engine(engine, the_plan, out)
    names = the_plan.names
    reports = collect_reports(the_plan.settings, str(the_plan.config["model_hash"]))
    sources = tuple(read_sources(the_plan.folder))
    measured = tuple(read_figures(the_plan.folder))
    licence_of(all_sources(sources, the_plan.settings.card), the_plan.settings.card.licence)
    read_human(out)
    check_writable(out)
    with locked(out):
        withdrawn = read_errata(out)
        finished = read_finished(out, the_plan.config, names)
        if engine is not None:
            adopt(engine, the_plan, out, finished)
        finished = reconcile(out, finished, withdrawn)
        before = read_manifest(out) if (out / MANIFEST_NAME).exists() else None
        version = before.version if before else FIRST_VERSION
        date = the_plan.settings.card.date or (before.date if before else "") or today()
        versions, card = environment() | {"threads": str(THREADS)}, asdict(the_plan.settings.card)

        def manifest() -> Manifest:
            shards = tuple(finished[name] for name in names if name in finished)
            return Manifest(
                the_plan.config,
                id2label(the_plan.spec.classes),
                versions,
                shards,
                len(names),
                version,
                card,
                withdrawn,
                sources=sources,
                measured=measured,
                date=date,
            )

        manifest().write(out)  # from now on the folder is this dataset's
        if len(finished) < len(names):
            check_all_prompts(the_plan)
            job = make_job(the_plan, out, withdrawn)
            try:
                _draw(the_plan, job, finished, manifest, workers, engine, quiet)
            finally:
                remove_partials(out)  # of workers that were killed
        write_reports(out, reports)
        return finish(out, manifest())


def _draw(
    the_plan: Plan,
    job: Job,
    finished: dict[str, Shard],
    manifest: Callable[[], Manifest],
    workers: int | None,
    engine: Engine | None,
    quiet: bool,
) -> None:
    """Draw the shards that are not finished; the manifest follows them."""
    left = [shard for shard in the_plan.shards if shard[2] not in finished]
    orders = (Order(*shard, the_plan.indices(*shard[:2])) for shard in left)
    workers = min(workers or workers_for(the_plan, len(left)), len(left))
    total, done = int(the_plan.config["n"]), sum(shard.n_drawn for shard in finished.values())
    bar = tqdm(total=total, initial=done, unit="row", disable=quiet)
    spent, begun, is_behind = 0.0, time.monotonic(), False

    def keep(shard: Shard, *, shown: bool = False) -> None:
        nonlocal spent, is_behind
        finished[shard.name] = shard
        bar.update(0 if shown else shard.n_drawn)
        now = time.monotonic()
        is_behind = spent > MANIFEST_SHARE * (now - begun)
        if not is_behind:
            manifest().write(job.out)
            spent += time.monotonic() - now

    try:
        if engine is not None:
            draw_by_engine(engine, the_plan, job, dict(finished), keep)
        elif workers > 1:
            device = str(the_plan.config["device"])
            made = in_processes(Drawer(job), orders, workers, device=device, on_rows=bar.update)
            for shard in made:
                keep(shard, shown=True)
        else:
            synthesizer = _load(the_plan.folder, the_plan.config)
            for order in orders:
                keep(draw_shard(job, order, synthesizer, lambda: bar.update(1)), shown=True)
    finally:
        bar.close()
        if is_behind:
            with suppress(OutputError):
                manifest().write(job.out)
