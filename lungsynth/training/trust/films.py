"""Which films and pictures trust is fitted on, and tested on."""

from __future__ import annotations

import json
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np

from lungsynth.films.data import Record, read_records
from lungsynth.masks.classes import ClassSpec, load_classes
from lungsynth.masks.student import CONFIG_NAME, STUDENT_FOLDER
from lungsynth.model.backbone import side_pixels
from lungsynth.pipeline import Synthesizer
from lungsynth.training.mask_films import Annotated, read_films, regions_of_all, split_of
from lungsynth.training.trust.fit import fit_all_shapes
from lungsynth.training.trust.samples import (
    Picture,
    Sample,
    broken,
    film_pictures,
    gather_samples,
    no_films,
)
from lungsynth.trust.score import load_trust
from lungsynth.trust.shape import ShapeModel

SHAPE_FILMS = 300
"""Expert masks read for the shapes of one source at most: they need no reading by the model."""


@dataclass(frozen=True, kw_only=True)
class TrustFilms:
    """Options of `train trust`; see its help."""

    annotated: Sequence[str]
    sources: Sequence[str] = ()
    limit: int = 120
    n_broken: int = 20
    n_no_films: int = 48
    split: str = "train"
    seed: int = 0
    shapes: Path | None = None  # fitted trust whose shapes are kept


def student_films(checkpoint: Path) -> set[str]:
    """Ids of the expert masks a checkpoint's student was trained on."""
    path = checkpoint / STUDENT_FOLDER / CONFIG_NAME
    if not path.is_file():
        return set()
    info = json.loads(path.read_text(encoding="utf-8")).get("info", {})
    return {one for one in str(info.get("annotated", "")).split(",") if one}


def chosen_records(
    what: Annotated, *, split: str | None, known: set[str], seed: int
) -> tuple[list[Record], list[Record]]:
    """Films to judge, at most `what.k`, unknown to the student first; and more, for shapes alone.

    Rows are read in an order drawn with the seed, and no further than they are needed.
    """
    new: list[Record] = []
    rest: list[Record] = []
    for row in read_records(
        what.source,
        mask_column="mask",
        text_column=None,
        split=split_of(what, split),
        order_seed=seed,
    ):
        wanted = what.k is None or len(new) < what.k
        if wanted and row.fields.get("id", "") not in known:
            new.append(row)
        elif len(rest) < SHAPE_FILMS or what.k is None:
            rest.append(row)
        elif not wanted:
            break
    more = len(rest) if what.k is None else max(what.k - len(new), 0)
    return [*new, *rest[:more]], rest[more:]


def gather_for_trust(
    synthesizer: Synthesizer, checkpoint: Path, films: TrustFilms, *, quiet: bool = False
) -> tuple[list[Sample], dict[str, ShapeModel]]:
    """Samples to fit trust on, and the shapes that are usual.

    Raises:
        DataError, ConfigError: a source cannot be read, or names classes that are not there.
        CheckpointError: the trust whose shapes are to be kept cannot be read.
    """
    kept = load_trust(films.shapes).shapes if films.shapes else None
    pixels = side_pixels(synthesizer.pipe)
    sets: dict[str, list[ClassSpec]] = {}
    judged: dict[str, list[Picture]] = {}
    shaped: dict[str, list[Picture]] = {}
    known = student_films(checkpoint)
    for text in films.annotated:
        what = Annotated.parse(text)
        specs = sets.setdefault(what.convention, load_classes(checkpoint, what.convention or None))
        first, more = chosen_records(what, split=films.split or None, known=known, seed=films.seed)
        made = [
            film_pictures(
                rows,
                regions_of_all(rows, specs, pixels=pixels, source=what.source),
                specs,
                pixels=pixels,
                source=Path(what.source).stem,
            )
            for rows in (first, more)
        ]
        judged.setdefault(what.convention, []).extend(made[0])
        shaped.setdefault(what.convention, []).extend([*made[0], *made[1]])
    rng = np.random.default_rng(films.seed)
    others = (
        [
            film
            for source in films.sources
            for film in read_films(
                source, pixels=pixels, split=films.split or None, limit=films.limit, rng=rng
            )
        ]
        if films.limit and kept is None
        else []
    )
    shapes = (
        fit_all_shapes(synthesizer, shaped, others, sets, quiet=quiet)
        if kept is None
        else dict(kept)
    )
    samples: list[Sample] = []
    for name, pictures in judged.items():
        every = [
            *pictures,
            *broken(pictures, films.n_broken),
            *no_films(films.n_no_films // len(judged), pixels, seed=films.seed),
        ]
        samples += gather_samples(
            synthesizer, every, sets[name], shapes, seed=films.seed, quiet=quiet
        )
    return samples, shapes
