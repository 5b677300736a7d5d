"""`python -m lungsynth evaluate masks` and `evaluate draw`."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import click


@click.command("masks")
@click.option("--data", "source", required=True, metavar="SOURCE", help="Films with expert masks.")
@click.option("--split", default="test", show_default=True, metavar="NAME", help="'' takes every row.")
@click.option("--rival-split", default="train", show_default=True, metavar="NAME",
              help="Split whose mean mask is the rival; '' leaves it out.")
@click.option("--image-column", default="image", show_default=True, metavar="NAME")
@click.option("--mask-column", default="mask", show_default=True, metavar="NAME")
@click.option("--foreground", type=click.IntRange(0, 255), default=255, show_default=True)
@click.option("--ignore", type=click.IntRange(0, 255), default=127, show_default=True)
@click.option("--model", default=None, metavar="NAME|DIR")
@click.option("--limit", type=click.IntRange(min=1), default=None, metavar="N")
@click.option("--seed", type=click.IntRange(min=0), default=0, show_default=True)
@click.option("--out", type=click.Path(path_type=Path, file_okay=False), default=None, metavar="DIR",
              help="Writes masks.json and the ten worst and ten median cases as a sheet.")
@click.option("--quiet", is_flag=True)
def masks_command(
    source: str, split: str, rival_split: str, image_column: str, mask_column: str, foreground: int,
    ignore: int, model: str | None, limit: int | None, seed: int, out: Path | None, quiet: bool,
) -> None:  # fmt: skip
    """Segment real films by the checkpoint's class tokens and compare with expert masks."""
    import numpy as np
    from PIL import Image

    from lungsynth.contact import contact_sheet
    from lungsynth.data import read_records
    from lungsynth.evaluation.masks import iou, mean_mask, read_cases, side_swapped, summarise
    from lungsynth.images import overlay
    from lungsynth.output import check_writable
    from lungsynth.pipeline import Synthesizer

    if out:
        check_writable(out)
    synthesizer = Synthesizer(model)
    pixels = int(synthesizer.pipe.unet.config.sample_size) * int(synthesizer.pipe.vae_scale_factor)
    columns: dict[str, Any] = {
        "image_column": image_column, "mask_column": mask_column, "text_column": None,
    }  # fmt: skip
    records = list(read_records(source, split=split or None, limit=limit, **columns))
    rival = None
    if rival_split:
        train = read_records(source, split=rival_split, limit=400, **columns)
        rival = mean_mask(list(train), pixels=pixels, foreground=foreground)
    cases = read_cases(synthesizer, records, rival=rival, foreground=foreground, ignore=ignore,
                       seed=seed, quiet=quiet)  # fmt: skip
    table = summarise(cases)
    swapped = sum(map(side_swapped, cases))
    click.echo(f"{'stage':22} {'IoU':>6}  {'95 % interval':>15}  {'Dice':>6}   n = {len(cases)}")
    for stage, row in table.items():
        click.echo(f"{stage:22} {row['iou']:6.3f}  [{row['iou_low']:.3f}, {row['iou_high']:.3f}]"
                   f"  {row['dice']:6.3f}")  # fmt: skip
    click.echo(f"class 1 and 2 on swapped sides: {swapped} of {len(cases)}")
    if out:
        (out / "masks.json").write_text(json.dumps(
            {"source": Path(source).name, "split": split, "model_hash": synthesizer.model_hash,
             "seed": seed, "stages": table, "swapped": swapped}, indent=2) + "\n")  # fmt: skip
        last = list(table)[-2 if rival is not None else -1]
        scores = np.array([iou(c.stages[last], c.truth, c.valid) for c in cases])
        order = np.argsort(scores)
        middle = max(0, len(order) // 2 - 5)
        chosen = [*order[:10], *order[middle : middle + 10]]
        sheet = contact_sheet(
            [Image.fromarray(np.concatenate([
                overlay(cases[i].image, cases[i].labels),
                overlay(cases[i].image, cases[i].truth.astype(np.uint8) * 3)], 1)) for i in chosen],
            [f"IoU {scores[i]:.3f} (ours | expert)" for i in chosen], n_columns=5, pixels=384,
        )  # fmt: skip
        sheet.save(out / "masks.png")


@click.command("draw")
@click.option("--out", type=click.Path(path_type=Path, file_okay=False), required=True, metavar="DIR")
@click.option("--n", type=click.IntRange(min=1), default=1000, show_default=True)
@click.option("--model", default=None, metavar="NAME|DIR|HUB_ID")
@click.option("--steps", type=click.IntRange(min=1, max=1000), default=20, show_default=True)
@click.option("--guidance", type=click.FloatRange(min=1.0, max=50.0), default=1.5, show_default=True)
@click.option("--scheduler", default="default", show_default=True)
@click.option("--seed", type=click.IntRange(min=0), default=0, show_default=True)
@click.option("--batch-size", type=click.IntRange(min=1), default=8, show_default=True)
@click.option("--quiet", is_flag=True)
def draw_command(
    out: Path, n: int, model: str | None, steps: int, guidance: float, scheduler: str, seed: int,
    batch_size: int, quiet: bool,
) -> None:  # fmt: skip
    """Draw a balanced set of samples with what each prompt asked for. Resumes."""
    from lungsynth.evaluation.drawing import draw_set
    from lungsynth.pipeline import Synthesizer
    from lungsynth.sampling import SampleOptions

    options = SampleOptions(steps=steps, guidance=guidance, scheduler=scheduler)
    for _ in draw_set(Synthesizer(model), out, n=n, options=options, seed=seed, batch=batch_size,
                      quiet=quiet):  # fmt: skip
        pass
    click.echo(str(out))
