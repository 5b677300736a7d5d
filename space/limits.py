"""How often a visitor may have something computed."""

from __future__ import annotations

import os
import threading
import time
from collections import OrderedDict, deque
from collections.abc import Mapping

from lungsynth.errors import LungSynthError

MAX_VISITORS = 4096
"""Remembered at once; whoever came longest ago is forgotten first."""


class TooManyError(LungSynthError):
    """A visitor asks for more than a shared machine can give one visitor."""


class RateLimit:
    """At most `n` calls a visitor in any `seconds`; safe to call from several threads.

    Args:
        n: Calls.
        seconds: Window.
    """

    def __init__(self, n: int, seconds: float) -> None:
        self.n, self.seconds = n, seconds
        self._calls: OrderedDict[str, deque[float]] = OrderedDict()
        self._lock = threading.Lock()

    def check(self, visitor: str, *, cost: int = 1, now: float | None = None) -> None:
        """Count a call.

        Args:
            visitor: See `visitor_of`; "" is not limited.
            cost: Calls it counts as.
            now: Seconds; None takes the clock.

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
    """Who asks; "" on one's own machine, where nobody needs protection from anybody.

    Behind the proxy of a Space the address is the last one the proxy added; elsewhere that header
    could be made up and is not read.

    Args:
        host: Address of the connection.
        headers: Of the request.
    """
    if os.environ.get("SPACE_ID"):
        forwarded = headers.get("x-forwarded-for", "")
        return forwarded.split(",")[-1].strip() or host or "unknown"
    return "" if host in (None, "127.0.0.1", "::1", "localhost", "testclient") else str(host)
