"""What tests have called in another process."""

from __future__ import annotations

import os
import signal
from pathlib import Path

import numpy as np


def as_told(path: Path) -> np.ndarray:
    """What the name of a path says."""
    if path.name == "end":
        os.kill(os.getpid(), signal.SIGABRT)
    if path.name == "hang":
        signal.pause()
    if path.name == "fail":
        raise ValueError(path)
    if path.name == "object":
        return np.array([object()])
    print("what a library prints is no answer")  # noqa: T201
    return np.full((2, 3), len(path.name), np.uint16)
