"""`python -m publish check`, `replay` and `diff`: they read a dataset and change nothing."""

from __future__ import annotations

import json
import sys
from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING

import click

if TYPE_CHECKING:
    from publish.check.checks import Checked

NOT_FIT = 3
"""Exit code: it ran, and the answer is no."""

DIST = click.argument("dist", type=click.Path(path_type=Path, file_okay=False, exists=True))


def print_checks(done: Sequence[Checked]) -> None:
    """One line a check, and one below it for each problem."""
    for one in done:
        told = " (released so knowingly; the card says it)" if one.missing and one.is_fit else ""
        click.echo(f"{one.verdict:>6}  {one.name}{told}")
        for problem in (*one.problems, *([one.missing] if one.missing and not told else [])):
            click.echo(f"        {problem}")


def not_fit(dist: Path) -> str:
    """What to do about a failed check."""
    return (
        f"{dist}: NOT fit to publish. Mend what is listed, or run the same `publish build` again: it "
        "makes damaged files anew"
    )


@click.command("check")
@DIST
@click.option(
    "--load/--no-load",
    default=True,
    show_default=True,
    help="Also load it with load_dataset, plain and streaming.",
)
@click.option("--json", "as_json", is_flag=True, help="Machine-readable.")
def check_command(dist: Path, load: bool, as_json: bool) -> None:
    """Check everything that must hold before a dataset is published.

    \b
    python -m publish check dist/
    python -m publish check dist/ --json | jq .ok

    Hashes and counts, schema, masks, splits, duplicates, areas, card, sources and licence, Croissant,
    private text, memorisation (a gate), obedience, masks, and load_dataset of every config and split.

    What was not measured is NOT MEASURED, never ok; the build is told so knowingly by --unmeasured.

    Exit codes: 0 fit to publish; 1 it could not be checked; 2 wrong usage; 3 not fit to publish.
    """
    from publish.check.checks import check

    done = check(dist, load=load)
    ok = all(one.is_fit for one in done)
    if as_json:
        told = {"ok": ok, "checks": [one.to_json() for one in done]}
        click.echo(json.dumps(told, indent=2, ensure_ascii=False))
    else:
        print_checks(done)
        click.echo(f"{dist}: fit to publish" if ok else not_fit(dist), err=True)
    if not ok:
        sys.exit(NOT_FIT)


@click.command("replay")
@DIST
@click.option("--row", "rows", multiple=True, required=True, metavar="ID", help="Repeatable.")
@click.option(
    "--model",
    default=None,
    metavar="NAME|DIR",
    help="The checkpoint.  [default: the name the dataset records]",
)
@click.option("--device", default=None, help="auto, cpu, cuda …  [default: the dataset's]")
@click.option(
    "--tolerance",
    type=click.IntRange(0, 255),
    default=0,
    show_default=True,
    metavar="LEVELS",
    help="Grey levels the picture may differ by, on another machine.",
)
@click.option("--json", "as_json", is_flag=True, help="Machine-readable.")
def replay_command(
    dist: Path,
    rows: tuple[str, ...],
    model: str | None,
    device: str | None,
    tolerance: int,
    as_json: bool,
) -> None:
    """Draw published rows again from their recorded seed and parameters, and compare pixels.

    \b
    python -m publish replay dist/ --row s0-0001234

    Exit codes: 0 the same within the tolerance; 1 could not be drawn; 2 wrong usage; 3 different.
    """
    from publish.build.plan import resolve_device
    from publish.check.replay import replay

    if device is not None:
        device = resolve_device(device)
    done = replay(dist, list(rows), model=model, device=device)
    if as_json:
        click.echo(json.dumps([one.to_json() for one in done], indent=2))
    for one in () if as_json else done:
        word = "identical" if one.is_identical else "DIFFERENT"
        told = ", ".join(f"{k} {v}" for k, v in one.max_difference.items())
        click.echo(
            f"{one.row_id}: {word} (largest difference: {told}; "
            f"{100 * one.mask_changed:.2f} % of the mask)"
        )
        for note in one.notes:
            click.echo(f"    {note}")
    if not all(one.within(tolerance) for one in done):
        sys.exit(NOT_FIT)


@click.command("diff")
@click.argument("old", type=click.Path(path_type=Path, file_okay=False, exists=True))
@click.argument("new", type=click.Path(path_type=Path, file_okay=False, exists=True))
@click.option("--json", "as_json", is_flag=True, help="Machine-readable.")
def diff_command(old: Path, new: Path, as_json: bool) -> None:
    """Compare two datasets by schema, rows and files, and say which version number NEW asks for.

    \b
    python -m publish diff dist-1.2.0/ dist/

    Exit codes: 0 compared; 1 could not be compared; 2 wrong usage.
    """
    from publish.release.diff import diff, next_version
    from publish.release.previous import read_released

    found = diff(old, new)
    version = read_released(old).version
    proposed = next_version(version, found.bump)
    if as_json:
        told = {"old_version": version, "new_version": proposed, **found.to_json()}
        click.echo(json.dumps(told, indent=2, ensure_ascii=False))
        return
    for line in found.lines() or ["Nothing changed."]:
        click.echo(line)
    click.echo(f"{version} -> {proposed} ({found.bump})")
