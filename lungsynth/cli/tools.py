"""`python -m lungsynth doctor` and `pack`: their options."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path

from lungsynth.cli.options import sources_option
from lungsynth.model.options import option


@dataclass(frozen=True, kw_only=True)
class DoctorCommand:
    """Print versions, devices, checkpoint, memory, and what is wrong with them.

    Exit code 1 when something is wrong.
    """

    model: str | None = option(default=None, metavar="NAME|DIR", help="[default: mini, shipped]")
    as_json: bool = option("--json", help="Machine-readable.")


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
