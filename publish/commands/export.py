"""`python -m publish export`."""

from __future__ import annotations

from pathlib import Path

import click

NAMES = ("nnunet", "monai", "coco", "coco-panoptic", "webdataset", "dicom-seg")


@click.command("export")
@click.argument("dist", type=click.Path(path_type=Path, file_okay=False, exists=True))
@click.option("--format", "name", type=click.Choice(NAMES), required=True, help="What to write.")
@click.option(
    "--out",
    type=click.Path(path_type=Path, file_okay=False),
    required=True,
    metavar="DIR",
    help="An empty or new folder.",
)
@click.option("--dry-run", is_flag=True, help="Say what would be written and stop.")
def export_command(dist: Path, name: str, out: Path, dry_run: bool) -> None:
    """Write a dataset for other tools, pixel for pixel.

    \b
    python -m publish export dist/ --format nnunet --out nnUNet_raw/
    python -m publish export dist/ --format coco --out coco/

    dicom-seg needs highdicom: pip install -r requirements.txt

    Exit codes: 0 written; 1 could not be written; 2 wrong usage.
    """
    if dry_run:
        from publish.data.manifest import read_manifest

        manifest = read_manifest(dist)
        click.echo(f"{manifest.n_rows} rows of {', '.join(manifest.splits)} as {name} into {out}")
        return
    from publish.export import export

    n_rows = export(dist, name, out)
    click.echo(f"{out}: {n_rows} rows as {name}", err=True)
