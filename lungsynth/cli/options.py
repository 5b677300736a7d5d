"""Options that several commands share."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import fields
from pathlib import Path
from typing import Any, TypeVar

import click

from lungsynth.model.options import (
    MAX_GUIDANCE,
    MAX_STEPS,
    PRECISION_NAMES,
    SCHEDULERS,
    SampleOptions,
)

F = TypeVar("F", bound=Callable[..., Any])
T = TypeVar("T")


class RefinementOption(click.Option):
    """An option whose help lists the refinements there are, plugins included, when it is asked for."""

    def get_help_record(self, ctx: click.Context) -> tuple[str, str] | None:
        """The two columns of the option's help."""
        # deferred: it imports numpy and every refinement, which parsing options needs none of
        import lungsynth.masks.refine
        from lungsynth.masks.registry import REFINEMENTS

        assert lungsynth.masks.refine  # imported so that every refinement is registered
        record = super().get_help_record(ctx)
        return record and (record[0], record[1].replace("NAMES", ", ".join(REFINEMENTS)))


def with_options(options: Sequence[Callable[[F], F]]) -> Callable[[F], F]:
    """A decorator that adds click options to a command; its help lists them in this order."""

    def wrap(command: F) -> F:
        for option in reversed(options):
            command = option(command)
        return command

    return wrap


def sampling_options(guidance_help: str | None = None) -> Callable[[F], F]:
    """`--steps` and `--guidance` of a command that draws; defaults and limits are the program's."""
    return with_options(
        [
            click.option(
                "--steps",
                type=click.IntRange(min=1, max=MAX_STEPS),
                default=SampleOptions.steps,
                show_default=True,
            ),
            click.option(
                "--guidance",
                type=click.FloatRange(min=1.0, max=MAX_GUIDANCE),
                default=SampleOptions.guidance,
                show_default=True,
                help=guidance_help,
            ),
        ]
    )


def scheduler_option(*, with_names: bool = False) -> Callable[[F], F]:
    """`--scheduler` of a command that draws."""
    *names, last = SCHEDULERS
    return click.option(
        "--scheduler",
        default=SampleOptions.scheduler,
        show_default=True,
        help=f"{SampleOptions.scheduler}, {', '.join(names)} or {last}." if with_names else None,
    )


def precision_option(
    of: str = "the denoising network", default: str | None = "auto"
) -> Callable[[F], F]:
    """`--precision` of a command that draws or trains.

    Args:
        of: Whose number format it is.
        default: None where a preset or a file of settings decides; they say auto.
    """
    told = "  [default: auto]" if default is None else ""
    return click.option(
        "--precision",
        type=click.Choice(PRECISION_NAMES),
        default=default,
        show_default=default is not None,
        help=f"Number format of {of}; auto is bf16 where the processor has it, half the time, "
        f"else fp32.{told}",
    )


def asked(kind: type[T], options: Mapping[str, Any]) -> T:
    """What a command was given, as the dataclass its work takes.

    Args:
        kind: A dataclass with a field an option. What it has no field for goes into its field
            `shared`: options that several commands have, see `with_options`.
        options: Name -> value, as click gives them.
    """
    names = {field.name for field in fields(kind)}  # type: ignore[arg-type]
    rest = {name: value for name, value in options.items() if name not in names}
    own = {name: value for name, value in options.items() if name in names}
    return kind(**own, **({"shared": rest} if "shared" in names else rest))


GUIDANCE_INTERVAL = click.option(
    "--guidance-interval",
    default=None,
    metavar="LOW,HIGH",
    help="Timesteps, 0 (clean) to 1000 (noise), between which guidance is on, such as 200,800.  "
    "[default: everywhere]",
)


VERIFY_OPTIONS = [
    click.option(
        "--verify",
        "n_redraws",
        type=click.IntRange(min=0, max=100),
        default=None,
        metavar="N",
        help="Draw again, at most N times, what --verifier rejects; the record tells every attempt.",
    ),
    click.option(
        "--verifier",
        "verifier_folder",
        type=click.Path(path_type=Path),
        default=None,
        metavar="DIR",
        help="Encoder of `train encoder --patients half-b` that judges pictures against their prompts.",
    ),
]
