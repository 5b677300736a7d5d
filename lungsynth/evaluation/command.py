"""The command that is running, as a report names it."""

from __future__ import annotations

import shlex
from pathlib import Path

import click
from click.core import ParameterSource


def command_line() -> str | None:
    """The command that is running, in a form that others can run; None where there is none.

    Only options that were given, and not where the result goes, the device, or whether it is quiet.
    Of a file or folder only the last name is kept.
    """
    context = click.get_current_context(silent=True)
    if context is None:
        return None
    names: list[str] = []
    above: click.Context | None = context
    while above is not None and above.parent is not None:
        names.insert(0, above.info_name or "")
        above = above.parent
    words = ["python", "-m", "lungsynth", *names]
    for option in context.command.params:
        given = option.name is not None and option.name not in ("out", "device", "quiet")
        if (
            not given
            or context.get_parameter_source(str(option.name)) != ParameterSource.COMMANDLINE
        ):
            continue
        value = context.params[str(option.name)]
        if isinstance(value, bool):
            words.append(option.opts[0] if value else (option.secondary_opts or option.opts)[0])
            continue
        for one in value if isinstance(value, tuple) else (value,):
            words += [
                *([option.opts[-1]] if isinstance(option, click.Option) else []),
                _last_name(one),
            ]
    return shlex.join(words)


def _last_name(value: object) -> str:
    """`NAME=/some/where/films.parquet` -> `NAME=films.parquet`; what is no place stays."""
    name, sign, place = str(value).rpartition("=")
    try:
        is_place = isinstance(value, Path) or Path(place).is_absolute() or Path(place).exists()
    except OSError:  # too long for a path
        is_place = False
    return f"{name}{sign}{Path(place).name}" if place and is_place else str(value)
