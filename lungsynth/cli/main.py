"""The command line of lungsynth."""

from __future__ import annotations

import sys

import click

from lungsynth import __version__
from lungsynth.cli import films, report, sample, train, train_masks
from lungsynth.cli.command import CONTEXT, Commands, command, group
from lungsynth.cli.evaluate import model, samples, words
from lungsynth.errors import LungSynthError
from lungsynth.evaluation import options

RUN, EVALUATE, MASKS = "lungsynth.cli.run", "lungsynth.cli.evaluate.run", "lungsynth.evaluation"

COMMANDS: Commands = {
    "sample": (sample.SampleCommand, f"{RUN}.sample:run_sample"),
    "words": (sample.WordsCommand, f"{RUN}.sample:run_words"),
    "doctor": (sample.DoctorCommand, f"{RUN}.tools:run_doctor"),
    "pack": (films.PackCommand, f"{RUN}.tools:run_pack"),
    "segment": (films.SegmentCommand, f"{RUN}.segment:run_segment"),
    "annotate": (films.AnnotateCommand, f"{RUN}.annotate:run_annotate"),
    "learn-token": (films.LearnTokenCommand, f"{RUN}.learn_token:run_learn_token"),
    "report": (report.ReportCommand, f"{RUN}.report:run_report"),
}
TRAIN: Commands = {
    "vae": (train.TrainVaeCommand, f"{RUN}.train:run_train_vae"),
    "diffusion": (train.TrainDiffusionCommand, f"{RUN}.train:run_train_diffusion"),
    "encoder": (train.TrainEncoderCommand, f"{RUN}.train_encoder:run_train_encoder"),
    "nearest": (train.TrainNearestCommand, f"{RUN}.train_encoder:run_train_nearest"),
    "student": (train_masks.TrainStudentCommand, f"{RUN}.train_masks:run_train_student"),
    "affinity": (train_masks.TrainAffinityCommand, f"{RUN}.train_masks:run_train_affinity"),
    "trust": (train_masks.TrainTrustCommand, f"{RUN}.train_masks:run_train_trust"),
    "all": (train_masks.TrainAllCommand, f"{RUN}.train_all:run_train_all"),
    "film-check": (
        train_masks.TrainFilmCheckCommand,
        f"{RUN}.train_masks:run_train_film_check",
    ),
}
EVALUATIONS: Commands = {
    "fidelity": (samples.FidelityCommand, f"{EVALUATE}.samples:run_fidelity"),
    "detail": (samples.DetailCommand, f"{EVALUATE}.samples:run_detail"),
    "obedience": (samples.ObedienceCommand, f"{EVALUATE}.samples:run_obedience"),
    "neighbours": (samples.NeighboursCommand, f"{EVALUATE}.samples:run_neighbours"),
    "memorisation": (samples.MemorisationCommand, f"{EVALUATE}.samples:run_memorisation"),
    "reconstruction": (model.ReconstructionCommand, f"{EVALUATE}.model:run_reconstruction"),
    "sheet": (model.SheetCommand, f"{EVALUATE}.model:run_sheet"),
    "draw": (model.DrawCommand, f"{EVALUATE}.model:run_draw"),
    "film-check": (model.FilmCheckCommand, f"{EVALUATE}.model:run_film_check"),
    "masks": (options.MasksOptions, f"{MASKS}.masks.run:run_masks"),
    "trust": (options.TrustOptions, f"{MASKS}.masks.trust:run_trust"),
    "downstream": (options.DownstreamOptions, f"{MASKS}.downstream.run:run_downstream"),
    "hearing": (words.HearingCommand, f"{EVALUATE}.words:run_hearing"),
    "words": (words.WordsMapsCommand, f"{EVALUATE}.words:run_words_maps"),
    "changes": (words.ChangesCommand, f"{EVALUATE}.words:run_changes"),
    "sides": (words.SidesCommand, f"{EVALUATE}.words:run_sides"),
    "age": (samples.AgeCommand, f"{EVALUATE}.samples:run_age"),
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
