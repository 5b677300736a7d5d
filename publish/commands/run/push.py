"""`python -m publish push`: what it does; and where a dataset stops that is not fit."""

from __future__ import annotations

import json
import sys
from collections.abc import Sequence
from pathlib import Path

import click

from publish.check.checks import Checked, check
from publish.commands.run.reading import not_fit, print_checks
from publish.commands.run.sending import begin, release_message, send
from publish.commands.sending import PushCommand, SendOptions
from publish.hub.dataset_files import read_dataset

NOT_FIT = 8
"""Exit code when a check failed; 3 means "no access" to commands that push."""


def stop_unfit(command: SendOptions, dist: Path, done: Sequence[Checked]) -> None:
    """Unless a dataset passed its checks, print what is wrong and leave."""
    if all(one.is_fit for one in done):
        return
    if command.as_json:
        told = {"status": "not fit", "checks": [one.to_json() for one in done]}
        click.echo(json.dumps(told, indent=2, ensure_ascii=False))
    else:
        print_checks(done)
    click.echo(f"{not_fit(dist)}. Nothing was pushed", err=True)
    sys.exit(NOT_FIT)


def run_push(command: PushCommand) -> None:
    """Publish a built dataset."""
    deadline = begin(command)
    payload = read_dataset(command.dist)
    with deadline.paused():  # by load_dataset only where the commit is not loaded before its tag
        done = check(command.dist, load=command.verify == "tree")
    stop_unfit(command, command.dist, done)
    send(payload, command, deadline, message=release_message(payload, command.tag))
