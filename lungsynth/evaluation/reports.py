"""Writing what was measured: JSON that names its command, and contact sheets."""

from __future__ import annotations

import json
import shlex
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import click
from click.core import ParameterSource
from PIL import Image

from lungsynth.errors import OutputError


def write_report(report: Mapping[str, Any], path: Path) -> None:
    """Write JSON with sorted keys, and `command` where a command of lungsynth is running.

    Raises:
        OutputError: the place cannot be written.
    """
    command = command_line()
    if command is not None:
        report = {"command": command, **report}
    try:
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_text(json.dumps(report, indent=2, sort_keys=True) + "\n", encoding="utf-8")
    except OSError as error:
        raise OutputError(f"{path}: cannot be written ({error}). Choose another --out.") from error


def write_sheet(sheet: Image.Image, path: Path) -> None:
    """Write a contact sheet.

    Raises:
        OutputError: it cannot be written.
    """
    try:
        sheet.save(path)
    except OSError as error:
        raise OutputError(f"{path}: cannot be written ({error}).") from error


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
    return f"{name}{sign}{Path(place).absolute().name}" if place and is_place else str(value)
