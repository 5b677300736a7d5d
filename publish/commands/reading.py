"""`python -m publish check`, `replay`, `diff`, `filter`, `erratum` and `export`: their options."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path

from lungsynth.model.options import argument, option

FORMATS = ("nnunet", "monai", "coco", "coco-panoptic", "webdataset", "dicom-seg")
"""Of `publish export`."""


@dataclass(frozen=True, kw_only=True)
class CheckCommand:
    """Check everything that must hold before a dataset is published.

    \b
    python -m publish check dist/
    python -m publish check dist/ --json | jq .ok

    Hashes and counts, schema, masks, splits, duplicates, areas, card, sources and licence, Croissant,
    private text, memorisation (a gate), obedience, masks, and load_dataset of every config and split.

    What was not measured is NOT MEASURED, never ok; the build is told so knowingly by --unmeasured.

    Exit codes: 0 fit to publish; 1 it could not be checked; 2 wrong usage; 3 not fit to publish.
    """

    dist: Path = argument(path="dir", exists=True)
    load: bool = option(
        "--load/--no-load",
        default=True,
        help="Also load it with load_dataset, plain and streaming.",
    )
    as_json: bool = option("--json", help="Machine-readable.")


@dataclass(frozen=True, kw_only=True)
class ReplayCommand:
    """Draw published rows again from their recorded seed and parameters, and compare pixels.

    \b
    python -m publish replay dist/ --row s0-0001234

    Exit codes: 0 the same within the tolerance; 1 could not be drawn; 2 wrong usage; 3 different.
    """

    dist: Path = argument(path="dir", exists=True)
    rows: tuple[str, ...] = option("--row", required=True, metavar="ID", help="Repeatable.")
    model: str | None = option(
        default=None,
        metavar="NAME|DIR",
        help="The checkpoint.  [default: the name the dataset records]",
    )
    device: str | None = option(default=None, help="auto, cpu, cuda …  [default: the dataset's]")
    tolerance: int = option(
        default=0,
        min=0,
        max=255,
        metavar="LEVELS",
        help="Grey levels the picture may differ by, on another machine.",
    )
    as_json: bool = option("--json", help="Machine-readable.")


@dataclass(frozen=True, kw_only=True)
class DiffCommand:
    """Compare two datasets by schema, rows and files, and say which version number NEW asks for.

    \b
    python -m publish diff dist-1.2.0/ dist/

    Exit codes: 0 compared; 1 could not be compared; 2 wrong usage.
    """

    old: Path = argument(path="dir", exists=True)
    new: Path = argument(path="dir", exists=True)
    as_json: bool = option("--json", help="Machine-readable.")


@dataclass(frozen=True, kw_only=True)
class FilterCommand:
    """How well does the filter of a build reject the rows an eye rejects?

    \b
    python -m publish build --config release.yaml --no-filter --out dist/
    python -m publish filter dist/ --labels docs/labels/rows.csv --fit

    DIST was built with --no-filter. Rows are dealt into two halves by their ids: limits are chosen on one
    (--fit) and told on the other.

    Exit codes: 0 told; 1 it could not be; 2 wrong usage.
    """

    dist: Path = argument(path="dir", exists=True)
    labels: Path = option(
        path="file",
        exists=True,
        metavar="CSV",
        help="Columns id, label (good, doubtful, reject), reason.",
    )
    config: Path | None = option(
        default=None,
        path="file",
        exists=True,
        metavar="YAML",
        help="Settings of a build; its `filter` is tested.  [default: that of DIST]",
    )
    fit: bool = option(help="First choose limits of trust and plausibility, on half.")
    as_json: bool = option("--json", help="Machine-readable.")


@dataclass(frozen=True, kw_only=True)
class ErratumCommand:
    """Withdraw rows: they leave the shards and are listed with the reason in the card.

    \b
    python -m publish erratum dist/ --row s0-0001234 --reason "the mask lies on an arm"

    Other rows keep their bytes. The next release with it is a PATCH.

    Exit codes: 0 withdrawn; 1 could not be; 2 wrong usage.
    """

    dist: Path = argument(path="dir", exists=True)
    rows: tuple[str, ...] = option("--row", required=True, metavar="ID", help="Repeatable.")
    reason: str = option(metavar="TEXT", help="Shown in the card.")
    dry_run: bool = option(help="Say which rows would go and stop.")


@dataclass(frozen=True, kw_only=True)
class ExportCommand:
    """Write a dataset for other tools, pixel for pixel.

    \b
    python -m publish export dist/ --format nnunet --out nnUNet_raw/
    python -m publish export dist/ --format coco --out coco/

    Exit codes: 0 written; 1 could not be written; 2 wrong usage.
    """

    dist: Path = argument(path="dir", exists=True)
    format: str = option(choices=FORMATS, help="What to write.")
    out: Path = option(path="dir", metavar="DIR", help="An empty or new folder.")
    dry_run: bool = option(help="Say what would be written and stop.")
