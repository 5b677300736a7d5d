"""The command line of lungsynth."""

from __future__ import annotations

import sys

import click

from lungsynth import __version__
from lungsynth.cli.command import CONTEXT, Commands, command, group
from lungsynth.errors import LungSynthError

CLI, EVALUATE, MEASURE = "lungsynth.cli", "lungsynth.cli.evaluate", "lungsynth.evaluation"

COMMANDS: Commands = {
    "sample": (f"{CLI}.sample:SampleCommand", f"{CLI}.run.sample:run_sample"),
    "words": (f"{CLI}.sample:WordsCommand", f"{CLI}.run.sample:run_words"),
    "doctor": (f"{CLI}.sample:DoctorCommand", f"{CLI}.run.tools:run_doctor"),
    "pack": (f"{CLI}.films:PackCommand", f"{CLI}.run.tools:run_pack"),
    "segment": (f"{CLI}.films:SegmentCommand", f"{CLI}.run.segment:run_segment"),
    "annotate": (f"{CLI}.films:AnnotateCommand", f"{CLI}.run.annotate:run_annotate"),
    "learn-token": (f"{CLI}.films:LearnTokenCommand", f"{CLI}.run.learn_token:run_learn_token"),
    "report": (f"{CLI}.report:ReportCommand", f"{CLI}.run.report:run_report"),
}
TRAIN: Commands = {
    "vae": (f"{CLI}.train:TrainVaeCommand", f"{CLI}.run.train:run_train_vae"),
    "diffusion": (f"{CLI}.train:TrainDiffusionCommand", f"{CLI}.run.train:run_train_diffusion"),
    "encoder": (f"{CLI}.train:TrainEncoderCommand", f"{CLI}.run.train_encoder:run_train_encoder"),
    "nearest": (f"{CLI}.train:TrainNearestCommand", f"{CLI}.run.train_encoder:run_train_nearest"),
    "student": (
        f"{CLI}.train_masks:TrainStudentCommand",
        f"{CLI}.run.train_masks:run_train_student",
    ),
    "affinity": (
        f"{CLI}.train_masks:TrainAffinityCommand",
        f"{CLI}.run.train_masks:run_train_affinity",
    ),
    "trust": (f"{CLI}.train_masks:TrainTrustCommand", f"{CLI}.run.train_masks:run_train_trust"),
    "all": (f"{CLI}.train_masks:TrainAllCommand", f"{CLI}.run.train_all:run_train_all"),
    "film-check": (
        f"{CLI}.train_masks:TrainFilmCheckCommand",
        f"{CLI}.run.train_masks:run_train_film_check",
    ),
}
EVALUATIONS: Commands = {
    "fidelity": (f"{EVALUATE}.samples:FidelityCommand", f"{EVALUATE}.run.samples:run_fidelity"),
    "detail": (f"{EVALUATE}.samples:DetailCommand", f"{EVALUATE}.run.samples:run_detail"),
    "obedience": (f"{EVALUATE}.samples:ObedienceCommand", f"{EVALUATE}.run.samples:run_obedience"),
    "neighbours": (
        f"{EVALUATE}.samples:NeighboursCommand",
        f"{EVALUATE}.run.samples:run_neighbours",
    ),
    "memorisation": (
        f"{EVALUATE}.samples:MemorisationCommand",
        f"{EVALUATE}.run.samples:run_memorisation",
    ),
    "reconstruction": (
        f"{EVALUATE}.model:ReconstructionCommand",
        f"{EVALUATE}.run.model:run_reconstruction",
    ),
    "sheet": (f"{EVALUATE}.model:SheetCommand", f"{EVALUATE}.run.model:run_sheet"),
    "draw": (f"{EVALUATE}.model:DrawCommand", f"{EVALUATE}.run.model:run_draw"),
    "film-check": (f"{EVALUATE}.model:FilmCheckCommand", f"{EVALUATE}.run.model:run_film_check"),
    "masks": (f"{MEASURE}.options:MasksOptions", f"{MEASURE}.masks.run:run_masks"),
    "trust": (f"{MEASURE}.options:TrustOptions", f"{MEASURE}.masks.trust:run_trust"),
    "downstream": (
        f"{MEASURE}.options:DownstreamOptions",
        f"{MEASURE}.downstream.run:run_downstream",
    ),
    "hearing": (f"{EVALUATE}.words:HearingCommand", f"{EVALUATE}.run.words:run_hearing"),
    "words": (f"{EVALUATE}.words:WordsMapsCommand", f"{EVALUATE}.run.words:run_words_maps"),
    "changes": (f"{EVALUATE}.words:ChangesCommand", f"{EVALUATE}.run.words:run_changes"),
    "sides": (f"{EVALUATE}.words:SidesCommand", f"{EVALUATE}.run.words:run_sides"),
    "age": (f"{EVALUATE}.samples:AgeCommand", f"{EVALUATE}.run.samples:run_age"),
}
"""Name -> options, and what does the work."""


@click.group(
    context_settings=CONTEXT,
    commands=[
        *(command(name, *how) for name, how in COMMANDS.items()),
        group(
            "train",
            "Train the parts of a checkpoint. Every run resumes with the same command.",
            TRAIN,
        ),
        group(
            "evaluate",
            "Measure samples against real films that the model has not seen.",
            EVALUATIONS,
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
