"""`python -m lungsynth sample`."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import click

from lungsynth.cli.options import (
    GUIDANCE_INTERVAL,
    VERIFY_OPTIONS,
    RefinementOption,
    asked,
    precision_option,
    sampling_options,
    scheduler_option,
    with_options,
)


@click.command("sample")
@click.argument("prompts", nargs=-1, required=True, metavar="PROMPT…")
@click.option(
    "--out",
    type=click.Path(path_type=Path, file_okay=False),
    default=Path("out"),
    show_default=True,
    metavar="DIR",
    help="One folder a picture is made in here.",
)
@click.option(
    "--seed",
    type=click.IntRange(min=0, max=2**63 - 1),
    default=0,
    show_default=True,
    help="Seed of the first picture; the others count up.",
)
@click.option(
    "-n",
    "--n",
    "n",
    type=click.IntRange(min=1, max=10_000),
    default=1,
    show_default=True,
    help="Pictures a prompt.",
)
@sampling_options("How strictly the prompt is followed; 1 = off.")
@click.option("--height", type=int, default=None, help="Pixels.  [default: the checkpoint's]")
@click.option("--width", type=int, default=None, help="Pixels.  [default: the checkpoint's]")
@scheduler_option(with_names=True)
@precision_option()
@click.option(
    "--word",
    "words",
    multiple=True,
    metavar="WORD",
    help="Word or phrase of the prompt to map; repeat.  [default: its content words]",
)
@click.option(
    "--model",
    default=None,
    metavar="NAME|DIR|HUB_ID",
    help="Any Stable Diffusion 1.x/2.x checkpoint.  [default: mini, shipped]",
)
@click.option("--lora", default=None, metavar="DIR|FILE|HUB_ID", help="LoRA weights to add.")
@click.option(
    "--refine",
    "method",
    cls=RefinementOption,
    default="crf",
    show_default=True,
    metavar="NAME",
    help="How the coarse mask is refined: NAMES.",
)
@click.option(
    "--set",
    "refine_values",
    multiple=True,
    metavar="NAME=VALUE",
    help="A parameter of the refinement, such as beta=16, crf.theta_beta=8, ignore_band=0.1 "
    "or clean_up=false; repeat for several.",
)
@click.option(
    "--classes",
    default=None,
    metavar="NAME",
    help="Convention of the masks.  [default: the checkpoint's first]",
)
@click.option(
    "--batch-size",
    type=click.IntRange(min=1),
    default=1,
    show_default=True,
    help="Pictures drawn together.",
)
@with_options([GUIDANCE_INTERVAL, *VERIFY_OPTIONS])
@click.option("--threads", type=click.IntRange(min=1), default=None, help="CPU threads.")
@click.option("--device", default="auto", show_default=True, help="auto, cpu, cuda …")
@click.option("--quiet", is_flag=True, help="No progress bar, no word report.")
def sample(**options: Any) -> None:
    """Draw X-rays from prompts, with attention maps and masks.

    \b
    python -m lungsynth sample "Frontal chest X-ray of a 60-year-old man with pneumonia" \\
        --seed 7 -n 4 --out out/

    Per picture: image.png, map_WORD.png, coarse.png, mask.png, overlay.png, record.json.
    Same seed and options, same bytes. Folders are printed on stdout as they are finished.
    """
    from lungsynth.cli.run import sample as work  # deferred: a quick --help

    work.run_sample(asked(work.SampleCommand, options))


@click.command("words")
@click.argument("prompt")
@click.option("--model", default=None, metavar="NAME|DIR", help="[default: mini, shipped]")
def words_command(**options: Any) -> None:
    """Say which words of PROMPT a checkpoint has learnt (JSON)."""
    from lungsynth.cli.run import sample as work  # deferred: a quick --help

    work.run_words(asked(work.WordsCommand, options))
