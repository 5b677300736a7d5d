"""What commands that send something to the Hub do; and `python -m publish space`, which does no more."""

from __future__ import annotations

import json
import shlex
import sys
import tempfile
from contextlib import ExitStack
from dataclasses import asdict
from pathlib import Path
from typing import Any

import click
from click.core import ParameterSource

from lungsynth.errors import LungSynthError
from publish.commands.sending import SendOptions, SpaceCommand
from publish.hub.limit import ends_by
from publish.hub.payload import Payload, read_folder
from publish.hub.push import Progress, explain, push
from publish.hub.push_plan import check_tag, make_plan, offline_plan
from publish.hub.reader import check_repo_name, redact
from publish.hub.repository import Hub
from publish.hub.retry import Deadline, Retry, SystemClock
from publish.hub.space_files import HARDWARE, write_space


def begin(command: SendOptions) -> Deadline:
    """Start the one deadline of a command that sends, and look at what it was given.

    Raises:
        ConfigError: the repository's name or the tag is not one.
    """
    check_repo_name(command.repo)
    check_tag(command.tag)
    return Deadline(SystemClock(), command.deadline * 60)


def send(
    payload: Payload,
    command: SendOptions,
    deadline: Deadline,
    *,
    message: str,
    tag: str | None = None,
    hardware: str | None = None,
) -> None:
    """Plan, and with `--yes` push, a payload; print what was done.

    `message` and `tag` are those of the options, where these give them; `hardware` is of a Space
    that is made.
    """
    tag = tag or command.tag

    def say(text: str) -> None:
        if not command.as_json:
            click.echo(text, err=True)

    retry = Retry(deadline, on_wait=lambda text: say(redact(text)))
    hub = Hub(command.repo, payload.kind, retry, quiet=command.as_json or not sys.stderr.isatty())
    if command.dry_run:
        plan = offline_plan(payload, command.repo, hub.url, tag, public=command.public)
        _print(command, {"status": "dry run", "plan": plan.to_json()}, plan.to_text())
        return
    progress = Progress()
    again = shlex.join(["python", "-m", "publish", *resume_words(click.get_current_context())])

    def last_words() -> str:
        return f"{progress.describe()}. To go on: {again}"

    with tempfile.TemporaryDirectory(prefix="publish-") as cache, hub.connected(Path(cache)):
        try:
            with ends_by(deadline, last_words):
                plan = make_plan(hub, payload, tag, public=command.public)
                if not command.yes:
                    done = "nothing to do" if plan.is_done else "planned"
                    _print(command, {"status": done, "plan": plan.to_json()}, plan.to_text())
                    end = (
                        "Nothing to do." if plan.is_done else "Nothing was changed; --yes does it."
                    )
                    click.echo(end, err=True)
                    return
                if not command.as_json:
                    click.echo(plan.to_text())
                outcome = push(
                    hub,
                    payload,
                    plan,
                    message=command.message or message,
                    progress=progress,
                    contents=command.verify == "full",
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
    _print(command, {**asdict(outcome), "url": hub.url, "plan": plan.to_json()}, text)


def _print(command: SendOptions, value: dict[str, Any], text: str) -> None:
    click.echo(json.dumps(value, indent=2, ensure_ascii=False) if command.as_json else text)


def resume_words(context: click.Context) -> list[str]:
    """Words that start the running command again as it was given, and do it, after `python -m
    publish`.
    """
    words = [str(context.info_name)]
    params = context.command.params
    for one in sorted(params, key=lambda one: not isinstance(one, click.Argument)):
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


def release_message(payload: Payload, tag: str | None) -> str:
    """What a commit of a dataset says."""
    first = payload.splits[0].config
    n_rows = sum(split.n_rows for split in payload.splits if split.config == first)
    return f"{f'Release {tag}' if tag else 'Publish'}: {n_rows:,} synthetic rows"


def run_space(command: SpaceCommand) -> None:
    """Publish the page as a Space."""
    deadline = begin(command)
    with ExitStack() as stack:
        folder = command.out or Path(
            stack.enter_context(tempfile.TemporaryDirectory(prefix="publish-space-"))
        )
        hardware = HARDWARE[command.hardware]
        write_space(folder, hardware)
        send(
            read_folder(folder, "space"),
            command,
            deadline,
            message=f"The page, for {command.hardware}",
            hardware=hardware.flavour,
        )
