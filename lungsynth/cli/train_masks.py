"""`python -m lungsynth train student`, `affinity`, `trust`, `film-check` and `all`: their options."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path

from lungsynth.cli.options import (
    MaskLoop,
    Run,
    checkpoint_option,
    data_option,
    given_path,
    train_split_option,
)
from lungsynth.model.options import option


@dataclass(frozen=True, kw_only=True)
class TrainStudentCommand(MaskLoop):
    """Train a small network on the masks the chain makes of many films.

    \b
    python -m lungsynth train student --data films.parquet --checkpoint runs/diffusion/pipeline \\
        --out runs/student --install
    python -m lungsynth train student --annotated masks.parquet@24 --data films.parquet …
    """

    sources: tuple[str, ...] = data_option(
        "Films without masks, to be labelled by the chain; repeat for several.", required=False
    )
    annotated: tuple[str, ...] = option(
        metavar="[CONVENTION=]SOURCE[@K]",
        help="Films with expert masks, all or K of them; repeat for several.",
    )
    teacher: Path | None = given_path("dir", "An earlier student that labels beside the tokens.")
    teacher_weight: float = option(
        default=0.7, min=0, max=1, help="What the teacher counts beside the tokens."
    )
    init_from: Path | None = given_path(
        "dir", "An earlier student, of the same outputs, whose weights this one begins with."
    )


@dataclass(frozen=True, kw_only=True)
class TrainAffinityCommand(MaskLoop):
    """Train AffinityNet, without pixel labels, on places attention and CRF alone are certain of.

    \b
    python -m lungsynth train affinity --data films.parquet --checkpoint runs/diffusion/pipeline \\
        --out runs/affinity --install
    """

    sources: tuple[str, ...] = data_option(
        "Films; their masks, if they have any, are not read. Repeat for several."
    )
    classes: str | None = option(default=None, metavar="NAME", help="Convention of the classes.")
    install_as: str | None = option(
        default=None,
        metavar="FOLDER",
        help="Name that --install gives it.  [default: affinity, or affinity-NAME of a second set]",
    )
    student_weight: float = option(
        default=0.0,
        min=0,
        max=1,
        help="What the checkpoint's student counts in the maps that label; 0 = attention and CRF "
        "alone.",
    )
    rounds: int = option(
        default=1,
        min=1,
        help="Learn so many times; from the second on, maps that the last network walked label the "
        "films.",
    )


@dataclass(frozen=True, kw_only=True)
class TrainTrustCommand:
    """Fit trust, the IoU a mask is likely to have, on films with expert masks.

    \b
    python -m lungsynth train trust --checkpoint DIR --annotated v7=kermany.parquet@110 \\
        --annotated nlm=nlm.parquet --data nih.parquet --out runs/trust --install
    """

    checkpoint: Path = checkpoint_option("Checkpoint whose masks are judged.")
    out: Path = option(
        path="dir", metavar="DIR", help="Run folder: samples, the fitted trust, report."
    )
    annotated: tuple[str, ...] = option(
        required=True,
        metavar="[CLASSES=]SOURCE[@K]",
        help="Films with expert masks, all or K of them; repeat for several. Those that the "
        "student was not trained on are taken first.",
    )
    sources: tuple[str, ...] = data_option(
        "Training films without masks, for the shapes that are usual; repeat for several.",
        required=False,
    )
    shapes: Path | None = given_path(
        "dir", "A fitted trust whose shapes are kept; then --data is not read."
    )
    limit: int = option(default=120, min=0, metavar="N", help="At most N films of each --data.")
    n_broken: int = option(
        "--broken",
        default=20,
        min=0,
        metavar="N",
        help="Films of each set of classes also inverted, upside down and turned.",
    )
    n_no_films: int = option(
        "--no-films", default=48, min=0, metavar="N", help="Pictures that are no films."
    )
    split: str = option(
        default="train", metavar="NAME", help="Value of the `split` column; '' takes every row."
    )
    seed: int = option(default=0, min=0)
    threads: int | None = option(default=None, min=1, help="CPU threads.")
    install: bool = option(help="Copy the result into the checkpoint.")
    quiet: bool = option(help="No progress bar.")


@dataclass(frozen=True, kw_only=True)
class TrainFilmCheckCommand(Run):
    """Train the network that tells upright frontal chest films from everything else.

    \b
    python -m lungsynth train film-check --data films.parquet --data more.parquet \\
        --chest-ct chest.nii.gz --other-ct abdomen.nii.gz --out runs/film-check

    Beside the films it sees drawn pictures, what comes with scikit-image, scikit-learn, Matplotlib
    and pydicom, and films taken apart.
    """

    sources: tuple[str, ...] = data_option(
        "Frontal films, upright and of usual polarity; repeat for several."
    )
    chests: tuple[Path, ...] = option(
        "--chest-ct",
        path="file",
        exists=True,
        metavar="FILE",
        help="NIfTI volume of a chest: lateral views are drawn from it; repeat for several.",
    )
    others: tuple[Path, ...] = option(
        "--other-ct",
        path="file",
        exists=True,
        metavar="FILE",
        help="NIfTI volume of another part of the body.",
    )
    folders: tuple[Path, ...] = option(
        "--pictures",
        path="dir",
        exists=True,
        metavar="DIR",
        help="More pictures that are no chest films.",
    )
    split: str = train_split_option()
    limit: int = option(default=2000, min=1, metavar="N", help="At most N films of each --data.")
    n_other: int = option(default=6000, min=1, metavar="N", help="Pictures that are no films.")


@dataclass(frozen=True, kw_only=True)
class TrainAllCommand:
    """Make everything that hangs on a checkpoint's weights: tokens, student, walk, trust.

    Steps whose command, sources and parts of the checkpoint are unchanged are skipped, so the same
    command again resumes.

    \b
    python -m lungsynth train all --config examples/train_all.yaml --checkpoint DIR \\
        --data kermany=kermany.parquet --data nlm=nlm.parquet
    """

    config: Path = option(
        path="file", exists=True, metavar="FILE", help="Recipe, such as examples/train_all.yaml."
    )
    checkpoint: Path = checkpoint_option("Checkpoint whose tokens, networks and trust are made.")
    runs: Path = option(
        default=Path("runs/all"),
        path="dir",
        metavar="DIR",
        help="Where steps work and what is done is noted.",
    )
    sources: tuple[str, ...] = option(
        "--data", metavar="NAME=SOURCE", help="A source the recipe names; repeat for several."
    )
    only: str = option(default="", metavar="NAME,NAME", help="These steps alone.")
    dry_run: bool = option(help="Say what would be done, and do nothing.")
    force: bool = option(help="Do every step, also unchanged ones.")
