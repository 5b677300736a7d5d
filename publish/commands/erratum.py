"""`python -m publish erratum`."""

from __future__ import annotations

from pathlib import Path

import click


@click.command("erratum")
@click.argument("dist", type=click.Path(path_type=Path, file_okay=False, exists=True))
@click.option("--row", "rows", multiple=True, required=True, metavar="ID", help="Repeatable.")
@click.option("--reason", required=True, metavar="TEXT", help="Shown in the card.")
@click.option("--dry-run", is_flag=True, help="Say which rows would go and stop.")
def erratum_command(dist: Path, rows: tuple[str, ...], reason: str, dry_run: bool) -> None:
    """Withdraw rows: they leave the shards and are listed with the reason in the card.

    \b
    python -m publish erratum dist/ --row s0-0001234 --reason "the mask lies on an arm"

    Other rows keep their bytes. The next release with it is a PATCH.

    Exit codes: 0 withdrawn; 1 could not be; 2 wrong usage.
    """
    from publish.build.errata import withdraw
    from publish.check.replay import find_row
    from publish.data.manifest import read_manifest

    if dry_run:
        manifest = read_manifest(dist)
        for one in rows:
            shard, _ = find_row(dist, manifest, one)
            click.echo(f"{one} would leave {shard.name}")
        return
    manifest = withdraw(dist, dict.fromkeys(rows, reason))
    click.echo(f"{dist}: {len(rows)} withdrawn, {manifest.n_rows} rows left", err=True)
