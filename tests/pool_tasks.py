"""What worker processes of `test_publish_engines` do, in a file that is quickly imported there."""

from __future__ import annotations

import os
import signal
import time

from lungsynth.errors import OutputError
from publish.build.pool import count_row


def square(number: int) -> tuple[int, int, str | None]:
    return number * number, os.getpid(), os.environ.get("CUDA_VISIBLE_DEVICES")


def fall_over(number: int) -> int:
    if number == 2:
        os.kill(os.getpid(), signal.SIGKILL)
    time.sleep(0.05)
    return number


def refuse(number: int) -> int:
    raise OutputError(f"no room for {number}")


def two_rows(number: int) -> int:
    for _ in range(2):
        time.sleep(0.6)
        count_row()
    return number
