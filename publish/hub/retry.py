"""Trying again: how often, how long, until when; and which failures are worth it."""

from __future__ import annotations

import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from typing import TypeVar

from lungsynth.errors import UnreachableError

T = TypeVar("T")


class SystemClock:
    """Real time; a test gives another, so that it need not wait."""

    def now(self) -> float:
        """Seconds since any fixed moment."""
        return time.monotonic()

    def sleep(self, seconds: float) -> None:
        """Wait."""
        time.sleep(seconds)


class Transient(Exception):
    """A failure that may pass: no answer, a broken answer, "too busy", an error of the server.

    It is no OSError and no error of an HTTP library on purpose: those are tried again by
    huggingface_hub and datasets themselves, without a deadline.
    """

    def __init__(
        self, message: str, *, status: int | None = None, wait: float | None = None
    ) -> None:
        super().__init__(message)
        self.status = status  # of the answer; None = there was none
        self.wait = wait  # seconds the Hub asks for

    @property
    def may_have_happened(self) -> bool:
        """Whether the request may have been carried out all the same."""
        return self.status is None or self.status >= 500 or self.status == 408


class DeadlinePassed(Exception):
    """There is no time left for another request."""


@dataclass
class Deadline:
    """A moment after which nothing is begun."""

    clock: SystemClock
    seconds: float
    _start: float = field(init=False)

    def __post_init__(self) -> None:
        self._start = self.clock.now()

    @property
    def remaining(self) -> float:
        """Seconds that are left; never below 0."""
        return max(0.0, self._start + self.seconds - self.clock.now())

    @contextmanager
    def paused(self) -> Iterator[None]:
        """Time within the block does not count: drawing, for instance, waits for nobody."""
        begun = self.clock.now()
        try:
            yield
        finally:
            self._start += self.clock.now() - begun

    def check(self) -> None:
        """Raise DeadlinePassed when nothing is left."""
        if self.remaining <= 0:
            raise DeadlinePassed(f"the {self.seconds:g} s given are over")


def find_cause(error: BaseException, kind: type[T]) -> T | None:
    """The first error of a kind among an error, what it was raised from, and so on.

    Libraries wrap ours in theirs.
    """
    seen: set[int] = set()
    here: BaseException | None = error
    while here is not None and id(here) not in seen:
        if isinstance(here, kind):
            return here
        seen.add(id(here))
        here = here.__cause__ or here.__context__
    return None


@dataclass
class Retry:
    """A bounded number of attempts within a deadline.

    Between them it waits 1, 2, 4 … `max_wait` seconds, or as long as the Hub asks for.
    """

    deadline: Deadline
    attempts: int = 8
    max_wait: float = 30.0
    on_wait: Callable[[str], None] = lambda _: None  # called before each wait

    def pause(self, what: str, attempt: int, error: Exception) -> None:
        """Wait after failure number `attempt` (from 1).

        Raises:
            UnreachableError: no attempt is left, or no time.
        """
        transient = find_cause(error, Transient)
        asked = transient.wait if transient is not None else None
        why = str(transient or error).strip().splitlines()
        told = f"{what}: {why[0] if why else type(error).__name__}"
        if attempt >= self.attempts:
            raise UnreachableError(
                f"{told}. Given up after {attempt} attempts; try again later."
            ) from error
        wait = asked if asked is not None else min(self.max_wait, 2.0 ** (attempt - 1))
        if wait >= self.deadline.remaining:
            raise UnreachableError(
                f"{told}. The next attempt would be in {wait:g} s, after the deadline; give a longer "
                "--deadline, or try again later."
            ) from error
        self.on_wait(f"{told}; attempt {attempt + 1} of {self.attempts} in {wait:g} s")
        self.deadline.clock.sleep(wait)

    def call(self, what: str, act: Callable[[], T]) -> T:
        """Call a function that may be called twice without harm, again after Transient, until it works.

        Raises:
            UnreachableError: it did not work in time.
        """
        attempt = 0
        while True:
            attempt += 1
            try:
                self.deadline.check()
                return act()
            except Exception as error:
                if find_cause(error, DeadlinePassed):
                    raise UnreachableError(
                        f"{what}: not done within {self.deadline.seconds:g} s. Give a longer "
                        "--deadline, or try again later."
                    ) from error
                if find_cause(error, Transient) is None:
                    raise
                self.pause(what, attempt, error)
