"""`python -m lungsynth evaluate hearing | words | changes | age`: what they do."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path
from typing import Any

import click
import torch

from lungsynth.cli.run.values import interval_of, numbers
from lungsynth.errors import CheckpointError
from lungsynth.evaluation.common import read_films, read_samples, write_report
from lungsynth.evaluation.words.age import age_table, evaluate_age
from lungsynth.evaluation.words.changes import changes_table, evaluate_changes
from lungsynth.evaluation.words.hearing import hearing, hearing_table
from lungsynth.evaluation.words.maps import WordsOptions, evaluate_words, words_table
from lungsynth.files import check_writable
from lungsynth.model.checkpoint import load_pipeline, name_and_hash, resolve
from lungsynth.model.encoder import DEFAULT_FOLDER, checksum, load_encoder
from lungsynth.model.measured import WORDS_NAME
from lungsynth.model.sampling import SampleOptions
from lungsynth.pipeline import Synthesizer


@dataclass(frozen=True, kw_only=True)
class HearingCommand:
    """Options of `evaluate hearing`, as `--help` describes them."""

    sources: tuple[str, ...]
    image_column: str
    split: str
    limit: int | None
    out: Path
    seed: int
    quiet: bool
    model: str | None
    precision: str
    threads: int | None
    per_fact: int | None
    timesteps: str
    n_seeds: int
    batch_size: int


def run_hearing(command: HearingCommand) -> None:
    """Measure the loss on real films under right and wrong captions."""
    if command.threads:
        torch.set_num_threads(command.threads)
    steps = numbers(command.timesteps, "--timesteps", low=0, high=999)
    pipe, _ = load_pipeline(command.model)
    films = read_films(
        command.sources,
        split=command.split or None,
        image_column=command.image_column,
        limit=command.limit,
        seed=command.seed,
        quiet=command.quiet,
    )
    report = hearing(
        pipe,
        films,
        timesteps=steps,
        n_seeds=command.n_seeds,
        per_fact=command.per_fact,
        seed=command.seed,
        precision=command.precision,
        batch=command.batch_size,
        quiet=command.quiet,
    )
    about = {**name_and_hash(command.model), "split": command.split}
    write_report({**report, **about}, command.out / "hearing.json")
    click.echo(hearing_table(report))


@dataclass(frozen=True, kw_only=True)
class WordsMapsCommand:
    """Options of `evaluate words`, as `--help` describes them."""

    sources: tuple[str, ...]
    image_column: str
    split: str
    out: Path
    seed: int
    quiet: bool
    model: str | None
    precision: str
    threads: int | None
    boxes: str | None
    outlines: Path | None
    limit: int
    timesteps: str
    finding_words: tuple[str, ...]
    n_samples: int
    steps: int
    guidance: float
    guidance_interval: str | None
    scheduler: str
    classes: str | None
    into_checkpoint: bool


def _options_of(command: Any) -> SampleOptions:
    return SampleOptions(
        steps=command.steps,
        guidance=command.guidance,
        guidance_interval=interval_of(command.guidance_interval),
        scheduler=command.scheduler,
        precision=command.precision,
    )


def run_words_maps(command: WordsMapsCommand) -> None:
    """Measure maps of plain words."""
    if command.threads:
        torch.set_num_threads(command.threads)
    check_writable(command.out)
    folder = Path(resolve(command.model))
    if command.into_checkpoint and not folder.is_dir():
        raise CheckpointError(
            f"--into-checkpoint: {command.model} is no folder; download it, and name its folder."
        )
    how = WordsOptions(
        sources=command.sources,
        split=command.split or None,
        image_column=command.image_column,
        boxes=command.boxes,
        outlines=command.outlines,
        limit=command.limit,
        timesteps=numbers(command.timesteps, "--timesteps", low=0, high=999),
        finding_words=command.finding_words,
        n_samples=command.n_samples,
        drawing=_options_of(command),
        seed=command.seed,
        quiet=command.quiet,
    )
    synthesizer = Synthesizer(command.model, classes=command.classes)
    report = evaluate_words(synthesizer, how)
    about = {"model": synthesizer.name, "model_hash": synthesizer.model_hash}
    report = {**report, **about, "split": command.split}
    write_report(report, command.out / WORDS_NAME)
    if command.into_checkpoint:
        write_report(report, folder / WORDS_NAME)
    click.echo(words_table(report))


@dataclass(frozen=True, kw_only=True)
class ChangesCommand:
    """Options of `evaluate changes`, as `--help` describes them."""

    sources: tuple[str, ...]
    image_column: str
    split: str
    limit: int | None
    out: Path
    seed: int
    quiet: bool
    model: str | None
    precision: str
    threads: int | None
    encoder_folder: Path | None
    n_pairs: int
    steps: int
    guidance: float
    guidance_interval: str | None
    scheduler: str
    batch_size: int


def run_changes(command: ChangesCommand) -> None:
    """Draw pairs of one seed whose prompts differ in a word, and judge them."""
    if command.threads:
        torch.set_num_threads(command.threads)
    check_writable(command.out)
    pipe, _ = load_pipeline(command.model)
    folder = command.encoder_folder or DEFAULT_FOLDER
    films = None
    if command.sources:
        films = read_films(
            command.sources,
            split=command.split or None,
            image_column=command.image_column,
            limit=command.limit,
            seed=command.seed,
            quiet=command.quiet,
        )
    report = evaluate_changes(
        pipe,
        load_encoder(folder),
        _options_of(command),
        films=films,
        n=command.n_pairs,
        seed=command.seed,
        batch=command.batch_size,
        quiet=command.quiet,
    )
    about = {**name_and_hash(command.model), "encoder": checksum(folder)}
    write_report({**report, **about}, command.out / "changes.json")
    click.echo(changes_table(report))


@dataclass(frozen=True, kw_only=True)
class AgeCommand:
    """Options of `evaluate age`, as `--help` describes them."""

    sources: tuple[str, ...]
    synthetic: Path
    image_column: str
    test_split: str
    train_split: str
    encoder_folder: Path | None
    out: Path
    limit: int | None
    seed: int
    quiet: bool


def run_age(command: AgeCommand) -> None:
    """Age asked against age judged."""
    folder = command.encoder_folder or DEFAULT_FOLDER
    samples = read_samples(
        command.synthetic, image_column=command.image_column, limit=command.limit, seed=command.seed
    )
    train, test = (
        read_films(
            command.sources,
            split=split,
            image_column=command.image_column,
            seed=command.seed,
            quiet=command.quiet,
        )
        for split in (command.train_split, command.test_split)
    )
    report = evaluate_age(
        samples, train, test, load_encoder(folder), seed=command.seed, quiet=command.quiet
    )
    write_report({**report, "encoder": checksum(folder)}, command.out / "age.json")
    click.echo(age_table(report))
