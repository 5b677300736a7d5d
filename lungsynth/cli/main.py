"""The command line of lungsynth."""

from __future__ import annotations

import sys

import click

from lungsynth import __version__
from lungsynth.cli.annotate import annotate_command
from lungsynth.cli.evaluate.changes import age_command, changes_command
from lungsynth.cli.evaluate.downstream import downstream_command
from lungsynth.cli.evaluate.film_check import film_check_command
from lungsynth.cli.evaluate.group import evaluate
from lungsynth.cli.evaluate.hearing import hearing_command
from lungsynth.cli.evaluate.masks import draw_command, judge_command, masks_command
from lungsynth.cli.evaluate.memorisation import memorisation_command
from lungsynth.cli.evaluate.model import reconstruction_command, sheet_command
from lungsynth.cli.evaluate.sides import sides_command
from lungsynth.cli.evaluate.trust import trust_command
from lungsynth.cli.evaluate.words import words_maps_command
from lungsynth.cli.learn_token import learn_token_command
from lungsynth.cli.report import report_command
from lungsynth.cli.sample import sample, words_command
from lungsynth.cli.segment import segment_command
from lungsynth.cli.tools import doctor_command, pack_command
from lungsynth.cli.train import train
from lungsynth.cli.train_all import train_all_command
from lungsynth.cli.train_encoder import train_encoder_command, train_nearest_command
from lungsynth.cli.train_film_check import train_film_check_command
from lungsynth.cli.train_masks import train_affinity_command, train_student_command
from lungsynth.cli.train_trust import train_trust_command
from lungsynth.errors import LungSynthError


@click.group(context_settings={"help_option_names": ["-h", "--help"], "max_content_width": 100})
@click.version_option(__version__, prog_name="lungsynth")
def cli() -> None:
    """Chest X-rays with masks, from text. Synthetic; research only; not for diagnosis."""


cli.add_command(sample)
cli.add_command(words_command)
cli.add_command(doctor_command)
cli.add_command(pack_command)
cli.add_command(segment_command)
cli.add_command(annotate_command)
cli.add_command(learn_token_command)
train.add_command(train_encoder_command)
train.add_command(train_nearest_command)
train.add_command(train_student_command)
train.add_command(train_affinity_command)
train.add_command(train_trust_command)
train.add_command(train_all_command)
train.add_command(train_film_check_command)
cli.add_command(train)
evaluate.add_command(reconstruction_command)
evaluate.add_command(sheet_command)
evaluate.add_command(draw_command)
evaluate.add_command(masks_command)
evaluate.add_command(judge_command)
evaluate.add_command(memorisation_command)
evaluate.add_command(downstream_command)
evaluate.add_command(sides_command)
evaluate.add_command(film_check_command)
evaluate.add_command(hearing_command)
evaluate.add_command(trust_command)
evaluate.add_command(words_maps_command)
evaluate.add_command(changes_command)
evaluate.add_command(age_command)
cli.add_command(evaluate)
cli.add_command(report_command)


def main() -> None:
    """Run the command line; our own errors become one line and exit code 1."""
    try:
        cli(prog_name="lungsynth")
    except LungSynthError as error:
        click.echo(f"{type(error).__name__}: {error}", err=True)
        sys.exit(1)
