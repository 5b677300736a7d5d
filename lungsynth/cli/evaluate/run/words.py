"""`python -m lungsynth evaluate hearing`, `words`, `changes` and `sides`: what they do."""

from __future__ import annotations

import json
from collections import UserDict
from collections.abc import Mapping
from dataclasses import asdict
from pathlib import Path
from typing import Any

import click

from lungsynth.cli.evaluate.run.samples import encoder_of
from lungsynth.cli.evaluate.words import (
    ChangesCommand,
    HearingCommand,
    SidesCommand,
    WordsMapsCommand,
)
from lungsynth.cli.options import RealFilms
from lungsynth.errors import CheckpointError, ConfigError
from lungsynth.evaluation.common import ImageSet, read_films
from lungsynth.evaluation.reports import write_report, write_sheet
from lungsynth.evaluation.words.changes import Pairs, changes_table, evaluate_changes
from lungsynth.evaluation.words.hearing import Passes, hearing, hearing_table
from lungsynth.evaluation.words.maps import WordsOptions, evaluate_words, words_table
from lungsynth.evaluation.words.sides import evaluate_sides, sides_table
from lungsynth.evaluation.words.sides_drawing import (
    draw_pairs,
    given_prompts,
    side_prompts,
    side_sheet,
    unknown_words,
)
from lungsynth.files import check_writable, write_whole
from lungsynth.model.checkpoint import load_pipeline, name_and_hash, resolve
from lungsynth.model.measured import WORDS_NAME
from lungsynth.pipeline import Synthesizer


def numbers(text: str, option: str, *, low: int, high: int) -> tuple[int, ...]:
    """`400,600` -> (400, 600).

    Raises:
        ConfigError: not whole numbers between `low` and `high`.
    """
    parts = [part.strip() for part in text.split(",") if part.strip()]
    if not parts or not all(part.isdigit() and low <= int(part) <= high for part in parts):
        raise ConfigError(
            f"{option} {text!r}: expected whole numbers from {low} to {high} with commas between, "
            "such as 400,600."
        )
    return tuple(int(part) for part in parts)


class KeptParts(UserDict[str, Any]):
    """Finished parts of a report, in a file, so that the same command goes on where it was killed.

    Args:
        path: The file; what it holds of other settings is left.
        key: Settings that decide the parts, JSON.
    """

    def __init__(self, path: Path, key: Mapping[str, Any]) -> None:
        super().__init__()
        self.path, self.key = path, json.loads(json.dumps(dict(key)))
        try:
            told = json.loads(path.read_text(encoding="utf-8"))
            if told["key"] == self.key:
                self.data = dict(told["parts"])
        except (OSError, ValueError, KeyError, TypeError):
            self.data = {}  # none yet, or cut by a kill

    def __setitem__(self, name: str, part: Any) -> None:
        self.data[name] = part
        write_whole(self.path, json.dumps({"key": self.key, "parts": self.data}))

    def remove(self) -> None:
        """The report is written: the parts are needed no more."""
        self.path.unlink(missing_ok=True)


def films_of(command: RealFilms) -> ImageSet:
    """The real films; see `read_films`."""
    return read_films(
        command.sources,
        split=command.split or None,
        image_column=command.image_column,
        limit=command.limit,
        seed=command.seed,
        quiet=command.quiet,
    )


def run_hearing(command: HearingCommand) -> None:
    """Measure the loss on real films under right and wrong captions."""
    steps = numbers(command.timesteps, "--timesteps", low=0, high=999)
    check_writable(command.out)
    pipe, _ = load_pipeline(command.model)
    films = films_of(command)
    how = Passes(
        timesteps=steps,
        n_seeds=command.n_seeds,
        seed=command.seed,
        precision=command.precision,
        batch=command.batch_size,
        quiet=command.quiet,
    )
    report = hearing(pipe, films, how, per_fact=command.per_fact)
    about = {**name_and_hash(command.model), "split": command.split}
    write_report({**report, **about}, command.out / "hearing.json")
    click.echo(hearing_table(report))


def run_words_maps(command: WordsMapsCommand) -> None:
    """Measure maps of plain words."""
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
        drawing=command.drawing(),
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


def run_changes(command: ChangesCommand) -> None:
    """Draw pairs of one seed whose prompts differ in a word, and judge them."""
    check_writable(command.out)
    pipe, _ = load_pipeline(command.model)
    encoder, encoder_name = encoder_of(command)
    films = films_of(command) if command.sources else None
    how = Pairs(
        options=command.drawing(),
        n=command.n_pairs,
        seed=command.seed,
        batch=command.batch_size,
        quiet=command.quiet,
    )
    about = {**name_and_hash(command.model), "encoder": encoder_name}
    chosen = [*command.sources, command.split, command.limit, command.image_column]
    key: dict[str, Any] = {**about, **asdict(how), "data": chosen}
    kept = KeptParts(command.out / "changes.parts.json", key)
    report = evaluate_changes(pipe, encoder, how, films=films, kept=kept)
    write_report({**report, **about}, command.out / "changes.json")
    kept.remove()
    click.echo(changes_table(report))


def run_sides(command: SidesCommand) -> None:
    """Is the side obeyed? Pairs of prompts equal but for left and right, drawn with one seed."""
    asked = (
        given_prompts(command.prompts, command.normal_prompt, command.n_pairs)
        if command.prompts
        else side_prompts(command.n_pairs)
    )
    options = command.drawing()
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
    write_sheet(side_sheet(pairs), command.out / "sides.png")
    click.echo(sides_table(report))
    if unknown:
        click.echo(f"Never seen in training: {', '.join(unknown)}.")
