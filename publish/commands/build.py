"""`python -m publish build` and `release`: their options."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from lungsynth.model.options import option
from publish.commands.sending import SendOptions
from publish.data.settings import MEASURED, Settings


@dataclass(frozen=True, kw_only=True)
class BuildOptions:
    """Everything that decides a build, and who draws it."""

    config_file: Path | None = option(
        "--config",
        default=None,
        path="file",
        metavar="FILE",
        help="YAML with any setting below and more; options win over it.",
    )
    out: Path = option(
        default=Path("dist"),
        path="dir",
        metavar="DIR",
        help="The dataset repository is made in here.",
    )
    settings: Mapping[str, Any] = field(metadata={"settings": Settings})  # those that were given
    ignore_band: float | None = option(
        default=None,
        min=0,
        max=0.5,
        metavar="P",
        help="255 in the mask where the best class is under 0.5 + P.  [default: 0]",
    )
    apply_filter: bool | None = option(
        "--filter/--no-filter",
        default=None,
        help="Keep rows that fail the quality limits out.  [default: filter]",
    )
    unmeasured: tuple[str, ...] = option(
        choices=MEASURED,
        help="Release although this was not measured; the card then says so. Repeatable.",
    )
    quiet: bool = option(help="No progress bar.")
    workers: int | None = option(
        default=None,
        min=1,
        metavar="N",
        help="Processes that draw, each with one thread.  [default: one a core or GPU; fewer for "
        "little work or memory]",
    )
    engine_name: str | None = option(
        "--engine",
        default=None,
        choices=("local", "slurm", "ray"),
        help="Draw through datatrove, of the extra `scale`: on this machine, by jobs of Slurm, or "
        "on a Ray cluster.  [default: processes of this program]",
    )
    engine_options: tuple[str, ...] = option(
        "--engine-option",
        metavar="KEY=VALUE",
        help="Repeat for several; slurm needs partition and time.  See docs/SCALING.md.",
    )
    logs: Path | None = option(
        default=None,
        path="dir",
        metavar="DIR",
        help="Logs and markers of an engine.  [default: the name of --out with .build]",
    )


@dataclass(frozen=True, kw_only=True)
class BuildCommand(BuildOptions):
    """Draw a dataset: Parquet shards, manifest, card, Croissant.

    \b
    python -m publish build --config release.yaml --out dist/
    python -m publish build --n 1000 --seed 0 --split train=0.9 --split test=0.1
    python -m publish build --config release.yaml --engine ray --engine-option address=auto

    The same command again resumes: finished shards are checked by their hash and kept. The files do
    not depend on --workers and --engine, nor on what was killed on the way.

    Exit codes: 0 built; 1 could not be built; 2 wrong usage.
    """

    dry_run: bool = option(help="Print what would be built and stop.")
    as_json: bool = option("--json", help="Print the finished manifest.")


@dataclass(frozen=True, kw_only=True)
class ReleaseCommand(SendOptions, BuildOptions):
    """Build, check and push a release, its version computed from what changed since the last tag.

    \b
    python -m publish release --config release.yaml --repo lab/synthetic-cxr          the plan
    python -m publish release --config release.yaml --repo lab/synthetic-cxr --yes    do it

    MAJOR: another schema version, or rows, columns or classes changed or gone. MINOR: some added.
    PATCH: the same rows, other files, or rows withdrawn by an erratum. The entry of the changelog
    says what.
    With --tag, another version than the computed one is refused. With --dry-run the Hub is not
    asked, so a first release is prepared unless --previous is given.
    A failed check ends with exit code 8: nothing is pushed then.
    """

    previous: Path | None = option(
        default=None,
        path="dir",
        exists=True,
        metavar="DIR",
        help="Folder of the last release.  [default: the Hub's last tag]",
    )
    load: bool = option(
        "--load/--no-load", default=True, help="Check also by load_dataset before pushing."
    )
