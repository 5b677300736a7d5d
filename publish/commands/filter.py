"""`python -m publish filter`: the filter against labels by eye."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import click

from publish.commands.inspect import DIST


@click.command("filter")
@DIST
@click.option(
    "--labels",
    type=click.Path(path_type=Path, dir_okay=False, exists=True),
    required=True,
    metavar="CSV",
    help="Columns id, label (good, doubtful, reject), reason.",
)
@click.option(
    "--config",
    type=click.Path(path_type=Path, dir_okay=False, exists=True),
    default=None,
    metavar="YAML",
    help="Settings of a build; its `filter` is tested.  [default: that of DIST]",
)
@click.option("--fit", is_flag=True, help="First choose limits of trust and plausibility, on half.")
@click.option("--json", "as_json", is_flag=True, help="Machine-readable.")
def filter_command(dist: Path, labels: Path, config: Path | None, fit: bool, as_json: bool) -> None:
    """How well does the filter of a build reject the rows an eye rejects?

    \b
    python -m publish build --config release.yaml --no-filter --out dist/
    python -m publish filter dist/ --labels docs/labels/rows.csv --fit

    DIST was built with --no-filter. Rows are dealt into two halves by their ids: limits are chosen on one
    (--fit) and told on the other.

    Exit codes: 0 told; 1 it could not be; 2 wrong usage.
    """
    from publish.check import filter as work  # deferred: a quick --help

    report = work.filter_report(dist, labels, work.limits_of(dist, config), fit=fit)
    if as_json:
        click.echo(json.dumps(report, indent=2))
        return
    click.echo(", ".join(f"{k}: {v:g}" for k, v in report["limits"].items()))
    held = report[work.HELD_OUT]
    click.echo(f"held out: {held['n']} rows, {held['labels']}")
    for name in ("precision", "precision_doubtful", "recall", "released_rejects", "reject_rate"):
        click.echo(f"{name:20} {_told(held[name])}")
    for name, share in held["by_reason"].items():
        click.echo(f"  {name:18} {_told(share)}")


def _told(share: dict[str, Any]) -> str:
    if share["value"] is None:
        return "no row to say"
    return f"{share['value']:.3f} [{share['low']:.3f}, {share['high']:.3f}], n = {share['n']}"
