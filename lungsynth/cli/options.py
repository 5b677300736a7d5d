"""Options that several commands share."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

from lungsynth.errors import ConfigError
from lungsynth.model.options import (
    MAX_GUIDANCE,
    MAX_STEPS,
    PRECISION_HELP,
    PRECISION_NAMES,
    SCHEDULER_HELP,
    SampleOptions,
    option,
)

if TYPE_CHECKING:
    from lungsynth.verify.redraw import Rejection


def interval_of(text: str | None) -> tuple[float, float] | None:
    """`200,800` -> (200.0, 800.0); None stays None.

    Raises:
        ConfigError: not two numbers.
    """
    if text is None:
        return None
    try:
        low, high = (float(part) for part in text.split(","))
    except ValueError as error:
        raise ConfigError(
            f"--guidance-interval {text!r}: expected two timesteps, such as 200,800."
        ) from error
    return low, high


@dataclass(frozen=True, kw_only=True)
class Drawing:
    """How pictures are drawn; see `SampleOptions`."""

    steps: int = option(default=SampleOptions.steps, min=1, max=MAX_STEPS)
    guidance: float = option(
        default=SampleOptions.guidance,
        min=1.0,
        max=MAX_GUIDANCE,
        help="How strictly the prompt is followed; 1 = off.",
    )
    scheduler: str = option(default="default", help=SCHEDULER_HELP)
    guidance_interval: str | None = option(
        default=None,
        metavar="LOW,HIGH",
        help="Timesteps, 0 (clean) to 1000 (noise), between which guidance is on, such as "
        "200,800.  [default: everywhere]",
    )
    precision: str = option(
        default="auto", choices=PRECISION_NAMES, help=PRECISION_HELP.format("the denoising network")
    )

    def drawing(self) -> SampleOptions:
        """What the sampler takes."""
        return SampleOptions(
            steps=self.steps,
            guidance=self.guidance,
            guidance_interval=interval_of(self.guidance_interval),
            scheduler=self.scheduler,
            precision=self.precision,
        )


@dataclass(frozen=True, kw_only=True)
class Verifying:
    """Who rejects pictures, and how often they are drawn again."""

    n_redraws: int | None = option(
        "--verify",
        default=None,
        min=0,
        max=100,
        metavar="N",
        help="Draw again, at most N times, what a verifier rejects; the record tells every "
        "attempt.",
    )
    verifier_folder: Path | None = option(
        "--verifier",
        default=None,
        metavar="DIR",
        help="Encoder of `train encoder --patients half-b` that judges pictures against their "
        "prompts.  [default: the one shipped with the checkpoint]",
    )

    def rejection(self, model: str | None = None) -> Rejection | None:
        """Who rejects what a checkpoint draws; None where neither option is given.

        Raises:
            ConfigError: a folder without how often; or no verifier is shipped.
            CheckpointError: the folder holds no verifier.
        """
        if self.n_redraws is None and self.verifier_folder is None:
            return None
        if self.n_redraws is None:
            raise ConfigError(
                "--verifier DIR needs --verify N: how often a picture is drawn again."
            )
        from lungsynth.verify.redraw import Rejection  # deferred: torch, which help does without

        return Rejection.of(self.verifier_folder, model, self.n_redraws)


@dataclass(frozen=True, kw_only=True)
class Asking:
    """A checkpoint that is asked about its words."""

    model: str | None = option(
        "--checkpoint",
        "--model",
        default=None,
        metavar="NAME|DIR|HUB_ID",
        help="[default: the shipped one]",
    )
    threads: int | None = option(default=None, min=1, help="CPU threads.")


def data_option(help: str, *, required: bool = True) -> Any:
    """`--data`, one or several."""
    return option("--data", required=required, metavar="SOURCE", help=help)


def sources_option(first: str) -> Any:
    """`--data` of any kind; `first` is how its help begins."""
    return data_option(f"{first}, folder, or `datasets` name; repeat for several.")


def checkpoint_option(help: str) -> Any:
    """`--checkpoint`, a folder that is there."""
    return option(path="dir", exists=True, metavar="DIR", help=help)


def given_path(kind: str, help: str, *names: str, metavar: str | None = None) -> Any:
    """A "file" or "dir" that is there, or None; see `option`."""
    shown = metavar or kind.upper()
    return option(*names, default=None, path=kind, exists=True, metavar=shown, help=help)


def set_option() -> Any:
    """`--set` of what makes masks."""
    return option(
        "--set",
        metavar="NAME=VALUE",
        help="A parameter of the refinement, such as beta=16, crf.theta_beta=8, ignore_band=0.1 "
        "or clean_up=false; repeat for several.",
    )


def image_column_option() -> Any:
    """`--image-column` of sources that may be Parquet."""
    return option(
        default="image", metavar="NAME", help="Column of the image in every Parquet file."
    )


def train_split_option() -> Any:
    """`--split` of films to train on."""
    return option(
        default="train",
        metavar="NAME",
        help="Value of the `split` column to train on; '' takes every row.",
    )


@dataclass(frozen=True, kw_only=True)
class RealFilms:
    """Real films that the model has not seen."""

    sources: tuple[str, ...] = sources_option("Real films: Parquet file")
    image_column: str = image_column_option()
    split: str = option(
        default="test",
        metavar="NAME",
        help="Value of the `split` column of films the model has not seen; '' takes every row.",
    )
    limit: int | None = option(
        default=None, min=1, metavar="N", help="At most N films, drawn with the seed."
    )
    out: Path = option(path="dir", metavar="DIR", help="Where the report goes.")
    seed: int = option(default=0, min=0, help="Of every draw and resampling.")
    quiet: bool = option(help="No progress bar.")


@dataclass(frozen=True, kw_only=True)
class Compared:
    """Samples beside real films."""

    sources: tuple[str, ...] = sources_option("Real films: Parquet file")
    synthetic: Path = option(
        metavar="DIR|PARQUET", help="What was drawn: folder with records, or Parquet."
    )
    image_column: str = image_column_option()
    test_split: str = option(
        default="test",
        metavar="NAME",
        help="Value of the `split` column of films the model has not seen.",
    )
    out: Path = option(path="dir", metavar="DIR", help="Where the report goes.")
    limit: int | None = option(
        default=None, min=1, metavar="N", help="At most N synthetic pictures and N test films."
    )
    seed: int = option(default=0, min=0, help="Of every draw and resampling.")
    quiet: bool = option(help="No progress bar.")


@dataclass(frozen=True, kw_only=True)
class Encoded:
    """The encoder that judges."""

    encoder_folder: Path | None = option(
        "--encoder",
        default=None,
        metavar="DIR",
        help="Encoder of `train encoder`.  [default: the shipped one]",
    )


@dataclass(frozen=True, kw_only=True)
class Trained:
    """Films the model was trained on."""

    train_split: str = option(
        default="train",
        metavar="NAME",
        help="Value of the `split` column of films the model was trained on.",
    )


@dataclass(frozen=True, kw_only=True)
class TrainingFilms:
    """Films to train on."""

    sources: tuple[str, ...] = sources_option("Parquet file")
    image_column: str = option(default="image", metavar="NAME")
    split: str = train_split_option()


@dataclass(frozen=True, kw_only=True)
class Run:
    """A training run."""

    out: Path = option(
        path="dir", metavar="DIR", help="Run folder. The same command again resumes."
    )
    steps: int | None = option(default=None, min=1, metavar="N")
    batch_size: int | None = option(default=None, min=1, metavar="N")
    lr: float | None = option(default=None, above=0)
    seed: int = option(default=0, min=0)
    max_minutes: float | None = option(default=None, min=0, help="Stop, resumable, after so long.")
    threads: int | None = option(default=None, min=1, help="CPU threads.")
    quiet: bool = option(help="No progress bar.")


@dataclass(frozen=True, kw_only=True)
class DeviceRun(Run):
    """A training run, and what it runs on."""

    precision: str | None = option(
        default=None,
        choices=PRECISION_NAMES,
        help=PRECISION_HELP.format("the network") + "  [default: auto]",
    )
    device: str = option(default="auto", help="auto, cpu, cuda, cuda:1 …")


@dataclass(frozen=True, kw_only=True)
class Loop(DeviceRun):
    """A training run with presets."""

    preset: str | None = option(default=None, metavar="NAME", help="A named set of options.")
    save_minutes: float | None = option(
        default=None, min=0, help="Wall time between states on disk, which a kill can lose."
    )
    sample_every: int | None = option(default=None, min=0, metavar="STEPS")
    dry_run: bool = option("-n", "--dry-run", help="Print the resolved options and stop.")


@dataclass(frozen=True, kw_only=True)
class MaskLoop(DeviceRun):
    """A training run on masks that a checkpoint makes."""

    checkpoint: Path = checkpoint_option("Checkpoint whose class tokens label the films.")
    split: str = train_split_option()
    limit: int = option(default=600, min=1, metavar="N", help="At most N films of each --data.")
    install: bool = option(help="Copy the result into the checkpoint.")
