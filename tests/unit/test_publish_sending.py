"""Commands that send: the command that goes on, and the one deadline nothing outlives."""

from __future__ import annotations

import threading
import time
from pathlib import Path
from typing import Any

import click
import pytest

from lungsynth.errors import UnreachableError
from publish.cli import cli
from publish.commands.run.sending import resume_words
from publish.hub.limit import LAST_S, ends_by
from publish.hub.retry import Deadline, SystemClock

SENDING = ("push", "release", "weights", "space")


def values(one: click.Parameter, folder: Path) -> list[list[str]]:
    """Ways to give a parameter: one a list of words."""
    if isinstance(one, click.Argument):
        return [[str(folder)]]
    assert isinstance(one, click.Option)
    if one.is_flag:
        return [[name] for name in (*one.opts, *one.secondary_opts)]
    kind = one.type
    if isinstance(kind, click.Choice):
        given = [str(kind.choices[-1])]
    elif isinstance(kind, click.Path):
        given = [str(folder if kind.dir_okay else folder / "a file.json")]
    elif isinstance(kind, click.types.IntParamType | click.types.FloatParamType):
        given = [str(getattr(kind, "max", None) or getattr(kind, "min", None) or 3)]
    else:
        given = ["lab/films", "it's; $(odd)\nand long"] if one.multiple else ["it's; $(odd)"]
    return [[word for value in given for word in (name, value)] for name in one.opts]


def cases(folder: Path) -> list[tuple[str, list[str]]]:
    """(command, words) with each option alone, and with one way of each of them together."""
    found = []
    for name in SENDING:
        command = cli.commands[name]
        ways = [(one, values(one, folder)) for one in command.params if one.name != "help"]
        needed = [w for one, w in ways if one.required]
        base = [word for w in needed for word in w[0]]
        found += [(name, base + way) for one, w in ways if not one.required for way in w]
        every = [word for one, w in ways if not one.required for word in w[-1]]
        found.append((name, base + every))
    return found


def test_the_command_that_goes_on_is_what_was_given(tmp_path):
    (tmp_path / "a file.json").write_text("{}")
    every = cases(tmp_path)
    assert len(every) > 80 and {name for name, _ in every} == set(SENDING)
    for name, words in every:
        command = cli.commands[name]
        given = command.make_context(name, list(words), help_option_names=["-h", "--help"])
        again = resume_words(given)
        assert again[0] == name and again[-1] == "--yes"
        parsed = command.make_context(name, again[1:], help_option_names=["-h", "--help"])
        assert parsed.params == given.params | {"yes": True}, words


def hang_on_a_lock() -> None:
    lock = threading.Lock()
    lock.acquire()
    lock.acquire()


def hang_on_an_event() -> None:
    threading.Event().wait()


def try_for_ever() -> None:
    while True:
        try:
            time.sleep(0.05)
            raise ConnectionError
        except Exception:  # noqa: BLE001, S110 - a library that tries again whatever happens
            pass


def tidy_up_for_ever() -> None:
    try:
        time.sleep(60)
    finally:
        time.sleep(60)


@pytest.mark.parametrize("hang", [hang_on_a_lock, hang_on_an_event, try_for_ever, tidy_up_for_ever])
def test_what_hangs_is_interrupted_at_the_deadline(hang):
    begun = time.monotonic()
    with pytest.raises(UnreachableError, match=r"Not done within 0\.2 s"):
        with ends_by(Deadline(SystemClock(), 0.2), lambda: "Nothing was sent."):
            hang()
    assert time.monotonic() - begun < 5
    time.sleep(1.2)  # no signal comes later


def test_what_hears_no_signal_is_ended_with_the_process(capsys):
    """In a thread there are no signals; the watchdog is what is left."""
    left: list[int] = []
    done = threading.Event()

    def leave(code: int) -> None:
        left.append(code)
        done.set()

    def work() -> None:
        with ends_by(Deadline(SystemClock(), 0.1), lambda: "Main is as it was.", leave=leave):
            done.wait(30)

    thread = threading.Thread(target=work)
    thread.start()
    thread.join(LAST_S + 20)
    assert left == [UnreachableError.exit_code]
    assert "Main is as it was." in capsys.readouterr().err


def test_in_time_nothing_happens():
    import signal

    before = signal.getsignal(signal.SIGALRM)
    with ends_by(Deadline(SystemClock(), 0.1), lambda: ""):
        pass
    assert signal.getsignal(signal.SIGALRM) is before
    time.sleep(1)


def test_drawing_does_not_count():
    class Clock:
        time = 0.0

        def now(self) -> float:
            return self.time

        def sleep(self, seconds: float) -> None:
            self.time += seconds

    clock: Any = Clock()
    deadline = Deadline(clock, 10)
    clock.sleep(4)
    with deadline.paused():
        clock.sleep(1000)
    assert deadline.remaining == 6
