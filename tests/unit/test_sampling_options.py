"""Steps, guidance and schedulers have one home; everything that asks for them has its values."""

from __future__ import annotations

import re
from dataclasses import fields
from pathlib import Path

import click

from lungsynth.cli.main import cli
from lungsynth.model.options import (
    LINK_GUIDANCE,
    LINK_STEPS,
    MAX_GUIDANCE,
    MAX_STEPS,
    SCHEDULERS,
    SampleOptions,
)
from lungsynth.permalink import MAX_GUIDANCE as LINKS_GUIDANCE
from lungsynth.permalink import MAX_STEPS as LINKS_STEPS
from lungsynth.permalink import Permalink
from publish.data.settings import Settings

ROOT = Path(__file__).parents[2]


def commands(group: click.Group) -> list[click.Command]:
    found: list[click.Command] = []
    for command in group.commands.values():
        found += commands(command) if isinstance(command, click.Group) else [command]
    return found


def test_commands_that_draw_agree() -> None:
    asked = [
        (command.name, option)
        for command in commands(cli)
        for option in command.params
        if option.name == "guidance"
    ]
    assert {"sample", "draw", "sheet", "sides"} <= {name for name, _ in asked}
    for _, option in asked:
        assert isinstance(option.type, click.FloatRange)
        assert (option.default, option.type.max) == (SampleOptions.guidance, MAX_GUIDANCE)
    sample = cli.commands["sample"]
    steps = next(one for one in sample.params if one.name == "steps")
    assert isinstance(steps.type, click.IntRange)
    assert (steps.default, steps.type.max) == (SampleOptions.steps, MAX_STEPS)
    scheduler = next(one for one in sample.params if one.name == "scheduler")
    assert isinstance(scheduler, click.Option) and scheduler.help is not None
    assert {*re.findall(r"[\w-]+", scheduler.help)} - {"or"} == {"default", *SCHEDULERS}


def test_links_and_releases_have_the_same_defaults() -> None:
    link = Permalink("x")
    settings = {one.name: one for one in fields(Settings)}
    for name, most in (("steps", MAX_STEPS), ("guidance", MAX_GUIDANCE)):
        default = getattr(SampleOptions, name)
        assert getattr(link, name) == settings[name].default == default
        assert settings[name].metadata["max"] == most
    assert (LINKS_STEPS, LINKS_GUIDANCE) == (LINK_STEPS, LINK_GUIDANCE)
    assert LINK_STEPS <= MAX_STEPS and LINK_GUIDANCE <= MAX_GUIDANCE


def test_the_page_takes_its_limits_from_links() -> None:
    """Its modules import gradio or torch, so their text is looked at."""
    for name in ("controls.py", "api.py"):
        source = (ROOT / "space" / "page" / name).read_text(encoding="utf-8")
        assert not re.search(r"(steps|guidance)\b[^\n]*\b(1000|50\.0)\b", source), name
