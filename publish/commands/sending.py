"""What every command that sends something to the Hub has in common."""

from __future__ import annotations

import functools
import json
import shlex
import sys
import tempfile
from collections.abc import Callable
from pathlib import Path
from typing import Any, TypeVar

import click
from click.core import ParameterSource

from lungsynth.cli.options import with_options
from lungsynth.errors import LungSynthError
from publish.hub.limit import ends_by
from publish.hub.payload import Payload
from publish.hub.retry import Deadline, Retry, SystemClock

DEADLINE = "publish.deadline"
"""Key of a command's deadline in click's context."""

F = TypeVar("F", bound=Callable[..., Any])

EXIT_CODES = """
    \b
    Exit codes: 0 done, planned, or nothing to do; 1 the folder cannot be published as it is;
    2 wrong options; 3 no token, or it may not write; 4 the tag exists, on other files;
    5 the Hub is down, busy or too slow; 6 somebody else changed the same files meanwhile;
    7 what came back is not what was sent, nothing is tagged; 130 interrupted.
"""


def hub_options(command: F) -> F:
    """Add the options of a command that sends, and its exit codes to its help."""
    options = (
        click.option("--repo", required=True, metavar="ORG/NAME", help="Repository on the Hub."),
        click.option(
            "--tag", default=None, metavar="vX.Y.Z", help="Tag of the verified commit; never moved."
        ),
        click.option("--yes", is_flag=True, help="Do it. Without it the plan is printed only."),
        click.option(
            "--dry-run", is_flag=True, help="Check the files and print them; ask the Hub nothing."
        ),
        click.option(
            "--public",
            is_flag=True,
            help="A repository that is made is public.  [default: private]",
        ),
        click.option("--message", default=None, metavar="TEXT", help="Of the commit."),
        click.option(
            "--deadline",
            type=click.FloatRange(min=0.1),
            default=240,
            show_default=True,
            metavar="MINUTES",
            help="When to give up on the Hub, whatever it does; drawing does not count.",
        ),
        click.option(
            "--verify",
            type=click.Choice(["full", "tree"]),
            default="full",
            show_default=True,
            help="Read everything back, or compare names and hashes.",
        ),
        click.option("--json", "as_json", is_flag=True, help="Machine-readable."),
    )

    @functools.wraps(command)
    def timed(*args: Any, **values: Any) -> Any:
        begin_deadline(values.pop("deadline"))
        return command(*args, **values)

    timed.__doc__ = (command.__doc__ or "") + EXIT_CODES
    return with_options(options)(timed)  # type: ignore[return-value]


def begin_deadline(minutes: float) -> None:
    """Start the one deadline of a command that sends."""
    click.get_current_context().meta[DEADLINE] = Deadline(SystemClock(), minutes * 60)


def current_deadline() -> Deadline:
    """The deadline of the command that runs."""
    return click.get_current_context().meta[DEADLINE]


def send(
    payload: Payload,
    *,
    repo: str,
    tag: str | None,
    yes: bool,
    dry_run: bool,
    public: bool,
    message: str,
    verify: str,
    as_json: bool,
    sdk: str | None = None,
    hardware: str | None = None,
) -> None:
    """Plan, and with `yes` push, a payload; print what was done.

    Args:
        payload: What the repository shall hold.
        repo: ORG/NAME.
        tag: vX.Y.Z, or None.
        yes: Do it.
        dry_run: Ask the Hub nothing.
        public: Make a repository public.
        message: Of the commit.
        verify: "full" or "tree".
        as_json: Print JSON.
        sdk: Of a Space that is made.
        hardware: Of a Space that is made.
    """
    from publish.hub.errors import redact
    from publish.hub.push import Progress, explain, push
    from publish.hub.push_plan import check_tag, make_plan, offline_plan
    from publish.hub.repository import Hub

    check_tag(tag)
    say = _teller(quiet=as_json)
    deadline = current_deadline()
    retry = Retry(deadline, on_wait=lambda text: say(redact(text)))
    hub = Hub(repo, payload.kind, retry, quiet=as_json or not sys.stderr.isatty())
    if dry_run:
        plan = offline_plan(payload, repo, hub.url, tag, public=public)
        _print(as_json, {"status": "dry run", "plan": plan.to_json()}, plan.to_text())
        return
    progress = Progress()
    again = shlex.join(["python", "-m", "publish", *resume_words(click.get_current_context())])

    def last_words() -> str:
        return f"{progress.describe()}. To go on: {again}"

    with tempfile.TemporaryDirectory(prefix="publish-") as cache, hub.connected(Path(cache)):
        try:
            with ends_by(deadline, last_words):
                plan = make_plan(hub, payload, tag, public=public)
                if not yes:
                    done = "nothing to do" if plan.is_done else "planned"
                    _print(as_json, {"status": done, "plan": plan.to_json()}, plan.to_text())
                    click.echo(
                        "Nothing to do." if plan.is_done else "Nothing was changed; --yes does it.",
                        err=True,
                    )
                    return
                if not as_json:
                    click.echo(plan.to_text())
                outcome = push(
                    hub,
                    payload,
                    plan,
                    message=message,
                    progress=progress,
                    contents=verify == "full",
                    sdk=sdk,
                    hardware=hardware,
                    say=say,
                )
        except LungSynthError as error:
            raise explain(error, progress, again) from error
        except KeyboardInterrupt:
            click.echo(f"Interrupted. {last_words()}", err=True)
            sys.exit(130)
    named = f" as {outcome.tag}" if outcome.tag else ""
    text = f"{outcome.status}: {hub.url} at {outcome.commit}{named}"
    _print(as_json, {**outcome.to_json(), "url": hub.url, "plan": plan.to_json()}, text)


def _print(as_json: bool, value: dict[str, Any], text: str) -> None:
    click.echo(json.dumps(value, indent=2, ensure_ascii=False) if as_json else text)


def _teller(*, quiet: bool) -> Callable[[str], None]:
    return (lambda text: None) if quiet else (lambda text: click.echo(text, err=True))


def resume_words(context: click.Context) -> list[str]:
    """Words that start a command again as it was given, and do it, after `python -m publish`.

    Args:
        context: Of the command that runs; every option that was really given is taken from it.
    """
    words = [str(context.info_name)]
    for one in context.command.params:
        name = str(one.name)
        if context.get_parameter_source(name) is not ParameterSource.COMMANDLINE or name == "yes":
            continue
        value = context.params[name]
        if isinstance(one, click.Argument):
            words.append(str(value))
        elif isinstance(one, click.Option) and one.is_flag:
            words.append(_longest(one.opts if value else one.secondary_opts))
        else:
            for each in value if one.multiple else (value,):
                words += [_longest(one.opts), str(each)]
    return [*words, "--yes"]


def _longest(names: list[str]) -> str:
    return max(names, key=len)
