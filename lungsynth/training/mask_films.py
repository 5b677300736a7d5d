"""Films to train mask networks on: expert masks where there are any, the chain's own for the others."""

from __future__ import annotations

from collections.abc import Callable, Container, Iterator, Sequence
from dataclasses import dataclass, replace
from itertools import count

import numpy as np
from tqdm import tqdm

from lungsynth.arrays import FloatArray, UInt8Array
from lungsynth.errors import ConfigError, DataError
from lungsynth.films.data import Record, open_source, read_records
from lungsynth.films.film import pixels_sha256
from lungsynth.films.framing import whole
from lungsynth.masks.chain import apply_stages
from lungsynth.masks.classes import ClassSpec
from lungsynth.masks.fusion import area_mean
from lungsynth.masks.reading import no_word, read
from lungsynth.masks.refine import RefineConfig
from lungsynth.model.backbone import embed_prompts, encode_images, side_pixels
from lungsynth.pipeline import Synthesizer
from lungsynth.training.student import SURE, TARGET_STRIDE, MaskFilms, to_targets
from lungsynth.training.tokens import LearnOptions, to_target

ANNOTATED_SHARE = 0.5
"""How often an annotated film is drawn, where there are others too."""


@dataclass(frozen=True)
class Annotated:
    """Expert masks of one source, drawn by one convention."""

    source: str
    convention: str  # see `lungsynth.masks.classes.load_classes`; "" = the checkpoint's first
    k: int | None = None  # films used, chosen by the seed; None = all

    @classmethod
    def parse(cls, text: str) -> Annotated:
        """`[CONVENTION=]SOURCE[@K]`.

        Raises:
            ConfigError: K is no number of at least 1.
        """
        convention, equals, rest = text.partition("=")
        if not equals:
            convention, rest = "", text
        source, at, k = rest.rpartition("@")
        if not at:
            return cls(rest, convention)
        if not k.isdigit() or int(k) < 1:
            raise ConfigError(
                f"--annotated {text}: {k!r} is no number of films; expected SOURCE@24."
            )
        return cls(source, convention, int(k))


def read_annotated(
    what: Annotated, specs: Sequence[ClassSpec], *, pixels: int, split: str | None, seed: int
) -> tuple[list[UInt8Array], list[list[UInt8Array]], list[Record]]:
    """Films, their regions (one a class: 1, 0, 255 = not counted) and their records.

    Raises:
        DataError: fewer films than `k`, or a class without a learnt token.
    """
    rows = list(read_records(what.source, mask_column="mask", text_column=None, split=split))
    if what.k is not None:
        if len(rows) < what.k:
            raise DataError(f"{what.source}: {len(rows)} annotated films, {what.k} are needed.")
        chosen = np.sort(np.random.default_rng(seed).choice(len(rows), what.k, replace=False))
        rows = [rows[i] for i in chosen]
    images = [whole(row.image, pixels=pixels) for row in rows]
    return images, regions_of_all(rows, specs, pixels=pixels, source=what.source), rows


def regions_of_all(
    rows: Sequence[Record], specs: Sequence[ClassSpec], *, pixels: int, source: str
) -> list[list[UInt8Array]]:
    """`regions_of` each film.

    Raises:
        DataError: no film has a class: its masks were drawn by another convention.
    """
    regions = [regions_of(row, specs, pixels=pixels) for row in rows]
    for k, spec in enumerate(specs):
        if rows and not any((region[k] == 1).any() for region in regions):
            values = sorted({int(v) for row in rows[:50] for v in np.unique(np.asarray(row.mask))})
            options = _read_as(spec)
            raise DataError(
                f"{source}: none of {len(rows)} masks holds {spec.name!r}. It is read as value "
                f"{options.foreground}, {options.side} side{'s' * (options.side == 'both')}; "
                f"the masks hold {values}. "
                "Name the convention they were drawn by: CONVENTION=SOURCE."
            )
    return regions


def regions_of(row: Record, specs: Sequence[ClassSpec], *, pixels: int) -> list[UInt8Array]:
    """Of each class, (P, P): 1 class, 0 not, 255 = not counted, as its token read the mask."""
    if row.mask is None:
        raise DataError(f"Film {row.fields.get('id', '')} has no mask.")
    return [
        whole(to_target(row.mask, _read_as(spec)), pixels=pixels, nearest=True) for spec in specs
    ]


def _read_as(spec: ClassSpec) -> LearnOptions:
    """How the token of a class read masks."""
    info = spec.token.info if spec.token else {}
    return LearnOptions(
        side=info.get("side", "both"), foreground=int(info.get("foreground", "255"))
    )


def read_films(
    source: str,
    *,
    pixels: int,
    split: str | None,
    limit: int | None,
    rng: np.random.Generator,
    known: Container[str] = (),
) -> list[UInt8Array]:
    """Films of a source shown whole, (pixels, pixels), at most `limit` drawn in their old order.

    Args:
        source: See `lungsynth.films.data.open_source`.
        pixels: Side.
        split: Value of the `split` column; None takes every row.
        limit: None takes all.
        rng: Source of randomness.
        known: `pixels_sha256` of films to leave out: what is annotated is never labelled too.
    """
    films = [
        whole(r.image, pixels=pixels) for r in read_records(source, text_column=None, split=split)
    ]
    if known:
        films = [film for film in films if pixels_sha256(film) not in known]
    if limit is not None and len(films) > limit:
        films = [films[i] for i in np.sort(rng.choice(len(films), limit, replace=False))]
    return films


def film_probabilities(
    synthesizer: Synthesizer,
    images: Sequence[UInt8Array],
    groups: Sequence[Sequence[ClassSpec]],
    *,
    config: RefineConfig,
    seed: int = 0,
    quiet: bool = False,
) -> Iterator[list[FloatArray]]:
    """Film after film, the class probability (classes + 1, P, P) of each group, not refined.

    It is that of attention, mixed with the synthesizer's student where `config.student_weight` is
    above 0 and the student knows the classes. Tokens of all groups are read in one pass.
    """
    numbers = count(1)
    numbered = [[replace(spec, id=next(numbers)) for spec in group] for group in groups]
    pipe, before = synthesizer.pipe, synthesizer.classes
    plain = replace(config, method="none")
    try:
        for start in tqdm(range(0, len(images), 16), desc="labelling", disable=quiet):
            some = np.stack(images[start : start + 16])
            embeddings = embed_prompts(pipe, [""]).expand(len(some), -1, -1)
            seeds = [seed + start + i for i in range(len(some))]
            synthesizer.classes = [spec for group in numbered for spec in group]
            logits = synthesizer.read_tokens(encode_images(pipe, some), embeddings, seeds)
            synthesizer.classes = before
            for index, image in enumerate(some):
                aids = synthesizer.aids(image, plain)
                yield [
                    apply_stages(
                        read(group, logits, index, no_word, plain), image, group, plain, aids
                    ).evidence
                    for group in numbered
                ]
    finally:
        synthesizer.classes = before


def label_films(
    synthesizer: Synthesizer,
    images: Sequence[UInt8Array],
    groups: Sequence[Sequence[ClassSpec]],
    *,
    config: RefineConfig,
    seed: int = 0,
    quiet: bool = False,
) -> FloatArray:
    """(N, classes of all groups, P / 2, P / 2) probability, from tokens and the student if there is one."""
    out = []
    for found in film_probabilities(
        synthesizer, images, groups, config=config, seed=seed, quiet=quiet
    ):
        p = np.concatenate([one[1:] for one in found])
        out.append(area_mean(p, *(side // TARGET_STRIDE for side in p.shape[1:])))
    return np.stack(out).astype(np.float32)


@dataclass(frozen=True)
class Sources:
    """Films to read; their masks, if they have any, are not looked at."""

    names: Sequence[str]  # see `lungsynth.films.data.open_source`
    split: str | None  # value of the `split` column; None takes every row
    limit: int | None = None  # at most so many films of each


def gather(
    synthesizer: Synthesizer,
    classes: Callable[[str], Sequence[ClassSpec]],
    annotated: Sequence[Annotated],
    sources: Sources,
    *,
    config: RefineConfig,
    seed: int = 0,
    quiet: bool = False,
) -> MaskFilms:
    """Read expert masks, then label other films by the chain.

    Args:
        synthesizer: A checkpoint with class tokens.
        classes: Convention -> its classes.
        annotated: Expert masks; none is label-free (but for what the tokens were learnt from).
        sources: Films to label.
        config: `student_weight` decides what a teacher counts beside the tokens.
        seed: Of every choice.
        quiet: No progress bar.

    Returns:
        Where both kinds are there, an annotated film is drawn as often as `ANNOTATED_SHARE` says.

    Raises:
        DataError, ConfigError: nothing to train on; see `read_annotated`.
    """
    if not annotated and not sources.names:
        raise ConfigError("Nothing to learn from: give --annotated, --data, or both.")
    pixels = side_pixels(synthesizer.pipe)
    by_convention = {
        c: list(classes(c)) for c in dict.fromkeys([a.convention for a in annotated] or [""])
    }
    specs = [spec for group in by_convention.values() for spec in group]
    if not specs or any(spec.token is None for spec in specs):
        raise DataError(
            f"Checkpoint {synthesizer.name!r} lacks class tokens; run `learn-token` first."
        )
    outputs = [spec.output for spec in specs]
    images: list[UInt8Array] = []
    targets: list[UInt8Array] = []
    weights: list[float] = []
    ids: list[str] = []
    for what in annotated:
        own = by_convention[what.convention]
        films, regions, rows = read_annotated(
            what, own, pixels=pixels, split=split_of(what, sources.split), seed=seed
        )
        images += films
        ids += [row.fields.get("id", "") for row in rows]
        empty = np.zeros((0,), np.uint8)
        for one in regions:
            found = dict(zip([s.output for s in own], one, strict=True))
            targets.append(to_targets([found.get(name, empty) for name in outputs]))
        share = ANNOTATED_SHARE if sources.names else 1.0
        weights += [share / len(annotated) / len(films)] * len(films)
    n_annotated, rng = len(images), np.random.default_rng(seed)
    known = {pixels_sha256(film) for film in images}
    for source in sources.names:
        films = read_films(
            source, pixels=pixels, split=sources.split, limit=sources.limit, rng=rng, known=known
        )
        if not films:
            raise DataError(f"{source}: every film is among the annotated ones.")
        p = label_films(
            synthesizer, films, list(by_convention.values()), config=config, seed=seed, quiet=quiet
        )
        images += films
        targets += list(np.round(p * SURE).astype(np.uint8))
        share = 1 - ANNOTATED_SHARE if annotated else 1.0
        weights += [share / len(sources.names) / len(films)] * len(films)
    return MaskFilms(
        np.stack(images), np.stack(targets), outputs, np.array(weights), n_annotated, ids
    )


def split_of(what: Annotated, split: str | None) -> str | None:
    """The split to read of an annotated source: None for a folder of hand-made masks without one."""
    return split if "split" in open_source(what.source).column_names else None
