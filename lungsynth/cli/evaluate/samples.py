"""`evaluate fidelity`, `detail`, `obedience`, `neighbours`, `memorisation` and `age`: their options."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path

from lungsynth.cli.options import Compared, Encoded, Trained
from lungsynth.model.options import option


@dataclass(frozen=True, kw_only=True)
class FidelityCommand(Trained, Compared):
    """Frechet and kernel distance, precision, recall, density, coverage and diversity.

    Everything stands beside its floor: as many real training films against the same test films.

    \b
    python -m lungsynth evaluate fidelity --data films.parquet --synthetic drawn --out out/fidelity
    python -m lungsynth evaluate fidelity … --encoder radiomics --out out/radiomics
    """

    extractor_name: str = option(
        "--encoder",
        default="lungsynth",
        metavar="lungsynth|radiomics|DIR",
        help="What turns pictures into features: a name; an encoder of `train encoder`; or a local folder "
        "of a vision model of transformers, such as microsoft/rad-dino.",
    )
    match: bool = option(
        "--match/--no-match", default=True, help="Balance adults and children in every set."
    )
    n_subsamples: int = option(
        "--subsamples", default=40, min=20, metavar="N", help="Random halves behind each interval."
    )
    n_pairs: int = option(
        "--pairs", default=200, min=2, metavar="N", help="Random pairs behind each MS-SSIM."
    )


@dataclass(frozen=True, kw_only=True)
class DetailCommand(Trained, Compared):
    """Power by band of frequency, and radiomics ÷ those of the autoencoder's reconstructions.

    Samples stand beside real test films and beside real films that the checkpoint's autoencoder gave
    back: more than that no sample can show. Bands are 8 to 128 cycles a picture; --limit is of each
    set in an age group, 240 where it is not given.

    \b
    python -m lungsynth evaluate detail --data films.parquet --synthetic drawn --out out/detail
    """

    model: str | None = option(
        default=None,
        metavar="NAME|DIR|HUB_ID",
        help="Whose autoencoder reconstructs.  [default: the shipped one]",
    )
    n_subsamples: int = option(
        "--subsamples", default=40, min=20, metavar="N", help="Random halves behind each interval."
    )


@dataclass(frozen=True, kw_only=True)
class ObedienceCommand(Encoded, Compared):
    """Do samples show the age group, view, finding and sex they were asked for?

    \b
    python -m lungsynth evaluate obedience --data films.parquet --synthetic drawn --out out/obey
    """


@dataclass(frozen=True, kw_only=True)
class NeighboursCommand(Trained, Encoded, Compared):
    """Nearest training film of every sample, beside those of real test films.

    \b
    python -m lungsynth evaluate neighbours --data films.parquet --synthetic drawn --out out/near
    """


@dataclass(frozen=True, kw_only=True)
class AgeCommand(Trained, Encoded, Compared):
    """Is the age obeyed? Age asked against age judged on samples, beside real films.

    The judge is a ridge regression of adults' ages on the encoder's features, fitted to the train
    split; its error on the test split is told.

    \b
    python -m lungsynth evaluate age --data nih.parquet --synthetic drawn --out out/age
    """


@dataclass(frozen=True, kw_only=True)
class MemorisationCommand(Trained, Encoded, Compared):
    """Copies of training films among synthetic pictures: the release gate.

    Every picture is laid over the training films, flipped and turned and cropped, and scored by how
    alike ribs and vessels are. The threshold is set on unseen real films and on planted copies, and
    stated on others. Also lists duplicates inside the set.

    \b
    python -m lungsynth evaluate memorisation --data films.parquet --synthetic drawn --out out/copies
    """

    sources: tuple[str, ...] = option(
        "--data",
        required=True,
        metavar="SOURCE",
        help="Real films: every one the model was trained on, and others; repeat for several.",
    )
    synthetic: Path = option(
        metavar="DIR|PARQUET", help="What is to be released: folder with records, or Parquet."
    )
    calibration_split: str = option(
        default="val", metavar="NAME", help="Unseen films that set the threshold."
    )
    n_planted: int = option(
        "--planted",
        default=800,
        min=1,
        metavar="N",
        help="Copies planted: half set the threshold, half are stated.",
    )
    limit: int | None = option(
        default=None,
        min=2,
        metavar="N",
        help="At most N synthetic pictures and N films of each unseen split.",
    )
    gate: bool = option(help="Exit code 1 where the gate is not passed.")
