"""`python -m lungsynth learn-token`: its options."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path

from lungsynth.cli.options import checkpoint_option, data_option, given_path
from lungsynth.model.options import option


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
