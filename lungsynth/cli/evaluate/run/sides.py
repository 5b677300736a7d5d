"""`python -m lungsynth evaluate sides`: what it does."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path

import click

from lungsynth.errors import OutputError
from lungsynth.evaluation.common import write_report
from lungsynth.evaluation.words.sides import evaluate_sides, sides_table
from lungsynth.evaluation.words.sides_drawing import draw_pairs, side_sheet, unknown_words
from lungsynth.evaluation.words.sides_prompts import given_prompts, side_prompts
from lungsynth.model.sampling import SampleOptions
from lungsynth.pipeline import Synthesizer


@dataclass(frozen=True, kw_only=True)
class SidesCommand:
    """Its options, as `--help` describes them."""

    out: Path
    n_pairs: int
    model: str | None
    classes: str | None
    prompts: tuple[str, ...]
    normal_prompt: str
    steps: int
    guidance: float
    scheduler: str
    seed: int
    batch_size: int
    quiet: bool


def run_sides(command: SidesCommand) -> None:
    """Is the side obeyed? Pairs of prompts equal but for left and right, drawn with one seed."""
    asked = (
        given_prompts(command.prompts, command.normal_prompt, command.n_pairs)
        if command.prompts
        else side_prompts(command.n_pairs)
    )
    options = SampleOptions(
        steps=command.steps, guidance=command.guidance, scheduler=command.scheduler
    )
    synthesizer = Synthesizer(command.model, classes=command.classes)
    unknown = unknown_words(synthesizer, asked)
    pairs = draw_pairs(
        synthesizer,
        command.out,
        asked,
        options=options,
        seed=command.seed,
        batch=command.batch_size,
        quiet=command.quiet,
    )
    report = evaluate_sides(pairs, seed=command.seed)
    about = {
        "model": synthesizer.name,
        "model_hash": synthesizer.model_hash,
        "steps": command.steps,
        "guidance": command.guidance,
        "unknown_words": unknown,
    }
    write_report({**report, **about}, command.out / "sides.json")
    try:
        side_sheet(pairs).save(command.out / "sides.png")
    except OSError as error:
        raise OutputError(f"{command.out / 'sides.png'}: cannot be written ({error}).") from error
    click.echo(sides_table(report))
    if unknown:
        click.echo(f"Never seen in training: {', '.join(unknown)}.")
