"""Options of `evaluate masks`, `trust` and `downstream`, for the command line and Python."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path

from lungsynth.model.options import option


@dataclass(frozen=True, kw_only=True)
class MasksOptions:
    """Segment real films by the checkpoint's class tokens and compare with expert masks.

    Every threshold and refinement stands in one table with rivals that need no model, or read the
    same checkpoint otherwise. Distances are in pixels of the square the model sees.

    \b
    python -m lungsynth evaluate masks --data films.parquet --out runs/masks
    python -m lungsynth evaluate masks --data folder --split '' --class-ids '1=left lung,2=right lung'
    """

    image_column: str = option(default="image", metavar="NAME")
    mask_column: str = option(default="mask", metavar="NAME")
    foreground: tuple[int, ...] = option(
        default=(255,), min=0, max=255, help="Mask value that counts; repeat for several."
    )
    ignore: tuple[int, ...] = option(
        default=(127,),
        min=0,
        max=255,
        help="Mask value that counts neither way; repeat for several.",
    )
    convention: str = option(
        default="",
        metavar="TEXT",
        help="Only masks whose `mask_convention` begins so; kept in the report.",
    )
    limit: int | None = option(
        default=None, min=1, metavar="N", help="At most N films, drawn with the seed."
    )
    seed: int = option(default=0, min=0, help="Of the noise, the draws and the resampling.")
    source: str = option(
        "--data",
        metavar="SOURCE",
        help="Films with expert masks: Parquet, image folder with `masks`, or `datasets` name.",
    )
    split: str = option(default="test", metavar="NAME", help="'' takes every row.")
    class_ids: str = option(
        default="",
        metavar="'1=NAME,2=NAME'",
        help="Mask values of the checkpoint's classes, instead of --foreground.",
    )
    counted: str = option(
        "--count",
        default="",
        metavar="NAME,NAME",
        help="Classes that count together.  [default: those of --class-ids, else all]",
    )
    classes: str | None = option(
        default=None,
        metavar="NAME",
        help="Convention of the checkpoint's masks.  [default: its first]",
    )
    student_weight: float | None = option(
        default=None, min=0, max=1, help="What the checkpoint's student counts; 0 = tokens alone."
    )
    text_column: str = option(
        default="", metavar="NAME", help="Films are read with their own text."
    )
    model: str | None = option(
        default=None, metavar="NAME|DIR", help="Checkpoint.  [default: the shipped one]"
    )
    methods: str = option(
        default="all",
        refinements=True,
        metavar="all|NAME,NAME",
        help="Refinements of NAMES; the first is what the others are compared with.",
    )
    refine_values: tuple[str, ...] = option(
        "--set",
        default=(),
        metavar="NAME=VALUE",
        help="A parameter of the refinement, such as beta=16; repeat for several.",
    )
    rivals: str = option(
        default="mean-mask,otsu,ellipses", metavar="all|none|NAME,NAME", help="Also daam, self4."
    )
    rival_split: str = option(
        default="train", metavar="NAME", help="Split that rivals learn from; '' leaves those out."
    )
    word: str = option(
        default="",
        metavar="TEXT",
        help="Word of daam and self4.  [default: last word of the first class]",
    )
    n_noise: int = option(default=1, min=1, help="Noise draws a film is read under.")
    batch_size: int = option(default=8, min=1)
    out: Path | None = option(
        default=None, path="dir", metavar="DIR", help="Writes masks.json, masks.csv and sheet.png."
    )
    quiet: bool = option(default=False, help="No progress bar.")


@dataclass(frozen=True, kw_only=True)
class TrustOptions:
    """Does trust predict the IoU of masks, and is it low where the picture is no upright film?

    \b
    python -m lungsynth evaluate trust --annotated v7=kermany.parquet@100 \\
        --annotated nlm=shenzhen.parquet --out runs/trust-test
    """

    annotated: tuple[str, ...] = option(
        required=True,
        metavar="[CLASSES=]SOURCE[@K]",
        help="Films with expert masks that trust was not fitted on; repeat for several.",
    )
    model: str | None = option(
        default=None, metavar="NAME|DIR", help="Checkpoint.  [default: the shipped one]"
    )
    split: str = option(default="test", metavar="NAME", help="'' takes every row.")
    n_broken: int = option(
        "--broken",
        default=30,
        min=0,
        metavar="N",
        help="Films of each source also inverted, upside down and turned.",
    )
    n_no_films: int = option(
        "--no-films", default=40, min=0, metavar="N", help="Pictures that are no films."
    )
    seed: int = option(default=0, min=0)
    out: Path | None = option(
        default=None, path="dir", metavar="DIR", help="Writes trust.json and calibration.png."
    )
    quiet: bool = option(default=False, help="No progress bar.")


@dataclass(frozen=True, kw_only=True)
class DownstreamOptions:
    """Train segmentation models on synthetic and real pairs; test them on unseen real films.

    Every arm has the same optimiser steps. Films that are trained on must not be tested on: the same
    patient or the same pixels in both is an error. So are masks of unknown or several conventions.

    \b
    python -m lungsynth evaluate downstream --synthetic dist/dataset --real films.parquet \\
        --test films.parquet --test other-hospital.parquet --convention v7 --out runs/downstream
    """

    synthetic: tuple[str, ...] = option(
        required=True,
        metavar="[NAME=]DIR|PARQUET",
        help="Pictures with masks: a published folder, `publish build`, `sample`, or Parquet. "
        "Repeat to compare sets; the same NAME twice makes one set.",
    )
    real: tuple[str, ...] = option(
        required=True,
        metavar="SOURCE",
        help="Real films with expert masks to train on; repeat for several.",
    )
    tests: tuple[str, ...] = option(
        "--test",
        required=True,
        metavar="SOURCE",
        help="Real films with expert masks to test on: any Parquet with image and mask; repeat.",
    )
    out: Path = option(
        path="dir",
        metavar="DIR",
        help="Writes downstream.json, .md and .png, and a file a finished cell; resumes.",
    )
    preset: str = option(
        default="quick",
        choices=("tiny", "quick", "cpu", "gpu"),
        help="Size and steps: quick is minutes on two cores, cpu hours.",
    )
    arms: str = option(
        default="all",
        metavar="all|NAME,NAME",
        help="real, synthetic, synthetic+real, synthetic-to-real (its share falls to none).",
    )
    n: str = option(
        default="", metavar="1,5,all", help="How many real films.  [default: the preset's, and all]"
    )
    seeds: int = option(default=3, min=1)
    models: str = option(
        default="all",
        metavar="all|NAME,NAME",
        help="unet, segformer (a transformer with a convolutional head); both from scratch.",
    )
    filters: str = option(
        default="none",
        metavar="all|NAME,NAME",
        help="Of synthetic pictures: none, trust, noise-learning (agreement of 3 folds).",
    )
    keep: float = option(default=0.5, above=0, max=1, help="Share that a filter keeps.")
    augmentations: str = option(
        default="standard", metavar="all|NAME,NAME", help="none, standard, splicing."
    )
    real_share: float = option(
        default=0.5, above=0, below=1, help="Of real films in a batch of synthetic+real."
    )
    steps: int | None = option(default=None, min=2, help="Optimiser steps of every arm.")
    pixels: int | None = option(default=None, min=32, help="Side, a multiple of 32.")
    limit_test: int | None = option(
        default=None, min=2, metavar="N", help="Films of each test set."
    )
    limit_synthetic: int | None = option(
        default=None, min=8, metavar="N", help="Pictures of each synthetic set."
    )
    train_split: str = option(default="train", metavar="NAME")
    test_split: str = option(
        default="test", metavar="NAME", help="'' takes every row; so does a source without splits."
    )
    convention: str = option(
        default="",
        metavar="TEXT",
        help="Only real masks whose `mask_convention` begins so; that of sources that say none.",
    )
    synthetic_convention: str = option(
        default="", metavar="TEXT", help="Of the synthetic masks.  [default: --convention]"
    )
    mixed_conventions: bool = option(
        default=False, help="Measure across conventions; the report says so."
    )
    foreground: tuple[int, ...] = option(
        default=(255,), min=0, max=255, help="Value that counts in real masks; repeat for several."
    )
    ignore: tuple[int, ...] = option(
        default=(127,), min=0, max=255, help="Value that counts neither way; repeat for several."
    )
    mask_ids: str = option(
        default="",
        metavar="1,2",
        help="Values that count in synthetic masks.  [default: all but 0 and 255]",
    )
    image_column: str = option(default="image", metavar="NAME")
    mask_column: str = option(default="mask", metavar="NAME")
    device: str = option(default="auto", help="auto, cpu, cuda …")
    quiet: bool = option(default=False, help="No progress bar.")
