"""`python -m lungsynth segment`: what it does."""

from __future__ import annotations

import sys

import click
import torch
from tqdm import tqdm

from lungsynth.cli.run.segment_films import SegmentRun
from lungsynth.cli.segment import SegmentCommand
from lungsynth.files import check_writable
from lungsynth.films.finding import search_films
from lungsynth.masks.refine import RefineConfig, with_values
from lungsynth.model.put_right import Righting
from lungsynth.pipeline import Synthesizer


def run_segment(command: SegmentCommand) -> None:
    """Outline the organs on your own real X-rays, of any size."""
    if command.threads:
        torch.set_num_threads(command.threads)
    search = search_films(command.images, exclude=[command.out])
    check_writable(command.out, make=False)
    config = with_values(
        RefineConfig() if command.method is None else RefineConfig(method=command.method),
        command.refine_values,
    )
    options = {
        "prompt": command.prompt,
        "seed": command.seed,
        "n_noise": command.n_noise,
        "config": config,
        "righting": Righting(invert=command.invert, orient=command.orient),
    }
    synthesizer = Synthesizer(command.model, device=command.device, classes=command.classes)
    with tqdm(total=len(search.films), unit="film", disable=command.quiet) as bar:
        run = SegmentRun(
            synthesizer=synthesizer,
            out=command.out,
            options=options,
            probability=command.probability,
            overwrite=command.overwrite,
            batch_size=command.batch_size,
            say=lambda text: None if command.quiet else tqdm.write(text, file=sys.stderr),
            made=lambda folder: tqdm.write(str(folder), file=sys.stdout),
            step=bar.update,
        )
        counts = run.run(search)
    for path, reason in run.failures():
        click.echo(f"failed: {path}: {reason}", err=True)
    if not command.quiet:
        told = [f"{counts.get(status, 0)} {status}" for status in ("done", "skipped", "failed")]
        if search.left_out:
            told.append(f"{len(search.left_out)} left out ({search.counts()})")
        click.echo(f"{', '.join(told)}; masks in {command.out}", err=True)
    if counts.get("failed"):
        sys.exit(1)
