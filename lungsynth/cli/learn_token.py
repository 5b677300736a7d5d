"""`python -m lungsynth learn-token`."""

from __future__ import annotations

import re
from pathlib import Path

import click


@click.command("learn-token")
@click.option(
    "--data",
    "sources",
    metavar="SOURCE",
    multiple=True,
    required=True,
    help="Source with an image and a mask column; repeat for several.",
)
@click.option("--class", "name", default=None, metavar="NAME", help="Name of the class.")
@click.option(
    "--id",
    "class_id",
    type=click.IntRange(1, 254),
    default=None,
    help="Value of the class in masks.",
)
@click.option(
    "--k",
    type=click.IntRange(min=1),
    default=1,
    show_default=True,
    help="Annotated films used, spread evenly over the sources.",
)
@click.option(
    "--side",
    type=click.Choice(["both", "left", "right"]),
    default="both",
    show_default=True,
    help="Take one (the patient's) side of a paired organ's mask.",
)
@click.option(
    "--checkpoint",
    type=click.Path(path_type=Path, file_okay=False, exists=True),
    required=True,
    metavar="DIR",
    help="Checkpoint the token is learnt on and written to.",
)
@click.option("--image-column", default="image", show_default=True, metavar="NAME")
@click.option("--mask-column", default="mask", show_default=True, metavar="NAME")
@click.option(
    "--split", default="train", show_default=True, metavar="NAME", help="'' takes every row."
)
@click.option("--foreground", type=click.IntRange(0, 255), default=255, show_default=True)
@click.option("--ignore", type=click.IntRange(0, 255), default=127, show_default=True)
@click.option(
    "--n-parts",
    type=click.IntRange(min=1),
    default=1,
    show_default=True,
    help="Connected parts the class may have.",
)
@click.option(
    "--films",
    "wanted",
    default=None,
    metavar="ID,ID…",
    help="Use the films with these ids instead of choosing K by the seed.",
)
@click.option(
    "--convention",
    default="",
    metavar="NAME",
    help="By whose rule the masks are drawn, such as v7; a second one of a checkpoint goes "
    "to classes-NAME.json.",
)
@click.option(
    "--out",
    type=click.Path(path_type=Path, dir_okay=False),
    default=None,
    metavar="FILE",
    help="Write the token to this safetensors file and leave the checkpoint as it is.",
)
@click.option(
    "--prior",
    "prior_file",
    type=click.Path(path_type=Path, dir_okay=False, exists=True),
    default=None,
    metavar="FILE",
    help="Label-free: read no mask; label K films by this file's prior of the class.",
)
@click.option(
    "--suggest",
    is_flag=True,
    help="Learn nothing: print the ids of the K films that are most worth annotating.",
)
@click.option("--seed", type=click.IntRange(min=0), default=0, show_default=True)
@click.option("--quiet", is_flag=True)
def learn_token_command(
    sources: tuple[str, ...],
    name: str | None,
    class_id: int | None,
    k: int,
    side: str,
    checkpoint: Path,
    image_column: str,
    mask_column: str,
    split: str,
    foreground: int,
    ignore: int,
    n_parts: int,
    wanted: str | None,
    convention: str,
    out: Path | None,
    prior_file: Path | None,
    suggest: bool,
    seed: int,
    quiet: bool,
) -> None:
    """Learn a class token from K annotated films, on a frozen checkpoint.

    \b
    python -m lungsynth learn-token --data films.parquet --k 5 --suggest --checkpoint CHECKPOINT
    python -m lungsynth learn-token --data films.parquet --class "left lung" --side left --id 1 \\
        --k 5 --checkpoint CHECKPOINT
    """
    import numpy as np

    from lungsynth.errors import ConfigError, DataError
    from lungsynth.films.data import Record, read_records
    from lungsynth.films.framing import whole
    from lungsynth.model.backbone import side_pixels
    from lungsynth.model.checkpoint import load_pipeline
    from lungsynth.training.prior import load_priors, prior_mask
    from lungsynth.training.tokens import (
        LearnOptions,
        add_to_checkpoint,
        learn_from_films,
        suggest_films,
    )

    if not suggest and (name is None or (class_id is None and out is None)):
        raise ConfigError("Give --class and --id (or --out), or --suggest to choose films first.")
    if convention and not re.fullmatch(r"[A-Za-z0-9_]+", convention):
        raise ConfigError(f"--convention {convention!r}: expected letters, digits and _ only.")
    pipe, _ = load_pipeline(str(checkpoint))
    if suggest:
        pixels = side_pixels(pipe)
        films = [
            film
            for source in sources
            for film in read_records(
                source, image_column=image_column, text_column=None, split=split or None
            )
        ]
        squares = np.stack([whole(film.image, pixels=pixels) for film in films])
        for index in suggest_films(pipe, squares, k, seed=seed, quiet=quiet):
            click.echo(films[index].fields.get("id") or f"row {index}")
        return
    assert name is not None
    keep = None if wanted is None else [one.strip() for one in wanted.split(",") if one.strip()]
    rng = np.random.default_rng(seed)
    films, ids = [], []
    for index, source in enumerate(sources):
        share = k // len(sources) + (index < k % len(sources))
        if not share and keep is None:
            continue
        rows = list(
            read_records(
                source,
                image_column=image_column,
                mask_column=None if prior_file else mask_column,
                text_column=None,
                split=split or None,
            )
        )
        if keep is not None:
            chosen = [row for row in rows if row.fields.get("id") in keep]
        elif len(rows) < share:
            raise DataError(f"{source}: {len(rows)} annotated films, {share} are needed.")
        else:
            chosen = [rows[i] for i in rng.choice(len(rows), share, replace=False)]
        films += chosen
        ids += [film.fields.get("id", "") for film in chosen]
    if keep is not None and set(keep) - set(ids):
        raise DataError(
            f"--films: no annotated film has the id {sorted(set(keep) - set(ids))[0]!r}."
        )
    info = {"convention": convention, "films": ",".join(ids), "seed": str(seed)}
    if prior_file is not None:
        priors = load_priors(prior_file)
        if name not in priors:
            raise ConfigError(f"{prior_file}: no class {name!r}; it has {', '.join(priors)}.")
        pixels = side_pixels(pipe)
        seen = [whole(film.image, pixels=pixels) for film in films]
        films = [Record(image, "", prior_mask(image, priors[name])) for image in seen]
        side, foreground, ignore = "both", 255, 127
        info |= {"label_free": "true", "prior": prior_file.name, "shots": "0"}
    options = LearnOptions(side=side, foreground=foreground, ignore=ignore, seed=seed)
    token = learn_from_films(pipe, name, films, options, quiet=quiet, info=info)
    if out is not None:
        token.save(out)
        click.echo(str(out))
    if class_id is not None and out is None:
        click.echo(
            str(
                add_to_checkpoint(
                    token, checkpoint, class_id=class_id, n_parts=n_parts, convention=convention
                )
            )
        )
