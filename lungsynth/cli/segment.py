"""`python -m lungsynth segment`."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Any

import click

from lungsynth.cli.options import RefinementOption, asked

if TYPE_CHECKING:
    pass


@click.command("segment")
@click.argument("images", nargs=-1, required=True, metavar="IMAGE…")
@click.option(
    "--out",
    type=click.Path(path_type=Path, file_okay=False),
    default=Path("segmented"),
    show_default=True,
    metavar="DIR",
    help="One folder a film is made in here, at the film's own path.",
)
@click.option(
    "--model",
    default=None,
    metavar="NAME|DIR",
    help="A checkpoint with class tokens.  [default: mini, shipped]",
)
@click.option(
    "--classes",
    default=None,
    metavar="NAME",
    help="Convention of the masks, where the checkpoint has several, such as nlm.",
)
@click.option(
    "--prompt",
    default=None,
    metavar="TEXT",
    help="Text the films are read with.  [default: the one the tokens were learnt with]",
)
@click.option(
    "--refine",
    "method",
    cls=RefinementOption,
    default=None,
    metavar="NAME",
    help="How the mask is refined: NAMES.  [default: as `sample`]",
)
@click.option(
    "--set",
    "refine_values",
    multiple=True,
    metavar="NAME=VALUE",
    help="A parameter of the refinement, such as beta=16, crf.theta_beta=8, ignore_band=0.1 "
    "or clean_up=false; repeat for several.",
)
@click.option(
    "--noise",
    "n_noise",
    type=click.IntRange(min=1, max=64),
    default=1,
    show_default=True,
    help="Noise draws averaged; more are steadier and slower.",
)
@click.option(
    "--seed",
    type=click.IntRange(min=0, max=2**63 - 65),
    default=0,
    show_default=True,
    help="Seed of the noise.",
)
@click.option(
    "--probability", is_flag=True, help="Also write each class's probability as a picture."
)
@click.option(
    "--overwrite",
    is_flag=True,
    help="Segment again what is done, and replace masks of other films of the same name.",
)
@click.option(
    "--batch-size",
    type=click.IntRange(min=1),
    default=4,
    show_default=True,
    help="Films read together.",
)
@click.option("--threads", type=click.IntRange(min=1), default=None, help="CPU threads.")
@click.option("--device", default="auto", show_default=True, help="auto, cpu, cuda …")
@click.option(
    "--invert",
    type=click.Choice(["auto", "yes", "no"]),
    default="auto",
    show_default=True,
    help="Films whose bone is dark are inverted: where it shows, always, never.",
)
@click.option(
    "--orient",
    type=click.Choice(["auto", "off"]),
    default="auto",
    show_default=True,
    help="Films are put upright as their file declares and the picture shows; or left as they lie.",
)
@click.option("--quiet", is_flag=True, help="No progress bar, no warnings, no last line.")
def segment_command(**options: Any) -> None:
    """Outline the organs on your own real X-rays, of any size.

    \b
    python -m lungsynth segment film.png --out segmented/
    python -m lungsynth segment films/ more/*.dcm --out segmented/

    IMAGE is a PNG, JPEG, TIFF, BMP or DICOM file, a folder (searched to any depth), or a pattern.
    A film at more/a.png in the folder gets the folder DIR/more/a.png with mask.png (class ids, in
    the film's own frame and size), overlay.png and record.json. Folders are printed on stdout as
    they are finished. DIR/index.csv and index.jsonl list every file, also what was left out, and why.

    Films of reversed polarity and films that lie turned are put right before they are read; what
    looks like no upright frontal chest film is warned of. Films that are done are skipped, so the
    same command resumes. Films that cannot be read are listed at the end; exit code 1. Nothing about
    the patient is read from DICOM files. Research only; not for diagnosis.
    """
    from lungsynth.cli.run import segment as work  # deferred: a quick --help

    work.run_segment(asked(work.SegmentCommand, options))
