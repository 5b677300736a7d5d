"""The command line of publish."""

from __future__ import annotations

import sys

import click

from lungsynth import __version__
from lungsynth.errors import LungSynthError
from publish.commands.build import build_command
from publish.commands.erratum import erratum_command
from publish.commands.export import export_command
from publish.commands.filter import filter_command
from publish.commands.inspect import check_command, diff_command, replay_command
from publish.commands.push import push_command
from publish.commands.release import release_command
from publish.commands.space import space_command
from publish.commands.weights import weights_command


@click.group(context_settings={"help_option_names": ["-h", "--help"], "max_content_width": 100})
@click.version_option(__version__, prog_name="publish")
def cli() -> None:
    """Datasets of synthetic chest X-rays with masks. Research only; not for diagnosis."""


cli.add_command(build_command)
cli.add_command(check_command)
cli.add_command(replay_command)
cli.add_command(diff_command)
cli.add_command(filter_command)
cli.add_command(erratum_command)
cli.add_command(export_command)
cli.add_command(push_command)
cli.add_command(release_command)
cli.add_command(weights_command)
cli.add_command(space_command)


def main() -> None:
    """Run the command line; our own errors become one line and their exit code."""
    try:
        cli(standalone_mode=True)
    except LungSynthError as error:
        click.echo(f"{type(error).__name__}: {error}", err=True)
        sys.exit(error.exit_code)
