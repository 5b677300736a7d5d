"""`python -m publish build` and `release`: what they do."""

from __future__ import annotations

import json
import tempfile
from pathlib import Path

import click

from lungsynth.errors import ConfigError
from publish.build.engines import Engine, read_engine
from publish.build.plan import Plan, plan
from publish.build.run import build
from publish.commands.build import BuildCommand, BuildOptions, ReleaseCommand
from publish.commands.run.push import stop_unfit
from publish.commands.run.sending import begin, release_message, send
from publish.data.settings import read_settings
from publish.hub.dataset_files import read_dataset
from publish.hub.limit import ends_by
from publish.hub.reader import redact
from publish.hub.repository import Hub
from publish.hub.retry import Deadline, Retry
from publish.release.release import Prepared, fetch_last, prepare


def plan_of(command: BuildOptions) -> Plan:
    """What is built: the YAML file's settings, with the options that were given in their place."""
    given = {
        **command.settings,
        "ignore_band": command.ignore_band,
        "apply_filter": command.apply_filter,
        "unmeasured": command.unmeasured or None,
    }
    return plan(read_settings(command.config_file, given))


def engine_of(command: BuildOptions) -> Engine | None:
    """The engine that was named; None for processes of this program.

    Raises:
        click.UsageError: options of an engine, and none named.
        ConfigError: its options are wrong, or it is not installed.
    """
    if command.engine_name is not None:
        return read_engine(
            command.engine_name,
            command.engine_options,
            workers=command.workers,
            logs=command.logs,
        )
    if command.engine_options or command.logs:
        given = "--engine-option" if command.engine_options else "--logs"
        raise click.UsageError(f"{given} is for an engine; name it with --engine.")
    return None


def run_build(command: BuildCommand) -> None:
    """Draw a dataset."""
    engine = engine_of(command)
    the_plan = plan_of(command)
    if command.dry_run:
        click.echo(json.dumps(the_plan.preview(), indent=2, ensure_ascii=False))
        return
    out = command.out
    manifest = build(the_plan, out, workers=command.workers, engine=engine, quiet=command.quiet)
    click.echo(
        f"{out}: {manifest.n_rows} of {manifest.n_drawn} rows drawn, in {len(manifest.shards)} "
        f"shards, version {manifest.version}",
        err=True,
    )
    if command.as_json:
        click.echo(json.dumps(manifest.to_json(), indent=2, ensure_ascii=False))
    else:
        click.echo(str(out / "manifest.json"))


def run_release(command: ReleaseCommand) -> None:
    """Build, check and push a release."""
    deadline = begin(command)
    prepared = _prepared(command, deadline)
    computed = f"v{prepared.version}"
    stop_unfit(command, command.out, prepared.checks)
    bump = prepared.changes.bump if prepared.changes else "first release"
    _say(command, f"{prepared.previous or 'nothing'} -> {prepared.version} ({bump})")
    for line in prepared.changes.lines() if prepared.changes else ():
        _say(command, f"  {line}")
    if command.tag is not None and command.tag != computed:
        raise ConfigError(
            f"--tag {command.tag}: what changed asks for {computed}. Leave --tag out, or change the "
            "data."
        )
    payload = read_dataset(command.out)
    send(payload, command, deadline, tag=computed, message=release_message(payload, computed))


def _prepared(command: ReleaseCommand, deadline: Deadline) -> Prepared:
    """The release, built, numbered and checked; the Hub is asked for the last one."""
    engine = engine_of(command)
    the_plan = plan_of(command)
    previous = command.previous
    with tempfile.TemporaryDirectory(prefix="publish-") as room:
        if previous is None and not command.dry_run:
            retry = Retry(deadline, on_wait=lambda text: _say(command, text))
            hub = Hub(command.repo, "dataset", retry)
            last, cache = Path(room, "last"), Path(room, "cache")
            last.mkdir()
            with hub.connected(cache), ends_by(deadline, lambda: "Nothing was sent."):
                hub.check_account()
                previous = fetch_last(hub, command.out, last, lambda text: _say(command, text))
        with deadline.paused():
            return prepare(
                the_plan,
                command.out,
                previous,
                load=command.load,
                quiet=command.quiet or command.as_json,
                workers=command.workers,
                engine=engine,
            )


def _say(command: ReleaseCommand, text: str) -> None:
    if not (command.quiet or command.as_json):
        click.echo(redact(text), err=True)
