"""`python -m lungsynth segment`: its options."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path

from lungsynth.cli.options import set_option
from lungsynth.model.options import argument, option


@dataclass(frozen=True, kw_only=True)
class SegmentCommand:
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

    images: tuple[str, ...] = argument(metavar="IMAGE…")
    out: Path = option(
        default=Path("segmented"),
        path="dir",
        metavar="DIR",
        help="One folder a film is made in here, at the film's own path.",
    )
    model: str | None = option(
        default=None,
        metavar="NAME|DIR",
        help="A checkpoint with class tokens.  [default: mini, shipped]",
    )
    classes: str | None = option(
        default=None,
        metavar="NAME",
        help="Convention of the masks, where the checkpoint has several, such as nlm.",
    )
    prompt: str | None = option(
        default=None,
        metavar="TEXT",
        help="Text the films are read with.  [default: the one the tokens were learnt with]",
    )
    method: str | None = option(
        "--refine",
        default=None,
        refinements=True,
        metavar="NAME",
        help="How the mask is refined: NAMES.  [default: as `sample`]",
    )
    refine_values: tuple[str, ...] = set_option()
    n_noise: int = option(
        "--noise",
        default=1,
        min=1,
        max=64,
        help="Noise draws averaged; more are steadier and slower.",
    )
    seed: int = option(default=0, min=0, max=2**63 - 65, help="Seed of the noise.")
    probability: bool = option(help="Also write each class's probability as a picture.")
    overwrite: bool = option(
        help="Segment again what is done, and replace masks of other films of the same name."
    )
    batch_size: int = option(default=4, min=1, help="Films read together.")
    threads: int | None = option(default=None, min=1, help="CPU threads.")
    device: str = option(default="auto", help="auto, cpu, cuda …")
    invert: str = option(
        default="auto",
        choices=("auto", "yes", "no"),
        help="Films whose bone is dark are inverted: where it shows, always, never.",
    )
    orient: str = option(
        default="auto",
        choices=("auto", "off"),
        help="Films are put upright as their file declares and the picture shows; or left as they "
        "lie.",
    )
    quiet: bool = option(help="No progress bar, no warnings, no last line.")
