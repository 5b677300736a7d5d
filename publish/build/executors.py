"""The three executors of datatrove, each given the ranks of a build.

Each takes the step that draws a rank, how many ranks are not complete, workers at a time (None for as many
as there is room for), and options of datatrove's executor.
"""

from __future__ import annotations

import contextlib
import getpass
import io
import os
import shlex
import shutil
import subprocess
import sys
from collections.abc import Mapping, Sequence
from functools import partial
from pathlib import Path
from typing import Any

from lungsynth.errors import ConfigError, WorkerError
from publish.build.pool import in_processes, workers_for
from publish.build.ranks import DrawRank


def run_local(step: DrawRank, n_left: int, workers: int | None, options: Mapping[str, Any]) -> None:
    """Draw in processes on this machine, with datatrove's markers, logs and resume.

    Its own `run` waits for ever when a worker process is killed, for `multiprocess.Pool` replaces
    the process but forgets its task; so the ranks run over a pool that notices (`in_processes`).
    """
    from datatrove.executor import LocalPipelineExecutor  # optional: only this needs it

    the_plan = step.job.plan
    workers = workers or workers_for(the_plan, n_left)
    executor = LocalPipelineExecutor(
        [step],
        tasks=len(step.table),
        workers=workers,
        logging_dir=str(step.folder.path),
        **options,
    )
    ranks = executor.get_incomplete_ranks()
    executor.save_executor_as_json()
    device, n = str(the_plan.config["device"]), min(workers, len(ranks))
    for _ in in_processes(partial(_run_rank, executor), ranks, n, device=device):
        pass


def _run_rank(executor: Any, rank: int) -> None:
    with contextlib.redirect_stderr(io.StringIO()):  # its log has everything
        executor._run_for_rank(rank, local_rank=1)


def run_slurm(step: DrawRank, n_left: int, workers: int | None, options: Mapping[str, Any]) -> None:
    """Draw in an array of jobs; `sbatch --wait` returns when all have ended.

    Raises:
        WorkerError: sbatch does not take the script.
    """
    from datatrove.executor import SlurmPipelineExecutor  # optional: only this needs it

    name, programs = job_name(step.folder.path), shlex.quote(str(Path(sys.executable).parent))
    options = dict(options)
    executor = SlurmPipelineExecutor(
        [step],
        tasks=len(step.table),
        workers=workers or -1,
        job_name=name,
        logging_dir=str(step.folder.path),
        qos=options.pop("qos", ""),
        env_command=f"export PATH={programs}:$PATH PYTHONPATH={shlex.quote(import_path())}",
        sbatch_args={"wait": "", **options.pop("sbatch_args", {})},
        **options,
    )
    try:
        executor.run()
    except subprocess.CalledProcessError as error:
        if not error.output:  # no job was submitted; else one failed, and the caller sees which
            raise WorkerError(
                f"--engine slurm: sbatch ended with {error.returncode}; see what it said above. "
                f"Script: {step.folder.path / 'launch_script.slurm'}"
            ) from error
    except KeyboardInterrupt:
        subprocess.run(["scancel", f"--name={name}"], check=False)
        raise


def run_ray(step: DrawRank, n_left: int, workers: int | None, options: Mapping[str, Any]) -> None:
    """Draw on a Ray cluster; ranks of a lost node are drawn again on another.

    Raises:
        WorkerError: there is no cluster.
        ConfigError: no node has room for a worker.
    """
    import ray  # optional: only this needs it
    from datatrove.executor import RayPipelineExecutor  # optional: only this needs it

    options = {"cpus_per_task": 1, "mem_per_cpu_gb": 2.0, "gpus_per_task": 0, **options}
    address = options.pop("address", os.environ.get("RAY_ADDRESS", "auto"))
    try:
        ray.init(
            address=address,
            logging_level="error",
            log_to_driver=False,
            runtime_env={"env_vars": {"PYTHONPATH": import_path()}},
        )
    except (ConnectionError, RuntimeError, ValueError) as error:
        raise WorkerError(
            f"--engine ray: no cluster at {address} ({str(error).splitlines()[0][:120]}). Start one "
            "with `ray start --head`, or give --engine-option address=HOST:PORT."
        ) from error
    try:
        room = ray_room(ray.nodes(), options)
        if room == 0:
            raise ConfigError(
                f"--engine ray: no node of {address} has room for a worker "
                f"({', '.join(f'{k} {v:g}' for k, v in options.items())}). Ask for less by "
                "--engine-option, or add nodes."
            )
        RayPipelineExecutor(
            [step],
            tasks=len(step.table),
            workers=min(workers or room, room),
            logging_dir=str(step.folder.path),
            **options,
        ).run()
    finally:
        ray.shutdown()


def import_path() -> str:
    """PYTHONPATH for processes that start elsewhere: where this program was imported from."""
    here = str(Path(__file__).resolve().parents[2])
    return os.pathsep.join([here, *filter(None, [os.environ.get("PYTHONPATH")])])


def job_name(folder: Path) -> str:
    """Name of Slurm's jobs for a work folder."""
    return f"publish-{folder.name}"


def check_slurm(folder: Path) -> None:
    """Make sure that Slurm is here, and not at work on the dataset of a work folder.

    Raises:
        WorkerError: its programs are not here, or do not answer.
        ConfigError: jobs of the dataset are still in the queue; or the folder's name does not suit.
    """
    for program in ("sbatch", "squeue", "scancel"):
        if shutil.which(program) is None:
            raise WorkerError(
                f"--engine slurm: {program} is not on PATH. Run this on a login node of a Slurm "
                "cluster."
            )
    if any(sign in str(folder) for sign in " \t'\"$"):
        raise ConfigError(
            f"--logs {folder}: Slurm's launch script takes no spaces or quotes in it. Choose another."
        )
    name = job_name(folder)
    command = [
        "squeue",
        "--noheader",
        f"--user={getpass.getuser()}",
        f"--name={name}",
        "--format=%A",
    ]
    queued = subprocess.run(command, capture_output=True, text=True, check=False)
    if queued.returncode:
        raise WorkerError(f"--engine slurm: squeue failed: {queued.stderr.strip()[:200]}")
    jobs = sorted(set(queued.stdout.split()))
    if jobs:
        raise ConfigError(
            f"--engine slurm: jobs of this dataset are still in the queue ({', '.join(jobs)}). Wait "
            f"for them, or run scancel --name={name}, then give the same command."
        )


def ray_room(nodes: Sequence[Mapping[str, Any]], options: Mapping[str, Any]) -> int:
    """Workers with these options that fit at a time on a cluster, by its `ray.nodes()`."""
    wanted = {
        "CPU": float(options["cpus_per_task"]),
        "GPU": float(options["gpus_per_task"]),
        "memory": float(options["cpus_per_task"] * options["mem_per_cpu_gb"]) * 2**30,
    }
    return sum(
        int(min(node["Resources"].get(k, 0) // n for k, n in wanted.items() if n > 0))
        for node in nodes
        if node["Alive"]
    )
