"""`publish build` by several workers: processes, datatrove, Slurm, Ray. One set of bytes for all."""

from __future__ import annotations

import importlib.util
import json
import os
import signal
import subprocess
import sys
import time
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest
from publishing import build_options, contents, run_publish
from slurm import write_slurm

ROOT = Path(__file__).parents[2]
RAY_CLUSTER = ROOT / "tests" / "ray_cluster.py"


def needs(*modules: str) -> pytest.MarkDecorator:
    """Skip where the extra `scale` is not installed."""
    missing = [name for name in modules if importlib.util.find_spec(name) is None]
    return pytest.mark.skipif(
        bool(missing), reason=f"{', '.join(missing)} not installed: pip install -e '.[scale]'"
    )


def options(checkpoint: Path, out: Path, *extra: object) -> list[str]:
    """A build of some shards in two splits that takes some seconds."""
    return build_options(checkpoint, out, "--steps", 12, *extra)


@pytest.fixture(scope="module")
def whole(checkpoint: Path, tmp_path_factory: pytest.TempPathFactory) -> dict[str, bytes]:
    """The files of that build by one process, undisturbed."""
    out = tmp_path_factory.mktemp("whole") / "dist"
    ran = run_publish(*options(checkpoint, out, "--workers", 1))
    assert ran.code == 0, ran.err
    return contents(out)


def environment(**more: str) -> dict[str, str]:
    return os.environ | {"PYTHONPATH": f"{ROOT}{os.pathsep}{ROOT / 'tests'}"} | more


@pytest.fixture
def start() -> Iterator[Callable[..., subprocess.Popen[str]]]:
    """Start `python -m publish ARGS…` as a program of its own; ended after the test."""
    programs: list[subprocess.Popen[str]] = []

    def call(*args: object, env: dict[str, str] | None = None) -> subprocess.Popen[str]:
        programs.append(
            subprocess.Popen(
                [sys.executable, "-m", "publish", *map(str, args)],
                env=env or environment(),
                cwd=ROOT,
                text=True,
                stdout=subprocess.PIPE,
                stderr=subprocess.PIPE,
            )
        )
        return programs[-1]

    yield call
    for program in programs:
        program.kill()
        program.communicate()


def shards(out: Path) -> list[Path]:
    return sorted((out / "data").glob("*.parquet"))


def n_shards(files: dict[str, bytes]) -> int:
    return sum(name.startswith("data/") for name in files)


def wait_for(
    what: Callable[[], object], program: subprocess.Popen[str], seconds: float = 400
) -> None:
    give_up = time.monotonic() + seconds
    while not what():
        assert program.poll() is None, f"ended too early: {program.communicate()}"
        assert time.monotonic() < give_up, "nothing happened"
        time.sleep(0.02)


def workers_of(program: subprocess.Popen[str]) -> list[int]:
    """Process ids of its worker processes: children of the server that it starts them from."""
    parents = {}
    for path in Path("/proc").glob("[0-9]*/stat"):
        try:
            parent = int(path.read_text().rpartition(")")[2].split()[1])
            command = (path.parent / "cmdline").read_bytes()
        except (OSError, ValueError, IndexError):
            continue
        if b"multiprocessing.forkserver" in command:
            parents[int(path.parent.name)] = parent
    return [pid for pid, parent in parents.items() if parents.get(parent) == program.pid]


def is_alive(pid: int) -> bool:
    try:
        return Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()[0] != "Z"
    except OSError:
        return False


def test_two_workers_write_the_files_of_one(dist, checkpoint, tmp_path):
    ran = run_publish(*build_options(checkpoint, tmp_path / "dist", "--workers", 2))
    assert ran.code == 0, ran.err
    assert contents(tmp_path / "dist") == contents(dist)
    assert sorted(p.name for p in tmp_path.iterdir()) == ["dist"]
    manifest = json.loads((dist / "manifest.json").read_text())
    assert manifest["environment"]["threads"] == "1"


def test_another_number_of_threads_would_be_seen(dist, checkpoint, tmp_path, monkeypatch):
    """The manifest says with how many threads pixels were made, and a drawing restores the number."""
    import torch

    before = torch.get_num_threads()
    seen: list[int] = []
    monkeypatch.setattr("publish.build.worker.row", _spied("publish.build.worker.row", seen))
    ran = run_publish(*build_options(checkpoint, tmp_path / "dist", "--workers", 1))
    assert ran.code == 0, ran.err
    assert seen == [1] * 12 and torch.get_num_threads() == before


def _spied(name: str, seen: list[int]) -> Callable[..., object]:
    import torch

    from publish.data.schema import row

    def call(*args: object, **kwargs: object) -> object:
        seen.append(torch.get_num_threads())
        return row(*args, **kwargs)  # type: ignore[arg-type]

    return call


def test_what_a_worker_meets_is_told_as_by_one_process(dist, checkpoint, tmp_path):
    """A place that cannot be written, here a folder where a shard belongs, is the same error."""
    out = tmp_path / "dist"
    (out / "data" / shards(dist)[1].name).mkdir(parents=True)
    ran = run_publish(*build_options(checkpoint, out, "--workers", 2))
    assert ran.code == 1 and ran.err.startswith("OutputError: ") and "cannot be" in ran.err
    assert not list(out.rglob(".*.partial"))


@pytest.mark.slow
@pytest.mark.parametrize("engine", [(), ("--engine", "local")], ids=["processes", "datatrove"])
def test_a_killed_worker_is_noticed_and_the_same_command_goes_on(
    checkpoint, tmp_path, whole, start, engine
):
    if engine and importlib.util.find_spec("datatrove") is None:
        pytest.skip("datatrove not installed: pip install -e '.[scale]'")
    out = tmp_path / "dist"
    given = options(checkpoint, out, "--workers", 2, *engine)
    first = start(*given)
    wait_for(lambda: shards(out), first)
    os.kill(workers_of(first)[0], signal.SIGKILL)
    _, err = first.communicate(timeout=240)
    assert first.returncode == 1 and "\nWorkerError: A worker process was killed" in f"\n{err}"
    assert 0 < len(shards(out)) < n_shards(whole) and not list(out.rglob(".*.partial"))
    second = start(*given)
    wait_for(lambda: len(workers_of(second)) == 2, second)
    mine = workers_of(second)
    wait_for(lambda: len(list(out.rglob(".*.partial"))) > 0, second)
    second.kill()  # the process that leads
    second.communicate(timeout=60)
    give_up = time.monotonic() + 30
    while any(map(is_alive, mine)) and time.monotonic() < give_up:
        time.sleep(0.1)
    assert not any(map(is_alive, mine)), "workers outlive the process that leads"
    third = start(*given)
    _, err = third.communicate(timeout=600)
    assert third.returncode == 0, err
    assert contents(out) == whole


@pytest.mark.slow
@needs("datatrove")
def test_datatrove_draws_the_same_files_and_keeps_its_logs_out_of_them(checkpoint, tmp_path, whole):
    out = tmp_path / "dist"
    given = options(checkpoint, out, "--engine", "local", "--workers", 2)
    ran = run_publish(*given)
    assert ran.code == 0, ran.err
    assert contents(out) == whole
    (work,) = (tmp_path / "dist.build").iterdir()
    for name in ("completions", "shards", "logs"):
        assert len(list((work / name).iterdir())) == n_shards(whole)
    assert run_publish("check", out, "--no-load").code == 0
    # a lost shard is drawn again though its marker says it is complete
    lost = shards(out)[1]
    lost.unlink()
    (work / "shards" / f"{lost.stem}.json").unlink()
    assert run_publish(*given).code == 0
    assert contents(out) == whole
    # a manifest that was not written for long: what workers recorded is not drawn again
    (out / "manifest.json").unlink()
    times = {path: path.stat().st_mtime_ns for path in shards(out)}
    ran = run_publish(*given)
    assert ran.code == 0 and {path: path.stat().st_mtime_ns for path in shards(out)} == times
    assert contents(out) == whole


@pytest.fixture
def on_path(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A folder of programs that stand in for Slurm, on PATH."""
    folder = write_slurm(tmp_path / "slurm")
    monkeypatch.setenv("PATH", f"{folder}{os.pathsep}{os.environ['PATH']}")
    return folder


SLURM = "--engine slurm --engine-option partition=test --engine-option time=1:00:00".split()


@pytest.mark.slow
@needs("datatrove")
def test_slurm_runs_each_rank_of_the_generated_script(checkpoint, tmp_path, whole, on_path):
    out = tmp_path / "dist"
    more = ("--engine-option", "tasks_per_job=2", "--engine-option", "sbatch.account=lab")
    given = options(checkpoint, out, *SLURM, *more, "--logs", tmp_path / "logs")
    ran = run_publish(*given)
    (work,) = (tmp_path / "logs").iterdir()
    assert ran.code == 0, (ran.err, [p.read_text() for p in work.rglob("*.out")])
    assert contents(out) == whole
    script, last = (work / "launch_script.slurm").read_text(), -(-n_shards(whole) // 2) - 1
    for line in (
        "partition=test",
        "time=1:00:00",
        f"array=0-{last}",
        "account=lab",
        "wait",
        "requeue",
    ):
        assert f"#SBATCH --{line}\n" in script
    assert "launch_pickled_pipeline" in script and "qos" not in script
    assert (on_path / "sbatch.log").read_text().splitlines()[0] == f"publish-{work.name} 0-{last}"
    # a rank that fails: what it met is told, the rest stays, the same command goes on
    blocked = shards(out)[0]
    blocked.unlink()
    (out / "manifest.json").unlink()
    (work / "shards" / f"{blocked.stem}.json").unlink()
    blocked.mkdir()
    ran = run_publish(*given)
    assert ran.code == 1 and ran.err.startswith("OutputError: "), ran.err
    blocked.rmdir()
    ran = run_publish(*given)
    assert ran.code == 0, ran.err
    assert contents(out) == whole


@needs("datatrove")
def test_jobs_still_in_the_queue_are_not_doubled(checkpoint, tmp_path, on_path):
    (on_path / "queue").write_text("41\n41\n")
    ran = run_publish(*build_options(checkpoint, tmp_path / "dist", *SLURM))
    assert (
        ran.code == 1
        and "still in the queue (41)" in ran.err
        and "scancel --name=publish-" in ran.err
    )
    assert not (tmp_path / "dist").exists()


@pytest.mark.slow
@needs("datatrove", "ray")
def test_a_ray_cluster_that_loses_a_node_in_mid_job(checkpoint, tmp_path, start):
    """Two nodes on this machine draw a shard each; one is killed. The other draws its shard again."""
    out, local = tmp_path / "dist", tmp_path / "local"
    config = tmp_path / "release.yaml"
    config.write_text(
        "{n: 6, shard_rows: 3, steps: 12, device: cpu, "
        f"model: {checkpoint}, filter: {{apply: false}}}}\n"
    )
    given = ("build", "--config", config, "--quiet", "--out")
    ran = run_publish(*given, local, "--workers", 1)
    assert ran.code == 0 and len(shards(local)) == 2, ran.err
    with subprocess.Popen(
        [sys.executable, str(RAY_CLUSTER)],
        stdin=subprocess.PIPE,
        stdout=subprocess.PIPE,
        text=True,
        env=environment(RAY_USAGE_STATS_ENABLED="0"),
    ) as cluster:
        assert cluster.stdin is not None and cluster.stdout is not None
        try:
            address = cluster.stdout.readline().strip()
            assert address.startswith("127.0.0.2:"), address
            program = start(
                *given,
                out,
                *f"--engine ray --engine-option address={address}".split(),
                *("--engine-option", "mem_per_cpu_gb=0.5"),
                env=environment(RAY_USAGE_STATS_ENABLED="0"),
            )
            wait_for(
                lambda: list(out.rglob(".*.partial")), program, 900
            )  # a node has begun to draw
            cluster.stdin.write("lose\n")
            cluster.stdin.flush()
            assert cluster.stdout.readline() == "lost\n"
            n_before = len(shards(out))
            _, err = program.communicate(timeout=1500)
            assert program.returncode == 0, err
            assert n_before < 2 and contents(out) == contents(local)
            (work,) = (tmp_path / "dist.build").iterdir()
            # datatrove saw a worker die
            assert "failed with RayActorError" in (work / "leader.log").read_text()
        finally:
            cluster.stdin.close()  # the cluster ends itself
            cluster.wait(timeout=120)
