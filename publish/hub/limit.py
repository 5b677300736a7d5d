"""A limit no library can overrun: what hangs is interrupted when the deadline has passed.

`publish.hub.retry` begins nothing after the deadline and `publish.hub.transport` bounds each request.
What neither sees, a library's own waiting, a lock, an answer that drips, code that is not Python, ends
here: by a signal, and where that is not heard, with the process.
"""

from __future__ import annotations

import os
import signal
import sys
import threading
from collections.abc import Callable, Iterator
from contextlib import contextmanager

from lungsynth.errors import UnreachableError
from publish.hub.retry import Deadline

FIRST_S = 0.5
"""After the deadline: until then whoever keeps to it can end with an error that says more."""

AGAIN_S = 1.0
"""Between signals: the first may come while something is being tidied up, which goes on waiting."""

LAST_S = 3.0
"""After the deadline: what has not heard any signal is ended with the process."""


class TimeIsUp(BaseException):
    """The deadline has passed. No Exception, so that nothing tries again after it."""


@contextmanager
def ends_by(
    deadline: Deadline, last_words: Callable[[], str], *, leave: Callable[[int], None] = os._exit
) -> Iterator[None]:
    """Interrupt the block when the deadline has passed, whatever it is doing.

    Where the process must be ended (`leave`, replaced by tests), `last_words` are said before.

    Raises:
        UnreachableError: the deadline has passed.
    """
    has_signals = threading.current_thread() is threading.main_thread() and hasattr(
        signal, "setitimer"
    )
    left = deadline.remaining

    def end() -> None:
        sys.stderr.write(f"{UnreachableError.__name__}: {_words(deadline)} {last_words()}\n")
        sys.stderr.flush()
        leave(UnreachableError.exit_code)

    def interrupt(*_: object) -> None:
        raise TimeIsUp

    watchdog = threading.Timer(left + LAST_S, end)
    watchdog.daemon = True
    watchdog.start()
    before = signal.signal(signal.SIGALRM, interrupt) if has_signals else None
    try:
        if has_signals:
            signal.setitimer(signal.ITIMER_REAL, left + FIRST_S, AGAIN_S)
        yield
    except TimeIsUp as over:
        _disarm(watchdog, before if has_signals else None)
        raise UnreachableError(_words(deadline)) from over
    finally:
        _disarm(watchdog, before if has_signals else None)


def _disarm(watchdog: threading.Timer, before: object) -> None:
    """No more signals, and the handler that was there before."""
    if before is not None:
        signal.setitimer(signal.ITIMER_REAL, 0)
        signal.signal(signal.SIGALRM, before)  # type: ignore[arg-type]
    watchdog.cancel()


def _words(deadline: Deadline) -> str:
    return (
        f"Not done within {deadline.seconds:g} s, and what was going on did not end by itself. Give a "
        "longer --deadline, or try again later."
    )


def leave_hanging_threads(code: int) -> None:
    """End the process at once when threads are left that Python would wait for; they may never end."""
    here = threading.current_thread()
    if any(t is not here and t.is_alive() and not t.daemon for t in threading.enumerate()):
        sys.stdout.flush()
        sys.stderr.flush()
        os._exit(code)
