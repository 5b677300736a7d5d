"""`python -m lungsynth learn-token`: what it does."""

from __future__ import annotations

import re
from dataclasses import replace
from typing import Any

import click
import numpy as np

from lungsynth.about.sources import collect_sources, write_sources
from lungsynth.cli.films import LearnTokenCommand
from lungsynth.errors import ConfigError, DataError
from lungsynth.films.data import Record, read_many, read_records
from lungsynth.films.framing import whole
from lungsynth.masks.classes import NAME
from lungsynth.model.backbone import side_pixels
from lungsynth.model.checkpoint import load_pipeline
from lungsynth.training.prior import load_priors, prior_mask
from lungsynth.training.tokens import (
    Entry,
    LearnOptions,
    add_to_checkpoint,
    learn_from_films,
    suggest_films,
)


def parse_ratio(text: str) -> dict[str, Any]:
    """`NAME=CLASS+CLASS/CLASS+CLASS` -> an entry of `ratios` in classes.json.

    Raises:
        ConfigError: not of that form.
    """
    name, equals, rest = text.partition("=")
    of, slash, within = rest.partition("/")
    lists = [[one.strip() for one in part.split("+") if one.strip()] for part in (of, within)]
    if not name.strip() or not equals or not slash or not all(lists):
        raise ConfigError(
            f"--ratio {text!r}: expected NAME=CLASS/CLASS+CLASS, such as "
            "'cardiothoracic=heart/left lung+right lung'."
        )
    return {name.strip(): {"of": lists[0], "within": lists[1]}}


def run_learn_token(command: LearnTokenCommand) -> None:
    """Learn a class token from K annotated films, on a frozen checkpoint."""
    if not command.suggest and (
        command.name is None or (command.class_id is None and command.out is None)
    ):
        raise ConfigError("Give --class and --id (or --out), or --suggest to choose films first.")
    for option, name in (("--convention", command.convention), ("--classes", command.set_name)):
        if name and not re.fullmatch(NAME, name):
            raise ConfigError(f"{option} {name!r}: expected letters, digits, _ and - only.")
    ratio = parse_ratio(command.ratio) if command.ratio else None
    pipe, _ = load_pipeline(str(command.checkpoint))
    if command.suggest:
        _suggest(command, pipe)
        return
    assert command.name is not None
    films, ids = _chosen_films(command)
    info = {"convention": command.convention, "films": ",".join(ids), "seed": str(command.seed)}
    options = LearnOptions(
        side=command.side,
        foreground=command.foreground,
        ignore=command.ignore,
        seed=command.seed,
    )
    if command.prior_file is not None:
        films = _labelled_by_prior(command, films, pixels=side_pixels(pipe))
        options = replace(options, side="both", foreground=255, ignore=127)
        info |= {"label_free": "true", "prior": command.prior_file.name, "shots": "0"}
    token = learn_from_films(pipe, command.name, films, options, quiet=command.quiet, info=info)
    if command.out is not None:
        token.save(command.out)
        click.echo(str(command.out))
    elif command.class_id is not None:
        if command.prior_file is None:
            write_sources(command.checkpoint, collect_sources(films, used_for="masks"))
        path = add_to_checkpoint(
            token,
            command.checkpoint,
            class_id=command.class_id,
            n_parts=command.n_parts,
            convention=command.convention,
            entry=Entry(command.set_name, command.like, ratio),
        )
        click.echo(str(path))


def _suggest(command: LearnTokenCommand, pipe: Any) -> None:
    """Print the ids of the films that are most worth annotating."""
    films = list(
        read_many(
            command.sources,
            image_column=command.image_column,
            text_column=None,
            split=command.split or None,
        )
    )
    squares = np.stack([whole(film.image, pixels=side_pixels(pipe)) for film in films])
    for index in suggest_films(pipe, squares, command.k, seed=command.seed, quiet=command.quiet):
        click.echo(films[index].name)


def _chosen_films(command: LearnTokenCommand) -> tuple[list[Record], list[str]]:
    """K films spread evenly over the sources, or those that were named; and their ids.

    Raises:
        DataError: a source has too few, or a named film is not there.
    """
    keep = None
    if command.wanted is not None:
        keep = [one.strip() for one in command.wanted.split(",") if one.strip()]
    rng = np.random.default_rng(command.seed)
    films: list[Record] = []
    for index, source in enumerate(command.sources):
        share = command.k // len(command.sources) + (index < command.k % len(command.sources))
        if not share and keep is None:
            continue
        rows = list(
            read_records(
                source,
                image_column=command.image_column,
                mask_column=None if command.prior_file else command.mask_column,
                text_column=None,
                split=command.split or None,
            )
        )
        if keep is not None:
            films += [row for row in rows if row.name in keep]
        elif len(rows) < share:
            raise DataError(f"{source}: {len(rows)} annotated films, {share} are needed.")
        else:
            films += [rows[i] for i in rng.choice(len(rows), share, replace=False)]
    ids = [film.name for film in films]
    if keep is not None and set(keep) - set(ids):
        raise DataError(
            f"--films: no annotated film has the id {sorted(set(keep) - set(ids))[0]!r}."
        )
    if keep is not None and len(ids) > len(set(ids)):
        twice = next(one for one in ids if ids.count(one) > 1)
        raise DataError(
            f"--films: several films are called {twice!r}. Give one --data, or films with ids."
        )
    return films, ids


def _labelled_by_prior(
    command: LearnTokenCommand, films: list[Record], *, pixels: int
) -> list[Record]:
    """Films with masks of a prior in place of experts'.

    Raises:
        ConfigError: the file has no prior of the class.
    """
    assert command.prior_file is not None and command.name is not None
    priors = load_priors(command.prior_file)
    if command.name not in priors:
        raise ConfigError(
            f"{command.prior_file}: no class {command.name!r}; it has {', '.join(priors)}."
        )
    seen = [whole(film.image, pixels=pixels) for film in films]
    return [Record(image, "", prior_mask(image, priors[command.name])) for image in seen]
