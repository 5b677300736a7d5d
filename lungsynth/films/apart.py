"""A function of a path, called in a process of its own: what ends that process does not end this one.

Decoders of compressed films are C++ code that a damaged stream can abort. Nothing is pickled: a path goes
in, and an array comes back as NumPy writes it.
"""

from __future__ import annotations

import atexit
import importlib
import io
import json
import os
import subprocess
import sys
import threading
from pathlib import Path
from typing import IO, Any

import numpy as np
from numpy.typing import NDArray

ROOT = Path(__file__).parents[2]
LENGTH = 8
"""Bytes before an array that say how many it has; 0 = there is none."""


class Apart:
    """A function of a path that returns an array; its process starts with the first call and is kept.

    Args:
        function: `package.module:name`.
        seconds: A call that takes longer is given up.
    """

    def __init__(self, function: str, *, seconds: float = 300.0) -> None:
        self.function, self.seconds = function, seconds
        self._lock = threading.Lock()
        self._process: subprocess.Popen[bytes] | None = None
        self._owner = 0
        atexit.register(self.close)

    def __call__(self, path: Path) -> NDArray[Any] | None:
        """What the function returns; None where it failed, took too long or ended its process."""
        with self._lock:
            process = self._started()
            given_up = threading.Timer(self.seconds, process.kill)
            given_up.start()
            try:
                assert process.stdin is not None and process.stdout is not None
                process.stdin.write(json.dumps(str(path.resolve())).encode() + b"\n")
                process.stdin.flush()
                return _received(process.stdout)
            except (OSError, EOFError):
                self._end()
                return None
            finally:
                given_up.cancel()

    def close(self) -> None:
        """End the process; the next call starts another."""
        with self._lock:
            self._end()

    def _started(self) -> subprocess.Popen[bytes]:
        if (
            self._process is None or self._owner != os.getpid()
        ):  # not that of a process we split off
            paths = [str(ROOT), *filter(None, [os.environ.get("PYTHONPATH")])]
            self._process = subprocess.Popen(
                [sys.executable, "-m", __name__, self.function],
                stdin=subprocess.PIPE,
                stdout=subprocess.PIPE,
                stderr=subprocess.DEVNULL,
                env=os.environ | {"PYTHONPATH": os.pathsep.join(paths)},
            )
            self._owner = os.getpid()
        return self._process

    def _end(self) -> None:
        process, self._process = self._process, None
        if process is not None and self._owner == os.getpid():
            process.kill()
            process.communicate()


def _received(stream: IO[bytes]) -> NDArray[Any] | None:
    """The array that comes next.

    Raises:
        EOFError: the process has ended.
    """
    head = stream.read(LENGTH)
    content = stream.read(int.from_bytes(head, "big"))
    if len(head) < LENGTH or len(content) < int.from_bytes(head, "big"):
        raise EOFError("the process has ended")
    return np.load(io.BytesIO(content), allow_pickle=False) if content else None


def serve(function: str) -> None:
    """Answer calls until nobody can make any."""
    out = os.fdopen(os.dup(1), "wb")
    os.dup2(os.open(os.devnull, os.O_WRONLY), 1)  # decoders print what they think of a file
    module, _, name = function.partition(":")
    call = getattr(importlib.import_module(module), name)
    for line in sys.stdin.buffer:
        content = io.BytesIO()
        try:
            np.save(content, call(Path(json.loads(line))), allow_pickle=False)
        except Exception:  # noqa: BLE001  (the caller knows the file, and says what is wrong)
            content = io.BytesIO()
        out.write(len(content.getbuffer()).to_bytes(LENGTH, "big") + content.getvalue())
        out.flush()


if __name__ == "__main__":
    serve(sys.argv[1])
