"""The help of every command is the reviewed text."""

from __future__ import annotations

import importlib.util
import inspect
from dataclasses import MISSING, fields
from pathlib import Path
from types import ModuleType

import click
import pytest

from lungsynth.cli.command import Commands, LazyCommand, collected, named
from lungsynth.cli.main import COMMANDS as COMMANDS_OF_LUNGSYNTH
from lungsynth.cli.main import EVALUATIONS, TRAIN
from publish.cli import COMMANDS as COMMANDS_OF_PUBLISH


def load_maker() -> ModuleType:
    path = Path(__file__).parents[1] / "golden" / "make_help.py"
    spec = importlib.util.spec_from_file_location("make_help", path)
    assert spec is not None and spec.loader is not None
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    return module


MAKER = load_maker()
COMMANDS = dict(MAKER.commands())


@pytest.mark.parametrize("path", COMMANDS, ids="-".join)
def test_help_is_the_reviewed_text(path: tuple[str, ...]) -> None:
    golden = MAKER.file_of(path)
    assert golden.is_file(), "no reviewed text; run python -m tests.golden.make_help and read it"
    assert MAKER.help_text(path, COMMANDS[path]) == golden.read_text(encoding="utf-8")


def test_every_reviewed_text_has_its_command() -> None:
    assert {MAKER.file_of(path) for path in COMMANDS} == set(MAKER.FOLDER.glob("*.txt"))


def test_the_commands_are_found() -> None:
    wanted = {("lungsynth", "sample"), ("lungsynth", "train", "vae"), ("publish", "release")}
    assert wanted <= set(COMMANDS)


@pytest.mark.parametrize("path", [p for p in COMMANDS if p[0] == "publish" and p[1:]], ids="-".join)
def test_every_command_of_publish_has_an_example_and_tells_its_exit_codes(
    path: tuple[str, ...],
) -> None:
    told = MAKER.help_text(path, COMMANDS[path])
    assert f"python -m publish {path[1]} " in told and "Exit codes: 0 " in told


@pytest.mark.parametrize("path", COMMANDS, ids="-".join)
def test_every_command_says_what_it_is_for(path: tuple[str, ...]) -> None:
    command = COMMANDS[path]
    assert command.help and command.help.strip().splitlines()[0].rstrip().endswith(
        (".", ":", ",", "?", ")")
    )
    for parameter in command.params:
        if isinstance(parameter, click.Option):
            assert any(name.startswith("--") for name in parameter.opts), parameter.name


def test_the_real_program_prints_the_same(run_cli) -> None:  # type: ignore[no-untyped-def]
    for path in (("lungsynth", "sample"), ("lungsynth", "train", "vae")):
        ran = run_cli(*path[1:], "--help")
        assert ran.code == 0
        golden = MAKER.file_of(path).read_text(encoding="utf-8")
        # the first line names the program as it was called
        assert ran.out.splitlines()[0].startswith("Usage: ")
        assert ran.out.partition("Options:")[2].split() == golden.partition("Options:")[2].split()


@pytest.mark.parametrize("table", [COMMANDS_OF_LUNGSYNTH, TRAIN, EVALUATIONS, COMMANDS_OF_PUBLISH])
def test_the_work_of_every_command_is_there_and_takes_its_options(table: Commands) -> None:
    """Work is named in a text and imported when the command is called."""
    for kind, work in table.values():
        first = next(iter(inspect.signature(named(work)).parameters.values()))
        assert first.annotation == named(kind).__name__, work


@pytest.mark.parametrize("table", [COMMANDS_OF_LUNGSYNTH, TRAIN, EVALUATIONS, COMMANDS_OF_PUBLISH])
def test_what_is_parsed_makes_the_options(table: Commands, tmp_path: Path) -> None:
    """With what must be given alone, every other field has its default."""
    (tmp_path / "file").write_text("")
    for name, (place, work) in table.items():
        made, kind = LazyCommand(name, place, work), named(place)
        words = []
        for one in made.params:
            if one.required:
                value = "file" if isinstance(one.type, click.Path) and one.type.file_okay else ""
                if isinstance(one.type, click.Choice):
                    value = str(one.type.choices[0])
                elif isinstance(one.type, click.Path):
                    value = str(tmp_path / value)
                words += [value or "x"] if isinstance(one, click.Argument) else [one.opts[0], value]
        parsed = made.make_context(name, words, help_option_names=["-h", "--help"]).params
        options = kind(**collected(kind, parsed))
        for field in fields(kind):
            if field.default is not MISSING:
                assert getattr(options, field.name) == field.default, (name, field.name)
