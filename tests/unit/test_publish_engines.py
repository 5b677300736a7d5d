"""Engines and worker processes of `publish build`, without drawing."""

from __future__ import annotations

import os
import sys
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest
from pool_tasks import fall_over, refuse, square, two_rows
from publishing import build_options, run_publish

from lungsynth.errors import ConfigError, OutputError, WorkerError
from lungsynth.files import file_sha256
from publish.build import engines, executors, pool
from publish.build.engines import Engine, read_engine
from publish.build.executors import ray_room
from publish.build.plan import plan
from publish.build.pool import count_row, in_processes, workers_for
from publish.build.ranks import DrawRank, WorkFolder
from publish.data.settings import Settings
from publish.data.shards import Shard


def test_processes_share_the_tasks_and_the_gpus(monkeypatch):
    monkeypatch.setenv("CUDA_VISIBLE_DEVICES", "3,5")
    done = list(in_processes(square, range(12), 2, device="cuda"))
    assert sorted(one for one, _, _ in done) == [k * k for k in range(12)]
    assert {gpu for _, _, gpu in done} <= {"3", "5"} and os.getpid() not in {p for _, p, _ in done}
    gpu_of = {pid: gpu for _, pid, gpu in done}
    assert len(set(gpu_of.values())) == len(gpu_of)  # each process its own


def test_rows_are_told_of_while_a_task_is_under_way():
    told: list[int | str] = []
    for _ in in_processes(two_rows, range(3), 2, on_rows=lambda n: told.append(n) if n else None):
        told.append("done")
    assert sum(n for n in told if isinstance(n, int)) == 6 and told.count("done") == 3
    assert told[0] != "done" and told[0] < 6
    count_row()  # where no process was started it does nothing


def test_a_killed_process_is_an_error_that_says_what_to_do():
    with pytest.raises(WorkerError, match=r"killed, perhaps because memory ran out.*same command"):
        list(in_processes(fall_over, range(9), 2))


def test_what_a_process_raises_arrives():
    with pytest.raises(OutputError, match=r"no room for \d"):
        list(in_processes(refuse, range(4), 1))


def test_tasks_are_taken_as_they_are_needed():
    taken: list[int] = []

    def tasks() -> Any:
        for k in range(1000):
            taken.append(k)
            yield k

    drawing = in_processes(square, tasks(), 1)
    first = next(drawing)[0]  # of the few that are under way, any may be first
    assert first in {0, 1, 4, 9} and len(taken) < 10
    drawing.close()


@pytest.mark.parametrize(
    ("device", "cores", "free_gib", "n", "shards", "gpus", "expected"),
    [
        ("cpu", 8, 64, 10_000, 40, "", 8),
        ("cpu", 8, 64, 10_000, 3, "", 3),  # no more than there are shards
        ("cpu", 8, 64, 100, 40, "", 1),  # too little for the start of a process
        ("cpu", 8, 64, 200, 40, "", 3),
        ("cpu", 8, 2.5, 10_000, 40, "", 2),  # memory
        ("cpu", 8, 0.1, 10_000, 40, "", 1),
        ("cuda", 8, 64, 10_000, 40, "0,1,2", 3),
        ("cuda", 8, 64, 10_000, 40, "", 1),
        ("cuda:1", 8, 64, 10_000, 40, "0,1", 1),
    ],
)
def test_workers_by_default(
    monkeypatch, tmp_path, device, cores, free_gib, n, shards, gpus, expected
):
    monkeypatch.setattr(pool, "usable_cores", lambda: cores)
    monkeypatch.setattr(pool, "memory_bytes", lambda: {"available": int(free_gib * 2**30)})
    monkeypatch.setenv("CUDA_VISIBLE_DEVICES", gpus)
    config = {"device": device, "n": n, "shard_rows": 256}
    the_plan: Any = SimpleNamespace(config=config, folder=tmp_path)
    assert workers_for(the_plan, shards) == expected


def test_cores_are_counted():
    assert pool.usable_cores() >= 1


def test_engine_options_become_arguments():
    engine = read_engine(
        "slurm",
        [
            "partition=gpu",
            "time=4:00:00",
            "gpus_per_task=1",
            "sbatch.account=lab",
            "sbatch.constraint=a100",
        ],
        workers=9,
    )
    assert engine.workers == 9 and engine.options == {
        "partition": "gpu",
        "time": "4:00:00",
        "gpus_per_task": 1,
        "sbatch_args": {"account": "lab", "constraint": "a100"},
    }
    assert read_engine("ray", ["mem_per_cpu_gb=0.5"]).options == {"mem_per_cpu_gb": 0.5}
    assert Engine("ray").root(Path("/a/dist")) == Path("/a/dist.build")
    assert Engine("ray", logs=Path("/b")).root(Path("/a/dist")) == Path("/b")


@pytest.mark.parametrize(
    ("name", "given", "message"),
    [
        ("dask", [], "unknown; there are local, slurm, ray"),
        ("slurm", [], "needs --engine-option partition=… and --engine-option time=…"),
        (
            "slurm",
            ["partition=a", "time"],
            "expected KEY=VALUE, for slurm with a KEY of: partition",
        ),
        (
            "slurm",
            ["partition=a", "time=1", "gpus_per_task=one"],
            "expected a number after gpus_per_task=",
        ),
        ("ray", ["partition=a"], "for ray with a KEY of: address"),
        ("local", ["x=1"], "for local with a KEY of: none"),
    ],
)
def test_engine_options_that_cannot_be_followed_are_refused(name, given, message):
    with pytest.raises(ConfigError, match=message):
        read_engine(name, given)


@pytest.mark.parametrize(
    ("given", "code", "message"),
    [
        (("--workers", 0), 2, "0 is not in the range x>=1"),
        (("--workers", "all"), 2, "'all' is not a valid integer"),
        (("--engine", "dask"), 2, "'dask' is not one of"),
        (("--engine-option", "a=b"), 2, "--engine-option is for an engine; name it with --engine"),
        (("--logs", "there"), 2, "--logs is for an engine"),
        (("--engine", "slurm"), 1, "ConfigError: --engine slurm: needs --engine-option partition="),
    ],
)
def test_options_are_checked_first(checkpoint, tmp_path, given, code, message):
    ran = run_publish(*build_options(checkpoint, tmp_path / "dist", *given))
    assert ran.code == code and message in ran.err and not (tmp_path / "dist").exists()


@pytest.mark.parametrize(("engine", "module"), [("local", "datatrove"), ("ray", "ray")])
def test_an_engine_that_is_not_installed_names_the_extra(
    checkpoint, tmp_path, monkeypatch, engine, module
):
    import types

    monkeypatch.setitem(sys.modules, "datatrove", types.ModuleType("datatrove"))
    monkeypatch.setitem(sys.modules, module, None)
    ran = run_publish(*build_options(checkpoint, tmp_path / "dist", "--engine", engine))
    assert ran.code == 1 and not (tmp_path / "dist").exists()
    assert ran.err == (
        f"MissingDependencyError: --engine {engine}: {module} is not installed; run: "
        'pip install -e ".[scale]"\n'
    )


def test_logs_inside_the_dataset_are_refused(checkpoint, tmp_path):
    out = tmp_path / "dist"
    ran = run_publish(*build_options(checkpoint, out, "--engine", "local", "--logs", out / "logs"))
    assert ran.code == 1 and "lies in the dataset folder" in ran.err and not out.exists()


def test_slurm_without_its_programs_says_where_to_run(tmp_path, monkeypatch):
    monkeypatch.setenv("PATH", str(tmp_path))
    with pytest.raises(WorkerError, match=r"sbatch is not on PATH\. Run this on a login node"):
        executors.check_slurm(tmp_path)


def test_slurm_takes_no_folder_its_script_would_break_on(tmp_path, monkeypatch):
    monkeypatch.setattr(executors.shutil, "which", lambda _: "/bin/true")
    with pytest.raises(ConfigError, match="no spaces or quotes"):
        executors.check_slurm(tmp_path / "my logs")


def test_room_on_a_ray_cluster():
    node = {"Alive": True, "Resources": {"CPU": 8.0, "memory": 10 * 2**30, "GPU": 2.0}}
    small = {"cpus_per_task": 1, "mem_per_cpu_gb": 2, "gpus_per_task": 0}
    assert ray_room([node, {**node, "Alive": False}], small) == 5  # memory for five
    assert ray_room([node, node], {**small, "gpus_per_task": 1}) == 4
    assert ray_room([{"Alive": True, "Resources": {"CPU": 8.0}}], small) == 0


@pytest.fixture
def the_plan(checkpoint: Path) -> Any:
    splits = {"train": 0.6, "test": 0.4}
    return plan(Settings(n=12, shard_rows=3, steps=1, model=str(checkpoint), splits=splits))


def test_ranks_draw_the_rows_of_the_plan(the_plan, tmp_path):
    folder = WorkFolder(tmp_path, the_plan.config)
    folder.prepare(the_plan, {})
    held = [folder.indices(split, rank) for split, rank, _ in the_plan.shards]
    assert held == [the_plan.indices(split, rank) for split, rank, _ in the_plan.shards]
    assert sorted(i for rows in held for i in rows) == list(range(12))
    assert WorkFolder(tmp_path, {**the_plan.config, "seed": 1}).path != folder.path


def test_rows_of_one_split_need_no_file(checkpoint, tmp_path):
    the_plan = plan(Settings(n=7, shard_rows=3, steps=1, model=str(checkpoint)))
    folder = WorkFolder(tmp_path, the_plan.config)
    folder.prepare(the_plan, {})
    assert list((folder.path / "rows").iterdir()) == []
    assert [folder.indices("train", rank) for rank in range(3)] == [[0, 1, 2], [3, 4, 5], [6]]


def finished_shard(out: Path, name: str) -> Shard:
    (out / "data").mkdir(parents=True, exist_ok=True)
    (out / name).write_bytes(b"rows of " + name.encode())
    size = (out / name).stat().st_size
    return Shard(name, 3, size, 100, file_sha256(out / name), "train", 3)


def test_markers_say_what_is_there_not_what_was(the_plan, tmp_path):
    """A marker outlives its shard when somebody deletes it, and a shard outlives a killed leader."""
    out, names = tmp_path / "dist", the_plan.names
    folder = WorkFolder(tmp_path / "work", the_plan.config)
    folder.prepare(the_plan, {})
    shard = finished_shard(out, names[1])
    folder.write_record(shard)
    for rank in range(len(names)):
        (folder.path / "completions" / f"{rank:05d}").touch()
    folder.write_error(0, ValueError("old"))
    folder.prepare(the_plan, {shard.name: shard})
    assert [p.name for p in (folder.path / "completions").iterdir()] == ["00001"]
    assert folder.recorded() == {Path(shard.name).stem}
    assert not (folder.path / "errors").exists()
    finished: dict[str, Shard] = {}
    engine = Engine("local", logs=tmp_path / "work")
    engines.adopt(engine, the_plan, out, finished)
    assert finished == {shard.name: shard}
    (out / shard.name).write_bytes(b"rows of another"[: shard.n_bytes].ljust(shard.n_bytes))
    finished.clear()
    engines.adopt(engine, the_plan, out, finished)
    assert finished == {}  # changed since


def test_a_rank_that_is_there_is_not_drawn_twice(the_plan, tmp_path, monkeypatch):
    """A worker given up for lost may have finished; then another need not."""
    from publish.build.worker import make_job

    out, names = tmp_path / "dist", the_plan.names
    folder = WorkFolder(tmp_path / "work", the_plan.config)
    folder.prepare(the_plan, {})
    step = DrawRank(make_job(the_plan, out, {}), folder, the_plan.shards)
    folder.write_record(finished_shard(out, names[0]))
    monkeypatch.setattr("publish.build.worker.load", lambda _: pytest.fail("drew a finished shard"))
    step(None, 0)


@pytest.mark.parametrize(
    ("error", "kind", "told"),
    [
        (OutputError("disk full"), OutputError, "disk full (2 shards are missing. Logs: "),
        (KeyError("x"), WorkerError, "rank 00003: KeyError: 'x' (2 shards"),
        (None, WorkerError, "first data/a.parquet: workers died or never ran"),
    ],
)
def test_what_a_rank_met_is_raised_where_the_command_was_given(tmp_path, error, kind, told):
    folder = WorkFolder(tmp_path, {})
    if error is not None:
        folder.write_error(3, error)
    with pytest.raises(kind) as raised:
        folder.raise_error(["data/a.parquet", "data/b.parquet"])
    assert told in str(raised.value) and type(raised.value) is kind


def test_a_worker_of_another_environment_is_refused(the_plan, tmp_path):
    from dataclasses import replace

    from publish.build.worker import Drawer, Order, make_job

    job = make_job(the_plan, tmp_path, {})
    other = replace(job, versions={**job.versions, "torch": "1.0"})
    with pytest.raises(ConfigError, match=r"this worker has torch \d.*, not 1.0, so its pixels"):
        Drawer(other)(Order("train", 0, "data/a.parquet", [0]))
    config = {**job.plan.config, "model_hash": "0" * 16}
    other = replace(job, plan=replace(job.plan, config=config))
    with pytest.raises(ConfigError, match="Give every machine the same checkpoint"):
        Drawer(other)(Order("train", 0, "data/a.parquet", [0]))


def test_a_job_is_small_however_many_rows_there_are(checkpoint, tmp_path):
    import multiprocessing.reduction as reduction

    from publish.build.worker import Drawer, make_job

    sizes = []
    for n in (100, 100_000):
        job = make_job(plan(Settings(n=n, steps=1, model=str(checkpoint))), tmp_path, {})
        sizes.append(len(reduction.ForkingPickler.dumps(Drawer(job))))
    assert sizes[1] < sizes[0] + 100 and sizes[1] < 20_000
