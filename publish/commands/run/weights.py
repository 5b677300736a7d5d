"""`python -m publish weights`: what it does."""

from __future__ import annotations

import shutil
import tempfile
from pathlib import Path

import click

from lungsynth.errors import ConfigError
from lungsynth.images import png_bytes
from lungsynth.model.sampling import SampleOptions, draw
from lungsynth.pipeline import Synthesizer
from publish.card.evaluation import free_name
from publish.card.model_card import licence_chain, make_model_card, read_report
from publish.card.model_snippets import PROMPTS, ModelFacts
from publish.card.own_card import fill_own_card
from publish.commands.run.sending import begin, send
from publish.commands.sending import WeightsCommand
from publish.hub.payload import write_out
from publish.hub.weights import (
    Checkpoint,
    check_own_card,
    payload_of,
    read_checkpoint,
    write_plain,
)


def run_weights(command: WeightsCommand) -> None:
    """Publish a checkpoint with its card."""
    deadline = begin(command)
    found = read_checkpoint(command.checkpoint)
    evaluation: dict[str, Path] = {}
    for path in command.evaluation:
        evaluation[free_name(path.name, evaluation)] = path
    facts = ModelFacts(
        repo=command.repo,
        licence=command.licence,
        base=command.base,
        base_licence=command.base_licence,
        data=tuple(_pair(one) for one in command.data),
        steps=command.steps,
        training=command.training,
        evaluation=evaluation,
        prompts=command.prompts or PROMPTS,
        plain=command.plain,
        home=command.home,
    )
    with tempfile.TemporaryDirectory(prefix="publish-card-") as room:
        generated = Path(room)
        if command.plain:
            write_plain(found, generated)
        if found.own_card is not None:
            for warning in check_own_card(found):
                click.echo(f"note: {warning}; it is published as words, or below --home", err=True)
            if unread := _not_in_own_card(command):
                click.echo(
                    f"note: {command.checkpoint}/README.md is the card, so this goes into none: {unread}. "
                    "Write it there.",
                    err=True,
                )
        with deadline.paused():
            (generated / "README.md").write_text(
                _make_card(command, found, facts, generated), encoding="utf-8"
            )
        payload = payload_of(found, generated)
        if command.out is not None:
            write_out(payload, command.out)
        named = f"Release {command.tag}" if command.tag else "Publish weights"
        send(payload, command, deadline, message=named)


def _not_in_own_card(command: WeightsCommand) -> str:
    """Options that only a card written from options tells of."""
    given = {
        "--data": command.data,
        "--steps": command.steps,
        "--training": command.training,
        "--evaluation": command.evaluation,
    }
    return ", ".join(name for name, value in given.items() if value)


def _pair(text: str) -> tuple[str, str]:
    name, sign, licence = text.rpartition("=")
    if not (name and sign and licence):
        raise ConfigError(f"--data {text}: expected NAME=LICENCE, such as nih=cc0-1.0.")
    return name, licence


def _make_card(
    command: WeightsCommand, checkpoint: Checkpoint, facts: ModelFacts, out: Path
) -> str:
    """Draw the gallery and keep the evaluation in a folder; the card, refused before anything is drawn."""
    if checkpoint.own_card is not None:
        fill_own_card(checkpoint, facts)
        return fill_own_card(checkpoint, facts, _draw_samples(command, checkpoint, facts, out))
    licence_chain(facts, is_lora=checkpoint.is_lora)
    for name, path in facts.evaluation.items():
        read_report(path)
        (out / "evaluation").mkdir(exist_ok=True)
        shutil.copyfile(path, out / "evaluation" / name)
    return make_model_card(checkpoint, facts, _draw_samples(command, checkpoint, facts, out))


def _draw_samples(
    command: WeightsCommand, checkpoint: Checkpoint, facts: ModelFacts, out: Path
) -> list[tuple[str, str]]:
    """Draw the gallery into a folder: (prompt, path in the repository) of each picture."""
    if not command.samples:
        return []
    synthesizer = (
        Synthesizer(facts.base, lora=str(checkpoint.folder))
        if checkpoint.is_lora
        else Synthesizer(str(checkpoint.folder))
    )
    (out / "samples").mkdir()
    options = SampleOptions(steps=command.sample_steps)
    shown = []
    for seed in range(command.samples):
        prompt = facts.prompts[seed % len(facts.prompts)]
        [image] = draw(synthesizer.pipe, [prompt], [seed], options, capture=False).images
        (out / "samples" / f"{seed}.png").write_bytes(png_bytes(image))
        shown.append((prompt, f"samples/{seed}.png"))
    return shown
