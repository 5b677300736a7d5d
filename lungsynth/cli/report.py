"""`python -m lungsynth report`: its options."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path

from lungsynth.model.options import argument, option


@dataclass(frozen=True, kw_only=True)
class ReportCommand:
    """One page of every figure below a folder, each with its plot, command, n, seeds and intervals.

    Takes the JSON of `evaluate` downstream, masks, fidelity, obedience, sides, memorisation,
    neighbours and reconstruction, at any depth. The HTML page needs no other file.

    \b
    python -m lungsynth report runs/eval
    python -m lungsynth report runs/masks --keep docs/results
    python -m lungsynth report docs/results --into docs/RESULTS.md
    python -m lungsynth report docs/results --checkpoint lungsynth/checkpoints/mini

    A block of --into stands between <!-- figures: masks-shenzhen --> and <!-- end figures -->, each
    on its own line. After "figures:" come names of kept results; several of masks are set side by
    side; "targets NAME …" shows headline figures beside their targets, "plot NAME" the plot.
    """

    folder: Path = argument(path="dir", metavar="DIR")
    out: Path | None = option(
        default=None,
        path="dir",
        metavar="DIR",
        help="Where report.html and report.md go.  [default: DIR]",
    )
    kept: Path | None = option(
        "--keep",
        default=None,
        path="dir",
        metavar="DIR",
        help="No page: small copies of the results, such as masks-NAME.json, without film-by-film "
        "lists.",
    )
    into: Path | None = option(
        default=None,
        path="file",
        metavar="FILE.md",
        help="No page: fill this file's blocks from the kept results in DIR; other text stays.",
    )
    checkpoint: Path | None = option(
        default=None,
        path="dir",
        metavar="DIR",
        help="No page: write obedience, masks and copies of the kept results in DIR into "
        "figures.json of this checkpoint, for the cards of all it draws.",
    )
