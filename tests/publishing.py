"""Calling `python -m publish` in this process, and what its folders hold."""

from __future__ import annotations

import contextlib
import io
import sys
from dataclasses import dataclass
from pathlib import Path
from typing import Any
from unittest import mock

UNMEASURED = [
    word for name in ("memorisation", "obedience", "masks") for word in ("--unmeasured", name)
]
"""Of random weights nothing is measured."""


@dataclass(frozen=True)
class Ran:
    """How a command ended."""

    code: int
    out: str
    err: str


def run_publish(*args: object) -> Ran:
    """Call `python -m publish ARGS…` through its real entry point."""
    from publish.cli import main

    out, err = io.StringIO(), io.StringIO()
    code: Any = 0
    argv = mock.patch.object(sys, "argv", ["publish", *map(str, args)])
    with argv, contextlib.redirect_stdout(out), contextlib.redirect_stderr(err):
        try:
            main()
        except SystemExit as leaving:
            code = leaving.code or 0
    return Ran(int(code), out.getvalue(), err.getvalue())


def build_options(checkpoint: Path, out: Path, *extra: object) -> list[str]:
    """Options of a small build of random pictures, which no filter would let through."""
    words = "build --n 12 --shard-rows 3 --steps 1 --no-filter --split train=0.6 --split test=0.4"
    given = ("--quiet", "--device", "cpu", *UNMEASURED, "--model", checkpoint, "--out", out, *extra)
    return [*words.split(), *map(str, given)]


def contents(folder: Path) -> dict[str, bytes]:
    """Every file of a folder: name -> bytes."""
    return {
        p.relative_to(folder).as_posix(): p.read_bytes() for p in folder.rglob("*") if p.is_file()
    }
