"""The command line of publish."""

from __future__ import annotations

import sys

import click

from lungsynth import __version__
from lungsynth.cli.command import CONTEXT, Commands, made
from lungsynth.errors import LungSynthError

OPTIONS, WORK = "publish.commands", "publish.commands.run"
COMMANDS: Commands = {
    "build": (f"{OPTIONS}.build:BuildCommand", f"{WORK}.build:run_build"),
    "check": (f"{OPTIONS}.reading:CheckCommand", f"{WORK}.reading:run_check"),
    "replay": (f"{OPTIONS}.reading:ReplayCommand", f"{WORK}.reading:run_replay"),
    "diff": (f"{OPTIONS}.reading:DiffCommand", f"{WORK}.reading:run_diff"),
    "filter": (f"{OPTIONS}.reading:FilterCommand", f"{WORK}.reading:run_filter"),
    "erratum": (f"{OPTIONS}.reading:ErratumCommand", f"{WORK}.reading:run_erratum"),
    "export": (f"{OPTIONS}.reading:ExportCommand", f"{WORK}.reading:run_export"),
    "push": (f"{OPTIONS}.sending:PushCommand", f"{WORK}.push:run_push"),
    "release": (f"{OPTIONS}.build:ReleaseCommand", f"{WORK}.build:run_release"),
    "weights": (f"{OPTIONS}.sending:WeightsCommand", f"{WORK}.weights:run_weights"),
    "space": (f"{OPTIONS}.sending:SpaceCommand", f"{WORK}.sending:run_space"),
}
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
