"""How often a visitor may have something computed, how many may wait, and who goes first."""

from __future__ import annotations

import os
import sys
import threading
import time
from collections import OrderedDict, deque
from collections.abc import Mapping, Sequence
from dataclasses import dataclass

from lungsynth.errors import LungSynthError

MAX_VISITORS = 4096
"""Remembered at once; the oldest visitor is forgotten first."""


class TooManyError(LungSynthError):
    """A visitor asks for more than a shared machine can give one visitor."""


class FullError(LungSynthError):
    """So many drawings wait that no more is taken; worth another try in about so many seconds."""

    def __init__(self, message: str, seconds: float) -> None:
        super().__init__(message)
        self.seconds = seconds


@dataclass(frozen=True, slots=True)
class WaitingRoom:
    """How many drawings may wait."""

    n: int = 24  # altogether; the one being drawn is not counted
    each: int = 12  # for one visitor; a hall of people behind one address counts as one

    def check(self, waiting: Sequence[str], visitor: str, *, seconds: float | None = None) -> None:
        """Whether one more may wait beside `waiting`, one visitor (`visitor_of`) a drawing.

        A visitor "" is counted among all only. A drawing takes about so many seconds; None when
        none was drawn yet.

        Raises:
            FullError: none may.
        """
        own = sum(one == visitor for one in waiting) if visitor else 0
        if len(waiting) < self.n and own < self.each:
            return
        wait = max(5.0, (seconds or 5.0) * (1 + (own if own >= self.each else len(waiting)) / 4))
        who = (
            f"{len(waiting)} drawings are waiting for their turn, and no more can wait."
            if len(waiting) >= self.n
            else f"{own} drawings of yours are waiting for their turn; a visitor may have {self.each}."
        )
        raise FullError(
            f"{who} Yours was not taken. Try again in about {_about(wait)}, or run the page on your own "
            "machine.",
            wait,
        )


def _about(seconds: float) -> str:
    return f"{round(seconds)} seconds" if seconds < 90 else f"{round(seconds / 60)} minutes"


def step_back(by: int = 5) -> None:
    """Let the calling thread, and those it starts, yield to what answers visitors; Linux only.

    The threads of a tensor operation inherit it, so a drawing still uses every core nobody else
    wants. Niceness rises by so much above the process's own.
    """
    if not sys.platform.startswith("linux"):
        return
    thread = threading.get_native_id()
    wanted = min(19, os.getpriority(os.PRIO_PROCESS, os.getpid()) + by)
    if os.getpriority(os.PRIO_PROCESS, thread) < wanted:
        os.setpriority(os.PRIO_PROCESS, thread, wanted)


class RateLimit:
    """At most `n` calls a visitor in any `seconds`; safe to call from several threads."""

    def __init__(self, n: int, seconds: float) -> None:
        self.n, self.seconds = n, seconds
        self._calls: OrderedDict[str, deque[float]] = OrderedDict()
        self._lock = threading.Lock()

    def check(self, visitor: str, *, cost: int = 1, now: float | None = None) -> None:
        """Count a call of a visitor (`visitor_of`; "" is not limited), or as many as it costs.

        Raises:
            TooManyError: says when to come again; the call is then not counted.
        """
        if not visitor:
            return
        now = time.monotonic() if now is None else now
        with self._lock:
            calls = self._calls.setdefault(visitor, deque())
            self._calls.move_to_end(visitor)
            while calls and calls[0] <= now - self.seconds:
                calls.popleft()
            if len(calls) + cost > self.n:
                wait = max(1, round((calls[0] if calls else now) + self.seconds - now))
                raise TooManyError(
                    f"You have had {len(calls)} pictures in {self.seconds / 60:.0f} minutes; a visitor "
                    f"may have {self.n}. Try again in {wait} seconds, or run it on your own machine."
                )
            calls.extend([now] * cost)
            while len(self._calls) > MAX_VISITORS:
                self._calls.popitem(last=False)


def visitor_of(host: str | None, headers: Mapping[str, str]) -> str:
    """Who asks, by address and headers; "" on one's own machine, where nobody needs protection.

    Behind the proxy of a Space the address is the last one the proxy added; elsewhere that header
    could be made up and is not read.
    """
    if os.environ.get("SPACE_ID"):
        forwarded = headers.get("x-forwarded-for", "")
        return forwarded.split(",")[-1].strip() or host or "unknown"
    return "" if host in (None, "127.0.0.1", "::1", "localhost", "testclient") else str(host)
