"""Write the help text of every command into `golden/help`: python -m tests.golden.make_help

A test compares them; read the difference before committing it.
"""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

import click

FOLDER = Path(__file__).parent / "help"


def commands() -> Iterator[tuple[tuple[str, ...], click.Command]]:
    """Every command and group of `python -m lungsynth` and `python -m publish`, found by walking."""
    from lungsynth.cli.main import cli
    from publish.cli import cli as publish_cli

    def walk(
        path: tuple[str, ...], command: click.Command
    ) -> Iterator[tuple[tuple[str, ...], click.Command]]:
        yield path, command
        if isinstance(command, click.Group):
            for name in sorted(command.commands):
                yield from walk((*path, name), command.commands[name])

    yield from walk(("lungsynth",), cli)
    yield from walk(("publish",), publish_cli)


def help_text(path: tuple[str, ...], command: click.Command) -> str:
    """The text of `--help`, 100 columns wide whatever the terminal."""
    settings = {
        "terminal_width": 100,
        "max_content_width": 100,
        "help_option_names": ["-h", "--help"],
    }
    context: click.Context | None = None
    for name in path[:-1]:
        context = click.Context(click.Group(name), info_name=name, parent=context, **settings)
    return (
        command.get_help(click.Context(command, info_name=path[-1], parent=context, **settings))
        + "\n"
    )


def file_of(path: tuple[str, ...]) -> Path:
    """Where the text of a command is kept."""
    return FOLDER / ("-".join(path) + ".txt")


def main() -> None:
    FOLDER.mkdir(exist_ok=True)
    kept = set()
    for path, command in commands():
        file_of(path).write_text(help_text(path, command), encoding="utf-8")
        kept.add(file_of(path))
    for stale in set(FOLDER.glob("*.txt")) - kept:
        stale.unlink()


if __name__ == "__main__":
    main()
