"""Python programs, split off a process that has imported torch already: each starts six seconds sooner.

A program is a process of its own with its own folder, environment and output, and can be killed.
What it is split off has imported nothing of this repository, of diffusers, of transformers or of the
Hub's clients, and no setting of theirs was read.
"""

from __future__ import annotations

import atexit
import importlib
import json
import os
import runpy
import signal
import subprocess
import sys
import tempfile
import time
import types
from collections.abc import Mapping, Sequence
from functools import cache
from pathlib import Path
from typing import Any

IMPORTED = (
    "torch._dynamo",
    "torch.distributed.tensor",
    "torch.export",
    "scipy.ndimage",
    "scipy.stats",
    "sklearn.metrics",
    "pandas",
    "pyarrow.parquet",
    "matplotlib.backends.backend_agg",
    "matplotlib.figure",
)


class Program:
    """A program that was started."""

    def __init__(self, server: subprocess.Popen[str], pid: int, folder: Path) -> None:
        self.server, self.pid, self.folder = server, pid, folder

    def has_ended(self) -> bool:
        state = Path(f"/proc/{self.pid}/stat").read_text().rpartition(")")[2].split()[0]
        return state == "Z"  # it is kept until it is waited for

    def kill(self) -> None:
        os.kill(self.pid, signal.SIGKILL)

    def wait(self, timeout: float = 900) -> subprocess.CompletedProcess[str]:
        """How it ended; it is killed when it takes too long."""
        give_up = time.monotonic() + timeout
        while not self.has_ended():
            if time.monotonic() > give_up:
                self.kill()
                give_up = float("inf")
            time.sleep(0.02)
        code = int(ask(self.server, {"wait": self.pid}))
        out, err = ((self.folder / name).read_text() for name in ("out", "err"))
        return subprocess.CompletedProcess([], code, out, err)


class Anew:
    """A program that starts from nothing, as `Program` otherwise."""

    def __init__(self, words: Sequence[object], cwd: Path, env: Mapping[str, str]) -> None:
        pipes: dict[str, Any] = {"stdout": subprocess.PIPE, "stderr": subprocess.PIPE, "text": True}
        argv = [sys.executable, *map(str, words)]
        self.process = subprocess.Popen(argv, cwd=cwd, env=dict(env), **pipes)
        self.pid, self.kill = self.process.pid, self.process.kill

    def has_ended(self) -> bool:
        return self.process.poll() is not None

    def wait(self, timeout: float = 900) -> subprocess.CompletedProcess[str]:
        try:
            out, err = self.process.communicate(timeout=timeout)
        except subprocess.TimeoutExpired:
            self.kill()
            out, err = self.process.communicate()
        return subprocess.CompletedProcess([], self.process.returncode, out, err)


def start(
    words: Sequence[object], *, cwd: Path, env: Mapping[str, str], from_nothing: bool = False
) -> Program | Anew:
    """Start `python WORDS…`, which are `-c PROGRAM …` or `-m MODULE …`.

    Args:
        words: After `python`.
        cwd: Where it starts.
        env: All of its environment.
        from_nothing: Whether torch is not to be imported before, as always where there is no /proc.
    """
    if from_nothing or sys.platform != "linux":
        return Anew(words, cwd, env)
    folder = Path(tempfile.mkdtemp(dir=outputs().name))
    asked = {"words": list(map(str, words)), "cwd": str(cwd), "env": dict(env), "to": str(folder)}
    return Program(server(), int(ask(server(), asked)), folder)


def ask(server: subprocess.Popen[str], question: Mapping[str, Any]) -> str:
    assert server.stdin is not None and server.stdout is not None
    server.stdin.write(json.dumps(question) + "\n")
    server.stdin.flush()
    return server.stdout.readline()


@cache
def outputs() -> tempfile.TemporaryDirectory[str]:
    return tempfile.TemporaryDirectory(prefix="lungsynth-programs-")


@cache
def server() -> subprocess.Popen[str]:
    """The process that all programs of these tests are split off; it ends with this one."""
    environment = {"PATH": os.environ["PATH"], "OMP_NUM_THREADS": "1"}
    environment["HOME"] = outputs().name
    made = subprocess.Popen(
        [sys.executable, __file__],
        stdin=subprocess.PIPE,
        stdout=subprocess.PIPE,
        text=True,
        env=environment,
    )

    def end() -> None:
        made.communicate()  # closes what it reads from
        outputs().cleanup()

    atexit.register(end)
    return made


def serve() -> None:
    """Start what each line asks for, or wait for it; returns in a process that is a program now."""
    for name in IMPORTED:
        importlib.import_module(name)
    for line in iter(sys.stdin.readline, ""):
        asked = json.loads(line)
        if "wait" in asked:
            answer(os.waitstatus_to_exitcode(os.waitpid(asked["wait"], 0)[1]))
        elif pid := os.fork():
            answer(pid)
        else:
            become(asked)
            return


def answer(number: int) -> None:
    sys.stdout.write(f"{number}\n")
    sys.stdout.flush()


def become(asked: Mapping[str, Any]) -> None:
    """Run a program as `python` would."""
    os.chdir(asked["cwd"])
    os.environ.clear()
    os.environ.update(asked["env"])
    for number, name in enumerate((os.devnull, f"{asked['to']}/out", f"{asked['to']}/err")):
        os.dup2(os.open(name, os.O_RDWR | os.O_CREAT), number)
    kind, what, *rest = asked["words"]
    paths = [one for one in os.environ.get("PYTHONPATH", "").split(os.pathsep) if one]
    sys.path[:] = [asked["cwd"] if kind == "-m" else "", *paths, *sys.path[1:]]
    sys.argv = [kind, *rest]
    if kind == "-m":
        runpy.run_module(what, run_name="__main__", alter_sys=True)
        return
    program = sys.modules["__main__"] = types.ModuleType("__main__")
    exec(compile(what, "<string>", "exec"), program.__dict__)


if __name__ == "__main__":
    serve()
