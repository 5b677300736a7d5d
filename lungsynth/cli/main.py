"""The command line of lungsynth."""

from __future__ import annotations

import sys

import click

from lungsynth import __version__
from lungsynth.cli.sample import sample, words_command
from lungsynth.cli.train import train
from lungsynth.errors import LungSynthError


@click.group(context_settings={"help_option_names": ["-h", "--help"], "max_content_width": 100})
@click.version_option(__version__, prog_name="lungsynth")
def cli() -> None:
    """Chest X-rays with masks, from text. Synthetic; research only; not for diagnosis."""


cli.add_command(sample)
cli.add_command(words_command)
cli.add_command(train)


def main() -> None:
    """Run the command line; our own errors become one line and exit code 1."""
    try:
        cli(standalone_mode=True)
    except LungSynthError as error:
        click.echo(f"{type(error).__name__}: {error}", err=True)
        sys.exit(1)
