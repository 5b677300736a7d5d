"""`python -m lungsynth segment`, `annotate`, `learn-token` and `pack`: their options."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path

from lungsynth.cli.options import (
    checkpoint_option,
    data_option,
    given_path,
    set_option,
    sources_option,
)
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


@dataclass(frozen=True, kw_only=True)
class AnnotateCommand:
    """Outline organs on films by hand, in your browser, and turn the outlines into masks.

    \b
    python -m lungsynth annotate film1.png film2.dcm --class "left lung=1" --class "right lung=2"
    python -m lungsynth annotate --import annotations/*.json --images films/ --out masks.parquet \\
        --class "left lung=1" --class "right lung=2"

    The first command writes one page that needs no network and sends nothing. Outlines are saved
    from it as labelme JSON. The second reads such files, labelme's own, or COCO polygons, and
    writes what `learn-token --data` reads, with an overlay of each film to check by eye. Where
    outlines overlap the later one wins; the label `background` cuts a hole, `ignore` marks 255.
    """

    files: tuple[str, ...] = argument(metavar="FILE…")
    importing: bool = option(
        "--import", help="FILEs are annotations (labelme or COCO polygons): turn them into masks."
    )
    out: Path = option(
        default=Path("annotations"),
        metavar="DIR|FILE.parquet",
        help="Where the page, or what --import makes, is written.",
    )
    named: tuple[str, ...] = option(
        "--class",
        metavar="NAME=ID",
        help="A class and its id in masks; repeat.  [default: those of --model]",
    )
    model: str | None = option(
        default=None,
        metavar="NAME|DIR",
        help="Checkpoint whose classes are used without --class.  [default: mini, shipped]",
    )
    images: Path | None = option(
        default=None,
        path="dir",
        metavar="DIR",
        help="With --import: where the films are.  [default: beside each annotation]",
    )
    source_set: str | None = option(
        default=None,
        metavar="NAME",
        help="With --import to a Parquet file: the set the films are of, as other files call it.",
    )
    image_licence: str | None = option(
        default=None, metavar="TEXT", help="Likewise: the terms of the films."
    )
    mask_licence: str | None = option(
        default=None,
        metavar="TEXT",
        help="Likewise: the terms of the outlines. What is trained on them states all three.",
    )


@dataclass(frozen=True, kw_only=True)
class LearnTokenCommand:
    """Learn a class token from K annotated films, on a frozen checkpoint.

    \b
    python -m lungsynth learn-token --data films.parquet --k 5 --suggest --checkpoint CHECKPOINT
    python -m lungsynth learn-token --data films.parquet --class "left lung" --side left --id 1 \\
        --k 5 --checkpoint CHECKPOINT
    """

    sources: tuple[str, ...] = data_option(
        "Source with an image and a mask column; repeat for several."
    )
    name: str | None = option("--class", default=None, metavar="NAME", help="Name of the class.")
    class_id: int | None = option(
        "--id", default=None, min=1, max=254, help="Value of the class in masks."
    )
    k: int = option(default=1, min=1, help="Annotated films used, spread evenly over the sources.")
    side: str = option(
        default="both",
        choices=("both", "left", "right"),
        help="Take one (the patient's) side of a paired organ's mask.",
    )
    checkpoint: Path = checkpoint_option("Checkpoint the token is learnt on and written to.")
    image_column: str = option(default="image", metavar="NAME")
    mask_column: str = option(default="mask", metavar="NAME")
    split: str = option(default="train", metavar="NAME", help="'' takes every row.")
    foreground: int = option(default=255, min=0, max=255)
    ignore: int = option(default=127, min=0, max=255)
    n_parts: int = option(default=1, min=1, help="Connected parts the class may have.")
    wanted: str | None = option(
        "--films",
        default=None,
        metavar="ID,ID…",
        help="Use the films with these ids instead of choosing K by the seed.",
    )
    convention: str = option(
        default="",
        metavar="NAME",
        help="By whose rule the masks are drawn, such as v7; a second one of a checkpoint goes to "
        "classes-NAME.json.",
    )
    set_name: str = option(
        "--classes",
        default="",
        metavar="NAME",
        help="Set of classes it is entered in, classes-NAME.json.  [default: that of the "
        "convention]",
    )
    like: str = option(
        default="",
        metavar="NAME",
        help="A new set of --classes begins with the classes of this one.",
    )
    ratio: str = option(
        default="",
        metavar="NAME=CLASS/CLASS+CLASS",
        help='Widths the record puts in proportion, as "cardiothoracic=heart/left lung+right '
        'lung".',
    )
    out: Path | None = option(
        default=None,
        path="file",
        metavar="FILE",
        help="Write the token to this safetensors file and leave the checkpoint as it is.",
    )
    prior_file: Path | None = given_path(
        "file",
        "Label-free: read no mask; label K films by this file's prior of the class.",
        "--prior",
    )
    suggest: bool = option(
        help="Learn nothing: print the ids of the K films that are most worth annotating."
    )
    seed: int = option(default=0, min=0)
    quiet: bool = option()


@dataclass(frozen=True, kw_only=True)
class PackCommand:
    """Pack films and texts (no masks) into one small Parquet file for a machine with a GPU."""

    sources: tuple[str, ...] = sources_option("Parquet file")
    out: Path = option(path="file", metavar="FILE")
    image_column: str = option(default="image", metavar="NAME")
    text_column: str = option(default="text", metavar="NAME")
    split: str = option(default="", metavar="NAME", help="Only this split.  [default: all]")
    short_side: int = option(default=288, min=32)
    quality: int = option(default=88, min=50, max=100)
    max_megabytes: float = option(default=0.0, min=0, help="Several files, each below this.")
    quiet: bool = option()
