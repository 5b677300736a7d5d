"""`python -m publish check`, `replay`, `diff`, `filter`, `erratum` and `export`: what they do."""

from __future__ import annotations

import json
import sys
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import click

from lungsynth.evaluation.tables import shown
from publish.build.errata import withdraw
from publish.check.checks import Checked, check
from publish.check.filter import HELD_OUT, filter_report, limits_of
from publish.check.replay import find_row, replay
from publish.commands.reading import (
    CheckCommand,
    DiffCommand,
    ErratumCommand,
    ExportCommand,
    FilterCommand,
    ReplayCommand,
)
from publish.data.manifest import read_manifest
from publish.export import export
from publish.release.diff import diff, next_version

NOT_FIT = 3
"""Exit code: it ran, and the answer is no."""


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


def run_check(command: CheckCommand) -> None:
    """Check everything that must hold before a dataset is published."""
    dist = command.dist
    done = check(dist, load=command.load)
    ok = all(one.is_fit for one in done)
    if command.as_json:
        told = {"ok": ok, "checks": [one.to_json() for one in done]}
        click.echo(json.dumps(told, indent=2, ensure_ascii=False))
    else:
        print_checks(done)
        click.echo(f"{dist}: fit to publish" if ok else not_fit(dist), err=True)
    if not ok:
        sys.exit(NOT_FIT)


def run_replay(command: ReplayCommand) -> None:
    """Draw published rows again and compare pixels."""
    from lungsynth.model.precision import resolve_device  # deferred: torch

    device = None if command.device is None else resolve_device(command.device)
    done = replay(command.dist, list(command.rows), model=command.model, device=device)
    if command.as_json:
        click.echo(json.dumps([one.to_json() for one in done], indent=2))
    for one in () if command.as_json else done:
        word = "identical" if one.is_identical else "DIFFERENT"
        told = ", ".join(f"{k} {v}" for k, v in one.max_difference.items())
        click.echo(
            f"{one.row_id}: {word} (largest difference: {told}; "
            f"{100 * one.mask_changed:.2f} % of the mask)"
        )
        for note in one.notes:
            click.echo(f"    {note}")
    if not all(one.within(command.tolerance) for one in done):
        sys.exit(NOT_FIT)


def run_diff(command: DiffCommand) -> None:
    """Compare two datasets, and say which version number the new one asks for."""
    found = diff(command.old, command.new)
    version = read_manifest(command.old, earlier=True).version
    proposed = next_version(version, found.bump)
    if command.as_json:
        told = {"old_version": version, "new_version": proposed, **found.to_json()}
        click.echo(json.dumps(told, indent=2, ensure_ascii=False))
        return
    for line in found.lines() or ["Nothing changed."]:
        click.echo(line)
    click.echo(f"{version} -> {proposed} ({found.bump})")


def run_filter(command: FilterCommand) -> None:
    """Set the filter of a build against labels by eye."""
    limits = limits_of(command.dist, command.config)
    report = filter_report(command.dist, command.labels, limits, fit=command.fit)
    if command.as_json:
        click.echo(json.dumps(report, indent=2))
        return
    click.echo(", ".join(f"{k}: {v:g}" for k, v in report["limits"].items()))
    held = report[HELD_OUT]
    click.echo(f"held out: {held['n']} rows, {held['labels']}")
    for name in ("precision", "precision_doubtful", "recall", "released_rejects", "reject_rate"):
        click.echo(f"{name:20} {_share(held[name])}")
    for name, share in held["by_reason"].items():
        click.echo(f"  {name:18} {_share(share)}")


def _share(share: dict[str, Any]) -> str:
    if share["value"] is None:
        return "no row to say"
    return f"{shown(share)}, n = {share['n']}"


def run_erratum(command: ErratumCommand) -> None:
    """Withdraw rows."""
    dist, rows = command.dist, command.rows
    if command.dry_run:
        manifest = read_manifest(dist)
        for one in rows:
            shard, _ = find_row(dist, manifest, one)
            click.echo(f"{one} would leave {shard.name}")
        return
    manifest = withdraw(dist, dict.fromkeys(rows, command.reason))
    click.echo(f"{dist}: {len(rows)} withdrawn, {manifest.n_rows} rows left", err=True)


def run_export(command: ExportCommand) -> None:
    """Write a dataset for other tools."""
    dist, name, out = command.dist, command.format, command.out
    if command.dry_run:
        manifest = read_manifest(dist)
        click.echo(f"{manifest.n_rows} rows of {', '.join(manifest.splits)} as {name} into {out}")
        return
    n_rows = export(dist, name, out)
    click.echo(f"{out}: {n_rows} rows as {name}", err=True)
