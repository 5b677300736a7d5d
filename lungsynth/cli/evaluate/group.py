"""`python -m lungsynth evaluate …`."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import click

from lungsynth.cli.options import asked, with_options

REAL_OPTIONS = [
    click.option(
        "--data",
        "sources",
        metavar="SOURCE",
        multiple=True,
        required=True,
        help="Real films: Parquet file, folder, or `datasets` name; repeat for several.",
    ),
    click.option(
        "--synthetic",
        type=click.Path(path_type=Path),
        required=True,
        metavar="DIR|PARQUET",
        help="What was drawn: folder with records, or Parquet.",
    ),
    click.option(
        "--image-column",
        default="image",
        show_default=True,
        metavar="NAME",
        help="Column of the image in every Parquet file.",
    ),
    click.option(
        "--test-split",
        default="test",
        show_default=True,
        metavar="NAME",
        help="Value of the `split` column of films the model has not seen.",
    ),
    click.option(
        "--encoder",
        "encoder_folder",
        type=click.Path(path_type=Path),
        default=None,
        metavar="DIR",
        help="Encoder of `train encoder`.  [default: the shipped one]",
    ),
    click.option(
        "--out",
        type=click.Path(path_type=Path, file_okay=False),
        required=True,
        metavar="DIR",
        help="Where the report goes.",
    ),
    click.option(
        "--limit",
        type=click.IntRange(min=1),
        default=None,
        metavar="N",
        help="At most N synthetic pictures and N test films.",
    ),
    click.option(
        "--seed",
        type=click.IntRange(min=0),
        default=0,
        show_default=True,
        help="Of every draw and resampling.",
    ),
    click.option("--quiet", is_flag=True, help="No progress bar."),
]
TRAIN_SPLIT = click.option(
    "--train-split",
    default="train",
    show_default=True,
    metavar="NAME",
    help="Value of the `split` column of films the model was trained on.",
)


ENCODER_NAMES = "lungsynth|radiomics|inception|torchxrayvision|rad-dino"
EXTRACTOR = click.option(
    "--encoder",
    "extractor_name",
    default="lungsynth",
    show_default=True,
    metavar=f"{ENCODER_NAMES}|DIR|FILE",
    help="What turns pictures into features. A name, whose weights are looked for in "
    "~/.cache/lungsynth/encoders (or $LUNGSYNTH_ENCODERS) and never downloaded; an encoder of "
    "`train encoder`; a folder of transformers; or a .safetensors file.",
)


FIDELITY_OPTIONS = [*REAL_OPTIONS[:4], EXTRACTOR, *REAL_OPTIONS[5:]]
"""The same, with an encoder that needs no heads."""


@click.group()
def evaluate() -> None:
    """Measure samples against real films that the model has not seen."""


@evaluate.command("fidelity")
@with_options(FIDELITY_OPTIONS)
@TRAIN_SPLIT
@click.option(
    "--match/--no-match",
    default=True,
    show_default=True,
    help="Balance adults and children in every set.",
)
@click.option(
    "--subsamples",
    "n_subsamples",
    type=click.IntRange(min=20),
    default=40,
    show_default=True,
    metavar="N",
    help="Random halves behind each interval.",
)
@click.option(
    "--pairs",
    "n_pairs",
    type=click.IntRange(min=2),
    default=200,
    show_default=True,
    metavar="N",
    help="Random pairs behind each MS-SSIM.",
)
def fidelity_command(**options: Any) -> None:
    """Frechet and kernel distance, precision, recall, density, coverage and diversity.

    Everything stands beside its floor: as many real training films against the same test films.

    \b
    python -m lungsynth evaluate fidelity --data films.parquet --synthetic drawn --out out/fidelity
    python -m lungsynth evaluate fidelity … --encoder radiomics --out out/radiomics
    """
    from lungsynth.cli.evaluate.run import group as work  # deferred: a quick --help

    work.run_fidelity(asked(work.FidelityCommand, options))


@evaluate.command("obedience")
@with_options(REAL_OPTIONS)
def obedience_command(**options: Any) -> None:
    """Do samples show the age group, view, finding and sex they were asked for?

    \b
    python -m lungsynth evaluate obedience --data films.parquet --synthetic drawn --out out/obey
    """
    from lungsynth.cli.evaluate.run import group as work  # deferred: a quick --help

    work.run_obedience(asked(work.ObedienceCommand, options))


@evaluate.command("neighbours")
@with_options(REAL_OPTIONS)
@TRAIN_SPLIT
def neighbours_command(**options: Any) -> None:
    """Nearest training film of every sample, beside those of real test films.

    \b
    python -m lungsynth evaluate neighbours --data films.parquet --synthetic drawn --out out/near
    """
    from lungsynth.cli.evaluate.run import group as work  # deferred: a quick --help

    work.run_neighbours(asked(work.NeighboursCommand, options))
