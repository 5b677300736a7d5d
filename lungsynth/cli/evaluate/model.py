"""`python -m lungsynth evaluate reconstruction`, `sheet`, `draw` and `film-check`: their options."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path

from lungsynth.cli.options import Drawing, Verifying
from lungsynth.model.options import option


@dataclass(frozen=True, kw_only=True)
class ReconstructionCommand:
    """PSNR of the autoencoder on real test films, beside PCA of the same compression.

    PCA is fitted on patches of the train split: 16x16 patches with as many components as the
    autoencoder has channels.
    """

    sources: tuple[str, ...] = option("--data", required=True, metavar="SOURCE")
    model: str | None = option(default=None, metavar="NAME|DIR|HUB_ID", help="Whose autoencoder.")
    vae_folder: Path | None = option(
        "--vae", default=None, metavar="DIR", help="An autoencoder of `train vae` instead."
    )
    adults: bool = option("--adults/--all", default=True, help="Which test films.")
    rival_on: str = option(
        default="same",
        choices=("same", "all"),
        help="Train films PCA is fitted on: those like the test films, or all.",
    )
    image_column: str = option(default="image", metavar="NAME")
    out: Path | None = option(default=None, path="dir", metavar="DIR")


@dataclass(frozen=True, kw_only=True)
class SheetCommand(Drawing):
    """A contact sheet: a row a prompt, a column a seed. Nothing is picked."""

    out: Path = option(path="file", metavar="PNG")
    model: str | None = option(default=None, metavar="NAME|DIR|HUB_ID")
    seeds: int = option(default=8, min=1, max=32)
    seed: int = option(default=0, min=0, help="The first.")
    prompts: tuple[str, ...] = option("--prompt", metavar="TEXT", help="[default: eight]")
    masks: bool = option(help="With the refined masks drawn in.")


@dataclass(frozen=True, kw_only=True)
class DrawCommand(Verifying, Drawing):
    """Draw a balanced set of samples with what each prompt asked for. Resumes.

    With --captions-of, a sample for each of N test films instead, by its caption: then nothing but the
    pictures tells the two sets apart, as a Fréchet distance takes for granted.
    """

    out: Path = option(path="dir", metavar="DIR")
    n: int = option(default=1000, min=1)
    captions_of: tuple[str, ...] = option(
        "--captions-of", metavar="SOURCE", help="Films whose captions are the prompts; repeat."
    )
    split: str = option(
        default="test", metavar="NAME", help="Split of those films; '' takes every row."
    )
    model: str | None = option(default=None, metavar="NAME|DIR|HUB_ID")
    seed: int = option(default=0, min=0)
    batch_size: int = option(default=8, min=1)
    quiet: bool = option()


@dataclass(frozen=True, kw_only=True)
class FilmCheckCommand:
    """Count how often the film check is wrong, both ways: false alarms and what it misses.

    \b
    python -m lungsynth evaluate film-check --data films.parquet --out runs/film-check-report

    Every film is shown as it is, inverted, turned by 90, 180 and 270 degrees, both, and mirrored;
    then drawn pictures, pictures that training did not see, and films taken apart.
    """

    sources: tuple[str, ...] = option(
        "--data",
        required=True,
        metavar="SOURCE",
        help="Frontal films, upright and of usual polarity; repeat for several.",
    )
    split: str = option(
        default="test", metavar="NAME", help="Value of the `split` column; '' takes every row."
    )
    limit: int | None = option(
        default=None, min=1, metavar="N", help="At most N films of each --data."
    )
    folders: tuple[Path, ...] = option(
        "--pictures",
        path="dir",
        exists=True,
        metavar="DIR",
        help="More pictures that are no chest films.",
    )
    n_moved: int | None = option(
        default=None,
        min=0,
        metavar="N",
        help="Films of each --data that are shown turned and inverted too.  [default: all]",
    )
    n_other: int = option(
        default=100, min=1, metavar="N", help="Pictures of each kind that is no film."
    )
    folder: Path | None = option(
        "--film-check",
        default=None,
        path="dir",
        exists=True,
        metavar="DIR",
        help="A network of `train film-check`.  [default: shipped]",
    )
    out: Path = option(path="dir", metavar="DIR", help="Where the report goes.")
    seed: int = option(default=0, min=0)
    threads: int | None = option(default=None, min=1, help="CPU threads.")
    quiet: bool = option(help="No progress bar.")
