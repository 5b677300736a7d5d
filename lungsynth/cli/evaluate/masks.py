"""`python -m lungsynth evaluate masks`, `evaluate judge` and `evaluate draw`."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import click

from lungsynth.cli.options import (
    GUIDANCE_INTERVAL,
    VERIFY_OPTIONS,
    RefinementOption,
    asked,
    precision_option,
    sampling_options,
    scheduler_option,
    with_options,
)

TRUTH_OPTIONS = [
    click.option("--image-column", default="image", show_default=True, metavar="NAME"),
    click.option("--mask-column", default="mask", show_default=True, metavar="NAME"),
    click.option(
        "--foreground",
        type=click.IntRange(0, 255),
        multiple=True,
        default=(255,),
        show_default=True,
        help="Mask value that counts; repeat for several.",
    ),
    click.option(
        "--ignore",
        type=click.IntRange(0, 255),
        multiple=True,
        default=(127,),
        show_default=True,
        help="Mask value that counts neither way; repeat for several.",
    ),
    click.option(
        "--convention",
        default="",
        metavar="TEXT",
        help="Only masks whose `mask_convention` begins so; kept in the report.",
    ),
    click.option(
        "--limit",
        type=click.IntRange(min=1),
        default=None,
        metavar="N",
        help="At most N films, drawn with the seed.",
    ),
    click.option(
        "--seed",
        type=click.IntRange(min=0),
        default=0,
        show_default=True,
        help="Of the noise, the draws and the resampling.",
    ),
]


@click.command("masks")
@click.option(
    "--data",
    "source",
    required=True,
    metavar="SOURCE",
    help="Films with expert masks: Parquet, image folder with `masks`, or `datasets` name.",
)
@click.option(
    "--split", default="test", show_default=True, metavar="NAME", help="'' takes every row."
)
@with_options(TRUTH_OPTIONS)
@click.option(
    "--class-ids",
    default="",
    metavar="'1=NAME,2=NAME'",
    help="Mask values of the checkpoint's classes, instead of --foreground.",
)
@click.option(
    "--count",
    "counted",
    default="",
    metavar="NAME,NAME",
    help="Classes that count together.  [default: those of --class-ids, else all]",
)
@click.option(
    "--classes",
    default=None,
    metavar="NAME",
    help="Convention of the checkpoint's masks.  [default: its first]",
)
@click.option(
    "--student-weight",
    type=click.FloatRange(0, 1),
    default=None,
    help="What the checkpoint's student counts; 0 = tokens alone.",
)
@click.option(
    "--text-column", default="", metavar="NAME", help="Films are read with their own text."
)
@click.option(
    "--model", default=None, metavar="NAME|DIR", help="Checkpoint.  [default: the shipped one]"
)
@click.option(
    "--methods",
    cls=RefinementOption,
    default="all",
    show_default=True,
    metavar="all|NAME,NAME",
    help="Refinements of NAMES; the first is what the others are compared with.",
)
@click.option(
    "--set",
    "refine_values",
    multiple=True,
    metavar="NAME=VALUE",
    help="A parameter of the refinement, such as beta=16; repeat for several.",
)
@click.option(
    "--rivals",
    default="mean-mask,otsu,ellipses",
    show_default=True,
    metavar="all|none|NAME,NAME",
    help="Also unet, daam, self4, ovam.",
)
@click.option(
    "--rival-split",
    default="train",
    show_default=True,
    metavar="NAME",
    help="Split that rivals learn from; '' leaves those out.",
)
@click.option(
    "--shots",
    type=click.IntRange(min=1),
    default=1,
    show_default=True,
    help="Annotated films that unet and ovam are given.",
)
@click.option(
    "--rival-steps",
    type=click.IntRange(min=1),
    default=250,
    show_default=True,
    help="Training steps of the rival U-Net.",
)
@click.option(
    "--word",
    default="",
    metavar="TEXT",
    help="Word of daam and self4.  [default: last word of the first class]",
)
@click.option(
    "--n-noise",
    type=click.IntRange(min=1),
    default=1,
    show_default=True,
    help="Noise draws a film is read under.",
)
@click.option("--batch-size", type=click.IntRange(min=1), default=8, show_default=True)
@click.option(
    "--out",
    type=click.Path(path_type=Path, file_okay=False),
    default=None,
    metavar="DIR",
    help="Writes masks.json, masks.csv, plot.png and sheet.png.",
)
@click.option("--quiet", is_flag=True, help="No progress bar.")
def masks_command(**options: Any) -> None:
    """Segment real films by the checkpoint's class tokens and compare with expert masks.

    Every threshold and refinement stands in one table with rivals that need no model, or read the
    same checkpoint otherwise. Distances are in pixels of the square the model sees.

    \b
    python -m lungsynth evaluate masks --data films.parquet --out runs/masks
    python -m lungsynth evaluate masks --data folder --split '' --class-ids '1=left lung,2=right lung'
    """
    from lungsynth.evaluation.masks import run as work  # deferred: a quick --help

    click.echo(work.run_masks(work.MasksOptions(**options)))


@click.command("judge")
@click.option(
    "--data",
    "sources",
    required=True,
    multiple=True,
    metavar="SOURCE",
    help="Real films with expert masks the judge learns from; repeat for several.",
)
@click.option(
    "--synthetic",
    type=click.Path(path_type=Path),
    required=True,
    metavar="DIR|PARQUET",
    help="Generated pictures with masks: folders of `sample`, or Parquet.",
)
@click.option("--train-split", default="train", show_default=True, metavar="NAME")
@click.option(
    "--test-split",
    default="test",
    show_default=True,
    metavar="NAME",
    help="Films the judge itself is tested on.",
)
@with_options(TRUTH_OPTIONS)
@click.option(
    "--mask-ids",
    default="",
    metavar="1,2",
    help="Values that count in the generated masks.  [default: all but 0 and 255]",
)
@click.option(
    "--judge",
    "judge_folder",
    type=click.Path(path_type=Path, file_okay=False, exists=True),
    default=None,
    metavar="DIR",
    help="A judge trained before, instead of training one.",
)
@click.option("--steps", type=click.IntRange(min=1), default=1500, show_default=True)
@click.option(
    "--out",
    type=click.Path(path_type=Path, file_okay=False),
    required=True,
    metavar="DIR",
    help="Writes judge/, judge.json and judge.csv.",
)
@click.option("--quiet", is_flag=True, help="No progress bar.")
def judge_command(**options: Any) -> None:
    """Agreement of generated masks with a U-Net trained on real ones; it is no accuracy.

    The judge's own Dice on real test films is stated first: no agreement means more than that.
    """
    from lungsynth.evaluation.masks import judge as work  # deferred: a quick --help

    click.echo(work.run_judge(work.JudgeOptions(**options)))


@click.command("draw")
@click.option(
    "--out", type=click.Path(path_type=Path, file_okay=False), required=True, metavar="DIR"
)
@click.option("--n", type=click.IntRange(min=1), default=1000, show_default=True)
@click.option("--model", default=None, metavar="NAME|DIR|HUB_ID")
@sampling_options()
@with_options([GUIDANCE_INTERVAL, *VERIFY_OPTIONS])
@scheduler_option()
@precision_option()
@click.option("--seed", type=click.IntRange(min=0), default=0, show_default=True)
@click.option("--batch-size", type=click.IntRange(min=1), default=8, show_default=True)
@click.option("--quiet", is_flag=True)
def draw_command(**options: Any) -> None:
    """Draw a balanced set of samples with what each prompt asked for. Resumes."""
    from lungsynth.cli.evaluate.run import draw as work  # deferred: a quick --help

    work.run_draw(asked(work.DrawCommand, options))
