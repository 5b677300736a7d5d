"""`python -m lungsynth train all`: what it does."""

from __future__ import annotations

import shlex
import time
from collections.abc import Callable
from typing import Any

import click

from lungsynth.cli.train_masks import TrainAllCommand
from lungsynth.errors import ConfigError
from lungsynth.files import check_writable
from lungsynth.training.recipe import (
    Recipe,
    State,
    Step,
    arguments,
    fields_of,
    read_recipe,
    step_folder,
    step_key,
)


def call_program(arguments: list[str]) -> None:
    """Run a command of the program that runs."""
    program = click.get_current_context().find_root().command
    program.main(args=arguments, prog_name="lungsynth", standalone_mode=False)


def run_train_all(
    command: TrainAllCommand, call: Callable[[list[str]], Any] = call_program
) -> None:
    """Do a recipe's steps; `call` runs a command of the program by its arguments."""
    recipe = read_recipe(command.config, _given(command.sources))
    wanted = [one.strip() for one in command.only.split(",") if one.strip()]
    names = [step.name for step in recipe.steps]
    unknown = [name for name in wanted if name not in names]
    if unknown:
        raise ConfigError(f"--only {unknown[0]}: no such step; there are {', '.join(names)}.")
    check_writable(command.runs)
    state = State(command.runs)
    for step in recipe.steps:
        if not wanted or step.name in wanted:
            _do(step, recipe, state, command, call)


def _given(texts: tuple[str, ...]) -> dict[str, str]:
    found = {}
    for text in texts:
        name, equals, source = text.partition("=")
        if not name or not equals or not source:
            raise ConfigError(f"--data {text}: expected NAME=SOURCE.")
        found[name] = source
    return found


def _do(
    step: Step,
    recipe: Recipe,
    state: State,
    command: TrainAllCommand,
    call: Callable[[list[str]], Any],
) -> None:
    missing = sorted(fields_of(step) - set(recipe.data) - {"checkpoint", "out"})
    if missing:
        click.echo(f"{step.name}: left out, no --data {missing[0]}=…", err=True)
        return
    if command.dry_run:
        told = arguments(step, recipe, command.checkpoint, command.runs / "…")
        click.echo(f"{step.name}: python -m lungsynth {shlex.join(told)}")
        return
    key = step_key(step, recipe, command.checkpoint)
    if not command.force and state.is_done(step, key, command.checkpoint):
        click.echo(f"{step.name}: unchanged, skipped", err=True)
        return
    out = step_folder(step, key, command.runs)
    click.echo(f"{step.name} …", err=True)
    start = time.monotonic()
    call(arguments(step, recipe, command.checkpoint, out))
    seconds = time.monotonic() - start
    state.note(step, key, command.checkpoint, seconds)
    click.echo(f"{step.name}: done in {seconds:.0f} s", err=True)
