"""`python -m lungsynth sample`: what it does."""

from __future__ import annotations

import json
from collections.abc import Iterator
from dataclasses import replace
from typing import Any

import click
from tqdm import tqdm

from lungsynth.cli.sample import SampleCommand, WordsCommand
from lungsynth.files import check_writable
from lungsynth.masks.refine import RefineConfig, with_values
from lungsynth.model.checkpoint import load_pipeline
from lungsynth.output import write_result
from lungsynth.pipeline import Result, Synthesizer
from lungsynth.prompts import read_prompt
from lungsynth.verify.asked import asked_fields
from lungsynth.verify.redraw import Rejection, redraw


def run_sample(command: SampleCommand) -> None:
    """Draw X-rays from prompts, with attention maps and masks."""
    check_writable(command.out, make=False)
    rejection = command.rejection(command.model)
    refine_config = with_values(RefineConfig(method=command.method), command.refine_values)
    synthesizer = Synthesizer(
        command.model, lora=command.lora, device=command.device, classes=command.classes
    )
    options = replace(command.drawing(), height=command.height, width=command.width)
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
    how: dict[str, Any] = {
        "options": options,
        "refine_config": refine_config,
        "words": command.words or None,
        "batch_size": command.batch_size,
    }
    if rejection is None:
        results = synthesizer.generate(texts, seeds, **how)
    else:
        results = _verified(rejection, synthesizer, texts, seeds, how)
    names = [f"{k // command.n:03d}-seed{seed}" for k, seed in enumerate(seeds)]
    bar = tqdm(results, total=len(texts), unit="image", disable=command.quiet)
    for name, result in zip(names, bar, strict=True):
        folder = command.out / name
        write_result(result, folder)
        click.echo(str(folder))


def _verified(
    rejection: Rejection,
    synthesizer: Synthesizer,
    texts: list[str],
    seeds: list[int],
    how: dict[str, Any],
) -> Iterator[Result]:
    """Results that the verifier accepts, or the best there is; each rejection is a line on stderr."""
    verifier = rejection.verifier
    for kept in redraw(
        lambda own, with_seeds: list(
            synthesizer.generate([texts[k] for k in own], list(with_seeds), **how)
        ),
        lambda result: result.image,
        seeds,
        [asked_fields(text) for text in texts],
        verifier,
        rejection.n_redraws,
        batch_size=int(how["batch_size"]),
    ):
        rejection.tally.add(kept)
        for line in kept.lines():
            click.echo(line, err=True)
        record = {**kept.value.record, "verify": kept.report(verifier)}
        yield replace(kept.value, record=record)
    click.echo(f"verifier {verifier.name}: {rejection.tally.sentence()}", err=True)


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
            },
            ensure_ascii=False,
        )
    )
