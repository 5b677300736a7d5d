"""The command line of lungsynth."""

from __future__ import annotations

import sys

import click

from lungsynth import __version__
from lungsynth.cli.command import CONTEXT, Commands, below, made
from lungsynth.errors import LungSynthError

CLI = "lungsynth.cli"

COMMANDS: Commands = below(
    CLI,
    {
        "sample": ("sample:SampleCommand", "run.sample:run_sample"),
        "words": ("sample:WordsCommand", "run.sample:run_words"),
        "doctor": ("sample:DoctorCommand", "run.tools:run_doctor"),
        "pack": ("films:PackCommand", "run.tools:run_pack"),
        "segment": ("films:SegmentCommand", "run.segment:run_segment"),
        "annotate": ("films:AnnotateCommand", "run.annotate:run_annotate"),
        "learn-token": ("films:LearnTokenCommand", "run.learn_token:run_learn_token"),
        "report": ("sample:ReportCommand", "run.report:run_report"),
    },
)
TRAIN: Commands = below(
    CLI,
    {
        "vae": ("train:TrainVaeCommand", "run.train:run_train_vae"),
        "diffusion": ("train:TrainDiffusionCommand", "run.train:run_train_diffusion"),
        "encoder": ("train:TrainEncoderCommand", "run.train_encoder:run_train_encoder"),
        "nearest": ("train:TrainNearestCommand", "run.train_encoder:run_train_nearest"),
        "student": ("train_masks:TrainStudentCommand", "run.train_masks:run_train_student"),
        "affinity": ("train_masks:TrainAffinityCommand", "run.train_masks:run_train_affinity"),
        "trust": ("train_masks:TrainTrustCommand", "run.train_masks:run_train_trust"),
        "all": ("train_masks:TrainAllCommand", "run.train_all:run_train_all"),
        "film-check": ("train_masks:TrainFilmCheckCommand", "run.train_masks:run_train_film_check"),
    },
)
EVALUATIONS: Commands = {
    **below(
        f"{CLI}.evaluate",
        {
            "fidelity": ("samples:FidelityCommand", "run.samples:run_fidelity"),
            "detail": ("samples:DetailCommand", "run.samples:run_detail"),
            "obedience": ("samples:ObedienceCommand", "run.samples:run_obedience"),
            "neighbours": ("samples:NeighboursCommand", "run.samples:run_neighbours"),
            "memorisation": ("samples:MemorisationCommand", "run.samples:run_memorisation"),
            "reconstruction": ("model:ReconstructionCommand", "run.model:run_reconstruction"),
            "sheet": ("model:SheetCommand", "run.model:run_sheet"),
            "draw": ("model:DrawCommand", "run.model:run_draw"),
            "film-check": ("model:FilmCheckCommand", "run.model:run_film_check"),
            "hearing": ("words:HearingCommand", "run.words:run_hearing"),
            "words": ("words:WordsMapsCommand", "run.words:run_words_maps"),
            "changes": ("words:ChangesCommand", "run.words:run_changes"),
            "sides": ("words:SidesCommand", "run.words:run_sides"),
            "age": ("samples:AgeCommand", "run.samples:run_age"),
        },
    ),
    **below(
        "lungsynth.evaluation",
        {
            "masks": ("options:MasksOptions", "masks.run:run_masks"),
            "trust": ("options:TrustOptions", "masks.trust:run_trust"),
            "downstream": ("options:DownstreamOptions", "downstream.run:run_downstream"),
        },
    ),
}
"""Name -> options, and what does the work."""


@click.group(
    context_settings=CONTEXT,
    commands=[
        *made(COMMANDS),
        click.Group(
            "train",
            help="Train the parts of a checkpoint. Every run resumes with the same command.",
            commands=made(TRAIN),
        ),
        click.Group(
            "evaluate",
            help="Measure samples against real films that the model has not seen.",
            commands=made(EVALUATIONS),
        ),
    ],
)
@click.version_option(__version__, prog_name="lungsynth")
def cli() -> None:
    """Chest X-rays with masks, from text. Synthetic; research only; not for diagnosis."""


def main() -> None:
    """Run the command line; our own errors become one line and exit code 1."""
    try:
        cli(prog_name="lungsynth")
    except LungSynthError as error:
        click.echo(f"{type(error).__name__}: {error}", err=True)
        sys.exit(1)
