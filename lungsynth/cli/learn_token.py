"""`python -m lungsynth learn-token`."""

from __future__ import annotations

from pathlib import Path

import click


@click.command("learn-token")
@click.option("--data", "sources", metavar="SOURCE", multiple=True, required=True,
              help="Source with an image and a mask column; repeat for several.")
@click.option("--class", "name", required=True, metavar="NAME", help="Name of the class.")
@click.option("--id", "class_id", type=click.IntRange(1, 254), required=True,
              help="Value of the class in masks.")
@click.option("--k", type=click.IntRange(min=1), default=1, show_default=True,
              help="Annotated films used, spread evenly over the sources.")
@click.option("--side", type=click.Choice(["both", "left", "right"]), default="both",
              show_default=True, help="Take one (the patient's) side of a paired organ's mask.")
@click.option("--checkpoint", type=click.Path(path_type=Path, file_okay=False, exists=True),
              required=True, metavar="DIR", help="Checkpoint the token is learnt on and written to.")
@click.option("--image-column", default="image", show_default=True, metavar="NAME")
@click.option("--mask-column", default="mask", show_default=True, metavar="NAME")
@click.option("--split", default="train", show_default=True, metavar="NAME", help="'' takes every row.")
@click.option("--foreground", type=click.IntRange(0, 255), default=255, show_default=True)
@click.option("--ignore", type=click.IntRange(0, 255), default=127, show_default=True)
@click.option("--n-parts", type=click.IntRange(min=1), default=1, show_default=True,
              help="Connected parts the class may have.")
@click.option("--convention", default="", metavar="TEXT", help="What the masks count; kept with the token.")
@click.option("--seed", type=click.IntRange(min=0), default=0, show_default=True)
@click.option("--quiet", is_flag=True)
def learn_token_command(
    sources: tuple[str, ...], name: str, class_id: int, k: int, side: str, checkpoint: Path,
    image_column: str, mask_column: str, split: str, foreground: int, ignore: int, n_parts: int,
    convention: str, seed: int, quiet: bool,
) -> None:  # fmt: skip
    """Learn a class token from K annotated films, on a frozen checkpoint.

    \b
    python -m lungsynth learn-token --data films.parquet --class "left lung" --side left --id 1 \\
        --k 5 --checkpoint runs/diffusion/pipeline
    """
    import numpy as np

    from lungsynth.checkpoint import load_pipeline
    from lungsynth.data import read_records
    from lungsynth.errors import DataError
    from lungsynth.learning import LearnOptions, add_to_checkpoint, learn_from_films

    pipe, _ = load_pipeline(str(checkpoint))
    rng = np.random.default_rng(seed)
    films, ids = [], []
    for index, source in enumerate(sources):
        share = k // len(sources) + (index < k % len(sources))
        if not share:
            continue
        rows = list(read_records(source, image_column=image_column, mask_column=mask_column,
                                 text_column=None, split=split or None))  # fmt: skip
        if len(rows) < share:
            raise DataError(f"{source}: {len(rows)} annotated films, {share} are needed.")
        chosen = [rows[i] for i in rng.choice(len(rows), share, replace=False)]
        films += chosen
        ids += [film.fields.get("id", "") for film in chosen]
    options = LearnOptions(side=side, foreground=foreground, ignore=ignore, seed=seed)
    token = learn_from_films(
        pipe, name, films, options, quiet=quiet,
        info={"convention": convention, "films": ",".join(ids), "seed": str(seed)},
    )  # fmt: skip
    click.echo(str(add_to_checkpoint(token, checkpoint, class_id=class_id, n_parts=n_parts)))
