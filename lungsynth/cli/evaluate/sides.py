"""`python -m lungsynth evaluate sides`."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import click

from lungsynth.cli.options import asked, sampling_options, scheduler_option


@click.command("sides")
@click.option(
    "--out",
    type=click.Path(path_type=Path, file_okay=False),
    required=True,
    metavar="DIR",
    help="Pictures, sides.json and sides.png. The same command again resumes.",
)
@click.option(
    "--pairs",
    "n_pairs",
    type=click.IntRange(min=4),
    default=40,
    show_default=True,
    metavar="N",
    help="Pairs of prompts; each is three pictures.",
)
@click.option("--model", default=None, metavar="NAME|DIR|HUB_ID", help="[default: the shipped one]")
@click.option(
    "--classes",
    default=None,
    metavar="NAME",
    help="Convention of the lung masks.  [default: the checkpoint's first]",
)
@click.option(
    "--prompt",
    "prompts",
    multiple=True,
    metavar="TEXT",
    help="With {side} in it; repeat for several.  [default: eight of training style]",
)
@click.option(
    "--normal-prompt",
    default="Frontal chest X-ray. Normal.",
    show_default=True,
    metavar="TEXT",
    help="What --prompt is compared with.",
)
@sampling_options()
@scheduler_option()
@click.option(
    "--seed",
    type=click.IntRange(min=0),
    default=0,
    show_default=True,
    help="Pair k is drawn with seed + k.",
)
@click.option(
    "--batch-size",
    type=click.IntRange(min=3),
    default=6,
    show_default=True,
    help="Pictures drawn together.",
)
@click.option("--quiet", is_flag=True, help="No progress bar.")
def sides_command(**options: Any) -> None:
    """Is the side obeyed? Pairs of prompts equal but for left and right, drawn with one seed.

    Prints the share of pairs that differ at all, and the share whose asked lung changes: 50 % is
    chance. Opacities planted on the same pictures show what the measure can see.

    \b
    python -m lungsynth evaluate sides --out runs/sides
    python -m lungsynth evaluate sides --out runs/effusion --prompt 'Chest X-ray, {side} effusion'
    """
    from lungsynth.cli.evaluate.run import sides as work  # deferred: a quick --help

    work.run_sides(asked(work.SidesCommand, options))
