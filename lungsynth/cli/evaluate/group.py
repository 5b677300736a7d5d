"""`python -m lungsynth evaluate …`."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import click

from lungsynth.cli.options import with_options

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


def _encoder(folder: Path | None) -> tuple[Any, str]:
    """The encoder, and its name for the report."""
    from lungsynth.model.encoder import DEFAULT_FOLDER, checksum, load_encoder

    chosen = folder or DEFAULT_FOLDER
    return load_encoder(chosen), checksum(chosen)


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
def fidelity_command(
    sources: tuple[str, ...],
    synthetic: Path,
    image_column: str,
    test_split: str,
    extractor_name: str,
    out: Path,
    limit: int | None,
    seed: int,
    quiet: bool,
    train_split: str,
    match: bool,
    n_subsamples: int,
    n_pairs: int,
) -> None:
    """Frechet and kernel distance, precision, recall, density, coverage and diversity.

    Everything stands beside its floor: as many real training films against the same test films.

    \b
    python -m lungsynth evaluate fidelity --data films.parquet --synthetic drawn --out out/fidelity
    python -m lungsynth evaluate fidelity … --encoder radiomics --out out/radiomics
    """
    from lungsynth.evaluation.common import read_films, read_samples, write_report
    from lungsynth.evaluation.fidelity.extractors import load_extractor
    from lungsynth.evaluation.fidelity.measure import evaluate_fidelity, fidelity_table

    extractor = load_extractor(extractor_name)
    drawn = read_samples(synthetic, image_column=image_column, limit=limit, seed=seed)
    test, train = (
        read_films(sources, split=split, image_column=image_column, seed=seed, quiet=quiet)
        for split in (test_split, train_split)
    )
    report = evaluate_fidelity(
        drawn,
        train,
        test.limited(limit, seed),
        extractor,
        match=match,
        n_subsamples=n_subsamples,
        n_pairs=n_pairs,
        seed=seed,
        quiet=quiet,
    )
    write_report({**report, "encoder": extractor.checksum}, out / "fidelity.json")
    click.echo(fidelity_table(report))


@evaluate.command("obedience")
@with_options(REAL_OPTIONS)
def obedience_command(
    sources: tuple[str, ...],
    synthetic: Path,
    image_column: str,
    test_split: str,
    encoder_folder: Path | None,
    out: Path,
    limit: int | None,
    seed: int,
    quiet: bool,
) -> None:
    """Do samples show the age group, view, finding and sex they were asked for?

    \b
    python -m lungsynth evaluate obedience --data films.parquet --synthetic drawn --out out/obey
    """
    from lungsynth.evaluation.common import read_films, read_samples, write_report
    from lungsynth.evaluation.words.obedience import evaluate_obedience, obedience_table

    encoder, name = _encoder(encoder_folder)
    drawn = read_samples(synthetic, image_column=image_column, limit=limit, seed=seed)
    test = read_films(
        sources, split=test_split, image_column=image_column, limit=limit, seed=seed, quiet=quiet
    )
    report = evaluate_obedience(drawn, test, encoder, seed=seed, quiet=quiet)
    write_report({**report, "encoder": name}, out / "obedience.json")
    click.echo(obedience_table(report))


@evaluate.command("neighbours")
@with_options(REAL_OPTIONS)
@TRAIN_SPLIT
def neighbours_command(
    sources: tuple[str, ...],
    synthetic: Path,
    image_column: str,
    test_split: str,
    encoder_folder: Path | None,
    out: Path,
    limit: int | None,
    seed: int,
    quiet: bool,
    train_split: str,
) -> None:
    """Nearest training film of every sample, beside those of real test films.

    \b
    python -m lungsynth evaluate neighbours --data films.parquet --synthetic drawn --out out/near
    """
    from lungsynth.errors import OutputError
    from lungsynth.evaluation.common import read_films, read_samples, write_report
    from lungsynth.evaluation.copies.neighbours import evaluate_neighbours, neighbours_table

    encoder, name = _encoder(encoder_folder)
    drawn = read_samples(synthetic, image_column=image_column, limit=limit, seed=seed)
    test, train = (
        read_films(sources, split=split, image_column=image_column, seed=seed, quiet=quiet)
        for split in (test_split, train_split)
    )
    report, sheets = evaluate_neighbours(
        drawn, train, test.limited(limit, seed), encoder, seed=seed, quiet=quiet
    )
    write_report({**report, "encoder": name}, out / "neighbours.json")
    for measure, sheet in sheets.items():
        path = out / f"closest_{measure}.png"
        try:
            sheet.save(path)
        except OSError as error:
            raise OutputError(f"{path}: cannot be written ({error}).") from error
        click.echo(f"{path}", err=True)
    click.echo(neighbours_table(report))
