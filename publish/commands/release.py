"""`python -m publish release`."""

from __future__ import annotations

import json
import sys
import tempfile
from pathlib import Path
from typing import Any

import click

from publish.commands.build import build_options, engine_of, settings_of, worker_options
from publish.commands.inspect import not_fit, print_checks
from publish.commands.sending import current_deadline, hub_options, send
from publish.hub.limit import ends_by
from publish.hub.retry import Retry

NOT_FIT = 8
"""Exit code when a check failed; 3 means "no access" to commands that push."""


@click.command("release")
@build_options
@worker_options
@click.option(
    "--previous",
    type=click.Path(path_type=Path, file_okay=False, exists=True),
    metavar="DIR",
    help="Folder of the last release.  [default: the Hub's last tag]",
)
@click.option(
    "--load/--no-load",
    default=True,
    show_default=True,
    help="Check also by load_dataset before pushing.",
)
@hub_options
def release_command(
    config_file: Path | None,
    out: Path,
    quiet: bool,
    workers: int | None,
    engine_name: str | None,
    engine_options: tuple[str, ...],
    logs: Path | None,
    previous: Path | None,
    load: bool,
    repo: str,
    tag: str | None,
    yes: bool,
    dry_run: bool,
    public: bool,
    message: str | None,
    verify: str,
    as_json: bool,
    **options: Any,
) -> None:
    """Build, check and push a release, its version computed from what changed since the last tag.

    \b
    python -m publish release --config release.yaml --repo lab/synthetic-cxr          the plan
    python -m publish release --config release.yaml --repo lab/synthetic-cxr --yes    do it

    MAJOR: another schema version, or rows, columns or classes changed or gone. MINOR: some added.
    PATCH: the same rows, other files, or rows withdrawn by an erratum. The entry of the changelog
    says what.
    With --tag, another version than the computed one is refused. With --dry-run the Hub is not
    asked, so a first release is prepared unless --previous is given.
    A failed check ends with exit code 8: nothing is pushed then.
    """
    from lungsynth.errors import ConfigError
    from publish.build.plan import plan
    from publish.hub.dataset_files import read_dataset
    from publish.hub.push import check_tag
    from publish.hub.repository import Hub, check_repo_name, redact
    from publish.release.previous import fetch_last
    from publish.release.release import prepare

    def say(text: str) -> None:
        if not (quiet or as_json):
            click.echo(redact(text), err=True)

    check_repo_name(repo)
    check_tag(tag)
    engine = engine_of(engine_name, engine_options, workers, logs)
    the_plan = plan(settings_of(config_file, options))
    with tempfile.TemporaryDirectory(prefix="publish-") as room:
        if previous is None and not dry_run:
            hub = Hub(repo, "dataset", Retry(current_deadline(), on_wait=say))
            last, cache = Path(room, "last"), Path(room, "cache")
            last.mkdir()
            with hub.connected(cache), ends_by(current_deadline(), lambda: "Nothing was sent."):
                hub.check_account()
                previous = fetch_last(hub, out, last, say)
        with current_deadline().paused():
            prepared = prepare(
                the_plan,
                out,
                previous,
                load=load,
                quiet=quiet or as_json,
                workers=workers,
                engine=engine,
            )
    computed = f"v{prepared.version}"
    if not prepared.is_fit:
        if as_json:
            told = {"status": "not fit", "checks": [one.to_json() for one in prepared.checks]}
            click.echo(json.dumps(told, indent=2, ensure_ascii=False))
        else:
            print_checks(prepared.checks)
        click.echo(f"{not_fit(out)}. Nothing was pushed", err=True)
        sys.exit(NOT_FIT)
    say(
        f"{prepared.previous or 'nothing'} -> {prepared.version}"
        f" ({prepared.changes.bump if prepared.changes else 'first release'})"
    )
    for line in prepared.changes.lines() if prepared.changes else ():
        say(f"  {line}")
    if tag is not None and tag != computed:
        raise ConfigError(
            f"--tag {tag}: what changed asks for {computed}. Leave --tag out, or change the data."
        )
    payload = read_dataset(out)
    n_rows = sum(s.n_rows for s in payload.splits if s.config == payload.splits[0].config)
    send(
        payload,
        repo=repo,
        tag=computed,
        yes=yes,
        dry_run=dry_run,
        public=public,
        message=message or f"Release {computed}: {n_rows:,} synthetic rows",
        verify=verify,
        as_json=as_json,
    )
