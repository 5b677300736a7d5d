"""The command line of publish."""

from __future__ import annotations

import sys

import click

from lungsynth import __version__
from lungsynth.cli.command import CONTEXT, Commands, below, made
from lungsynth.errors import LungSynthError

COMMANDS: Commands = below(
    "publish.commands",
    {
        "build": ("build:BuildCommand", "run.build:run_build"),
        "check": ("reading:CheckCommand", "run.reading:run_check"),
        "replay": ("reading:ReplayCommand", "run.reading:run_replay"),
        "diff": ("reading:DiffCommand", "run.reading:run_diff"),
        "filter": ("reading:FilterCommand", "run.reading:run_filter"),
        "erratum": ("reading:ErratumCommand", "run.reading:run_erratum"),
        "export": ("reading:ExportCommand", "run.reading:run_export"),
        "push": ("sending:PushCommand", "run.push:run_push"),
        "release": ("build:ReleaseCommand", "run.build:run_release"),
        "weights": ("sending:WeightsCommand", "run.weights:run_weights"),
        "space": ("sending:SpaceCommand", "run.sending:run_space"),
    },
)
"""Name -> options, and what does the work."""


@click.group(context_settings=CONTEXT, commands=made(COMMANDS))
@click.version_option(__version__, prog_name="publish")
def cli() -> None:
    """Datasets of synthetic chest X-rays with masks. Research only; not for diagnosis."""


def main() -> None:
    """Run the command line; our own errors become one line and their exit code."""
    try:
        cli(standalone_mode=True)
    except LungSynthError as error:
        click.echo(f"{type(error).__name__}: {error}", err=True)
        sys.exit(error.exit_code)
