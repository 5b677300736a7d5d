"""A recipe's steps: skipped when nothing changed, done again when something did."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest

from lungsynth.cli.run.train_all import run_train_all
from lungsynth.cli.train_masks import TrainAllCommand
from lungsynth.errors import ConfigError, DataError
from lungsynth.training.recipe import read_recipe

RECIPE = """
data: {films: films.parquet}
steps:
  - name: token a
    command: learn --data {films} --out {out} --checkpoint {checkpoint}
    reads: [unet]
    writes: [tokens/a]
  - name: student
    command: teach --checkpoint {checkpoint}
    reads: [tokens/a]
    writes: [student]
  - name: extra
    command: more --data {other} --checkpoint {checkpoint}
    writes: [more]
    optional: true
"""


class Program:
    """Stands in for the command line: writes what each command would."""

    def __init__(self, checkpoint: Path) -> None:
        self.checkpoint, self.calls = checkpoint, []

    def __call__(self, arguments: list[str]) -> None:
        self.calls.append(arguments)
        where = {"learn": "tokens/a", "teach": "student/weights", "more": "more"}[arguments[0]]
        path = self.checkpoint / where
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_text(
            "made of " + " ".join(arguments[1:2]) + (self.checkpoint / "unet").read_text()
        )

    def names(self) -> list[str]:
        names, self.calls = [one[0] for one in self.calls], []
        return names


@pytest.fixture
def place(tmp_path: Path) -> Path:
    (tmp_path / "recipe.yaml").write_text(RECIPE)
    (tmp_path / "films.parquet").write_text("films")
    (tmp_path / "checkpoint").mkdir()
    (tmp_path / "checkpoint" / "unet").write_text("weights")
    return tmp_path


def do(place: Path, program: Program, **changes: Any) -> None:
    given: dict[str, Any] = {
        "config": place / "recipe.yaml",
        "checkpoint": place / "checkpoint",
        "runs": place / "runs",
        "sources": (),
        "only": "",
        "dry_run": False,
        "force": False,
    }
    run_train_all(TrainAllCommand(**(given | changes)), program)


def test_unchanged_steps_are_skipped(place: Path, capsys: pytest.CaptureFixture[str]) -> None:
    program = Program(place / "checkpoint")
    do(place, program)
    assert program.calls[0][:2] == ["learn", "--data"]
    assert program.calls[0][2] == str(place / "films.parquet")
    assert program.names() == ["learn", "teach"]
    assert "extra: left out, no --data other=…" in capsys.readouterr().err
    do(place, program)
    assert program.names() == []
    assert "token a: unchanged, skipped" in capsys.readouterr().err
    do(place, program, force=True, only="student")
    assert program.names() == ["teach"]


def test_what_hangs_on_a_change_is_done_again(place: Path) -> None:
    program = Program(place / "checkpoint")
    do(place, program)
    program.names()
    (place / "checkpoint" / "unet").write_text("other weights")
    do(place, program)
    assert program.names() == ["learn", "teach"]  # the token changed, so the student does
    (place / "films.parquet").write_text("more films")
    do(place, program)
    assert program.names() == ["learn"]  # the same token came of them
    (place / "checkpoint" / "student" / "weights").unlink()
    do(place, program)
    assert program.names() == ["teach"]
    text = (place / "recipe.yaml").read_text().replace("teach", "teach --steps 3")
    (place / "recipe.yaml").write_text(text)
    do(place, program)
    assert program.names() == ["teach"]


def test_a_step_that_fails_is_not_noted(place: Path) -> None:
    class Failing(Program):
        def __call__(self, arguments: list[str]) -> None:
            if arguments[0] == "teach":
                raise DataError("no films")
            super().__call__(arguments)

    program = Failing(place / "checkpoint")
    with pytest.raises(DataError, match="no films"):
        do(place, program)
    later = Program(place / "checkpoint")
    do(place, later)
    assert later.names() == ["teach"]


def test_a_dry_run_does_nothing(place: Path, capsys: pytest.CaptureFixture[str]) -> None:
    program = Program(place / "checkpoint")
    do(place, program, dry_run=True)
    assert program.calls == [] and "python -m lungsynth learn --data" in capsys.readouterr().out


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("steps: [", "not YAML"),
        ("steps: []", "one or more"),
        ("steps: [{name: a, writes: [x]}]", "expected `data"),
        ("steps: [{name: a, command: 'x {films}', writes: [x]}]", "--data films=SOURCE"),
        (
            "steps: [{name: a, command: x, writes: [x]}, {name: a, command: x, writes: [x]}]",
            "different names",
        ),
    ],
)
def test_a_recipe_that_is_none_is_refused(tmp_path: Path, text: str, message: str) -> None:
    (tmp_path / "r.yaml").write_text(text)
    with pytest.raises(ConfigError, match=message):
        read_recipe(tmp_path / "r.yaml")


@pytest.mark.parametrize("command", ["learn {", "learn {}", 'learn "a', "learn {films!z}"])
def test_a_command_that_cannot_be_read_is_refused(tmp_path: Path, command: str) -> None:
    text = f"data: {{films: a}}\nsteps: [{{name: a b, command: '{command}', writes: [t]}}]"
    (tmp_path / "recipe.yaml").write_text(text)
    with pytest.raises(ConfigError, match=r"recipe.yaml: the command of step 'a b' cannot be read"):
        read_recipe(tmp_path / "recipe.yaml")


def test_one_name_needs_no_list(tmp_path: Path) -> None:
    text = "steps: [{name: a, command: learn, reads: unet, writes: tokens}]"
    (tmp_path / "recipe.yaml").write_text(text)
    [step] = read_recipe(tmp_path / "recipe.yaml").steps
    assert (step.reads, step.writes) == (("unet",), ("tokens",))


def test_the_shipped_recipe_fits_the_program() -> None:
    """Every command of it parses, with every option it names."""
    import click

    from lungsynth.cli.main import cli
    from lungsynth.training.recipe import arguments

    path = Path(__file__).parents[2] / "examples" / "train_all.yaml"
    names = ("kermany", "hannover", "nih", "shenzhen", "normal", "nlm")
    recipe = read_recipe(path, {name: f"{name}.parquet" for name in names})
    here = str(path.parent)  # any folder that is there
    for step in recipe.steps:
        given = arguments(step, recipe, Path(here), Path(here))
        command: click.Command = cli
        context = click.Context(command, help_option_names=["-h", "--help"])
        while isinstance(command, click.Group):
            name, found, given = command.resolve_command(context, given)
            assert name is not None and found is not None
            context, command = click.Context(found, parent=context, info_name=name), found
        command.make_context(step.name, list(given), parent=context.parent)
