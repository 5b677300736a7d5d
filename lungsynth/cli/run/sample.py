"""`python -m lungsynth sample`: what it does."""

from __future__ import annotations

import json
from dataclasses import dataclass
from pathlib import Path

import click
import torch
from tqdm import tqdm

from lungsynth.files import check_writable
from lungsynth.masks.refine import RefineConfig, with_values
from lungsynth.model.checkpoint import load_pipeline
from lungsynth.model.sampling import SampleOptions
from lungsynth.output import write_result
from lungsynth.pipeline import Synthesizer
from lungsynth.prompts import read_prompt


@dataclass(frozen=True, kw_only=True)
class SampleCommand:
    """Its options, as `--help` describes them."""

    prompts: tuple[str, ...]
    out: Path
    seed: int
    n: int
    steps: int
    guidance: float
    height: int | None
    width: int | None
    scheduler: str
    precision: str
    words: tuple[str, ...]
    model: str | None
    lora: str | None
    method: str
    refine_values: tuple[str, ...]
    classes: str | None
    batch_size: int
    threads: int | None
    device: str
    quiet: bool


def run_sample(command: SampleCommand) -> None:
    """Draw X-rays from prompts, with attention maps and masks."""
    if command.threads:
        torch.set_num_threads(command.threads)
    check_writable(command.out, make=False)
    refine_config = with_values(RefineConfig(method=command.method), command.refine_values)
    synthesizer = Synthesizer(
        command.model, lora=command.lora, device=command.device, classes=command.classes
    )
    options = SampleOptions(
        steps=command.steps,
        guidance=command.guidance,
        height=command.height,
        width=command.width,
        scheduler=command.scheduler,
        precision=command.precision,
    )
    texts = [prompt for prompt in command.prompts for _ in range(command.n)]
    seeds = [command.seed + k for _ in command.prompts for k in range(command.n)]
    if not command.quiet:
        for prompt in command.prompts:
            report, _ = synthesizer.check(prompt, command.words or None)
            click.echo(f"knows: {', '.join(report.known)}", err=True)
            if report.unknown:
                click.echo(f"never seen in training: {', '.join(report.unknown)}", err=True)
            if report.dropped:
                click.echo(
                    f"beyond the model's token limit, not read: {report.dropped!r}", err=True
                )
    results = synthesizer.generate(
        texts,
        seeds,
        options=options,
        refine_config=refine_config,
        words=command.words or None,
        batch_size=command.batch_size,
    )
    for index, result in enumerate(
        tqdm(results, total=len(texts), unit="image", disable=command.quiet)
    ):
        folder = command.out / f"{index // command.n:03d}-seed{result.seed}"
        write_result(result, folder)
        click.echo(str(folder))


@dataclass(frozen=True, kw_only=True)
class WordsCommand:
    """Its options, as `--help` describes them."""

    prompt: str
    model: str | None


def run_words(command: WordsCommand) -> None:
    """Say which words of PROMPT a checkpoint has learnt (JSON)."""
    pipe, vocabulary = load_pipeline(command.model)
    report = read_prompt(command.prompt, pipe.tokenizer, vocabulary)
    click.echo(
        json.dumps(
            {
                "known": report.known,
                "unknown": report.unknown,
                "tokens": report.n_tokens,
                "dropped": report.dropped,
            }
        )
    )
