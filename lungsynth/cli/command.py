"""A command of a dataclass: a field an option, its docstring the help, and who does the work.

The work is named and imported when the command is called, so `--help` is printed without torch.
"""

from __future__ import annotations

import inspect
import types
import typing
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import MISSING, Field, fields
from importlib import import_module
from pathlib import Path
from typing import Any

import click

CONTEXT = {"help_option_names": ["-h", "--help"], "max_content_width": 100}
"""Settings of the two programs."""

LISTS = (tuple, Sequence)

Commands = Mapping[str, tuple[str, str]]
"""Name -> `package.module:Dataclass` of the options, and `package.module:function` that does the work."""


class RefinementOption(click.Option):
    """An option whose help lists the refinements there are, plugins included, when it is asked for."""

    def get_help_record(self, ctx: click.Context) -> tuple[str, str] | None:
        """The two columns of the option's help."""
        import_module("lungsynth.masks.refine")  # registers them; slow, and only this help needs it
        names = import_module("lungsynth.masks.registry").REFINEMENTS
        record = super().get_help_record(ctx)
        return record and (record[0], record[1].replace("NAMES", ", ".join(names)))


class LazyCommand(click.Command):
    """A command that gives an instance of a dataclass to a function, and prints what it returns.

    Its options are imported when they are asked for, so one help does not wait for all. A field
    `threads` is how many threads torch has from then on; None leaves them as they are.

    Args:
        name: Of the command.
        kind: `package.module:Dataclass` with fields of `lungsynth.model.options`; its docstring is the
            help.
        work: `package.module:function`, imported when the command is called.
    """

    _params: list[click.Parameter]
    _help: str | None = None

    def __init__(self, name: str, kind: str, work: str) -> None:
        self._kind, self._work = kind, work
        super().__init__(name, callback=self._call)

    @property
    def params(self) -> list[click.Parameter]:
        """The options."""
        if not self._params:
            self._params = list(parameters(named(self._kind)))
        return self._params

    @params.setter
    def params(self, given: list[click.Parameter]) -> None:
        self._params = given

    @property
    def help(self) -> str | None:
        """What the dataclass says of itself."""
        if self._help is None:
            kind = named(self._kind)
            self._help = inspect.cleandoc(f"{kind.__doc__}{getattr(kind, 'MORE_HELP', '')}")
        return self._help

    @help.setter
    def help(self, given: str | None) -> None:
        self._help = given

    def _call(self, **given: Any) -> None:
        if given.get("threads"):
            import_module("torch").set_num_threads(given["threads"])
        kind = named(self._kind)
        said = named(self._work)(kind(**collected(kind, given)))
        if said is not None:
            click.echo(said, nl=not said.endswith("\n"))


def below(package: str, commands: Commands) -> Commands:
    """A table whose modules are named from a package on."""
    return {
        name: (f"{package}.{kind}", f"{package}.{work}") for name, (kind, work) in commands.items()
    }


def made(commands: Commands) -> list[click.Command]:
    """The commands of a table."""
    return [LazyCommand(name, kind, work) for name, (kind, work) in commands.items()]


def named(place: str) -> Any:
    """What `package.module:name` names."""
    module, _, name = place.partition(":")
    return getattr(import_module(module), name)


def parameters(kind: type, *, unset: bool = False) -> Iterator[click.Parameter]:
    """The options of a dataclass's fields; fields that are none are left out.

    Args:
        kind: See `LazyCommand`.
        unset: What is not given is None, for then a file or the field's default decides.
    """
    hints = typing.get_type_hints(kind)
    for one in fields(kind):
        if "settings" in one.metadata:
            yield from parameters(one.metadata["settings"], unset=True)
        elif "names" in one.metadata:
            yield _parameter(one, hints[one.name], unset=unset)


def collected(kind: type, given: Mapping[str, Any]) -> dict[str, Any]:
    """Values by option -> values by field: those of `settings` that were given go into it together.

    Raises:
        click.BadParameter: a text is no entry of a mapping.
    """
    own = dict(given)
    for one in fields(kind):
        if "settings" in one.metadata:
            settings = one.metadata["settings"]
            hints = typing.get_type_hints(settings)
            values = {f: own.pop(f.name) for f in fields(settings) if "names" in f.metadata}
            own[one.name] = {
                f.name: _as_in_file(value, f, hints[f.name])
                for f, value in values.items()
                if value not in (None, ())
            }
    return own


def _as_in_file(value: Any, one: Field[Any], hint: Any) -> Any:
    """A value as a file of settings holds it: texts become a mapping of shares, or a list."""
    if one.metadata.get("commas"):
        return tuple(name.strip() for name in value.split(","))
    if typing.get_origin(hint) is not dict:
        return value
    shares = {}
    for text in value:
        name, _, share = text.partition("=")
        try:
            shares[name] = float(share)
        except ValueError:
            raise click.BadParameter(
                f"{text!r}; expected NAME=SHARE, such as train=0.9.",
                param_hint=one.metadata["names"][0],
            ) from None
    return shares


def _parameter(one: Field[Any], hint: Any, *, unset: bool) -> click.Parameter:
    """The option or argument of a field."""
    how = one.metadata
    hint = _without_none(hint)
    origin, items = typing.get_origin(hint), typing.get_args(hint)
    listed = origin in LISTS and not how.get("commas")
    kind = _type(items[0] if origin in (*LISTS, dict) else hint, how)
    if how["names"] is None:
        nargs = -1 if listed else 1
        needed = one.default is MISSING and one.default_factory is MISSING
        return click.Argument(
            [one.name], nargs=nargs, required=needed, metavar=how["metavar"], type=kind
        )
    names = how["names"] or (f"--{one.name.replace('_', '-')}",)
    flag = hint is bool and "/" not in names[0]
    default = _default(one, how, listed=listed, flag=flag)
    shown = how.get("show", True) and not flag and default not in (None, MISSING, "", ())
    text = how.get("help", "")
    if unset and shown:
        said = ("no", "yes")[default] if isinstance(default, bool) else default
        text += f"  [default: {said}]"
    fallback: dict[str, Any] = {} if default is MISSING else {"default": default}
    return (RefinementOption if how.get("refinements") else click.Option)(
        [*names, one.name],
        type=None if hint is bool else kind,
        is_flag=flag or None,
        multiple=listed or origin is dict,
        required=default is MISSING and not unset,
        show_default=shown and not unset,
        metavar=how.get("metavar"),
        help=text or None,
        **({"default": None} if unset else fallback),
    )


def _default(one: Field[Any], how: Mapping[str, Any], *, listed: bool, flag: bool) -> Any:
    """The default of an option; MISSING where it must be given."""
    if one.default is not MISSING:
        return one.default
    if flag:
        return False
    return () if listed and not how.get("required") else MISSING


def _without_none(hint: Any) -> Any:
    """`X | None` -> X; of several the first."""
    if typing.get_origin(hint) in (typing.Union, types.UnionType):
        return next(one for one in typing.get_args(hint) if one is not type(None))
    return hint


def _type(hint: Any, how: Mapping[str, Any]) -> click.ParamType[Any]:
    """What click checks a value by."""
    if "choices" in how:
        return click.Choice(list(how["choices"]))
    if hint is Path:
        kind = how.get("path")
        return click.Path(
            path_type=Path,
            exists=bool(how.get("exists")),
            file_okay=kind != "dir",
            dir_okay=kind != "file",
        )
    low, high = how.get("above", how.get("min")), how.get("below", how.get("max"))
    if hint in (int, float) and (low is not None or high is not None):
        make: Callable[..., click.ParamType[Any]] = (
            click.IntRange if hint is int else click.FloatRange
        )
        return make(low, high, min_open="above" in how, max_open="below" in how)
    return click.types.convert_type(hint)
