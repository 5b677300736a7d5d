"""How often the film check is wrong: on films as they are, moved and inverted, and on other pictures."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

import numpy as np
from tqdm import tqdm

from lungsynth.arrays import UInt8Array
from lungsynth.films.data import read_records
from lungsynth.films.moves import Move
from lungsynth.model.film_check import MIRRORED, SURE
from lungsynth.model.put_right import Righted, put_right
from lungsynth.training.film_check.no_films import DRAWN, cropped, dismantled, to_square

WAYS = {
    "inverted": Move(inverted=True),
    "turned by 90°": Move(1),
    "turned by 180°": Move(2),
    "turned by 270°": Move(3),
    "turned by 90°, inverted": Move(1, inverted=True),
    "turned by 180°, inverted": Move(2, inverted=True),
    "turned by 270°, inverted": Move(3, inverted=True),
}
"""What is done to every film; the check must find and undo it."""


@dataclass(slots=True)
class Count:
    """Films of one set shown in one way."""

    films: int = 0
    caught: int = 0  # found to lie so, whether put right or not
    put_right: int = 0  # pixel for pixel the film that was moved

    def add(self, *, caught: bool, right: bool) -> None:
        """Count one film."""
        self.films += 1
        self.caught += caught
        self.put_right += right


def apply(move: Move, image: UInt8Array) -> UInt8Array:
    """An upright film as it looks after a move."""
    out = move.back(image)
    return np.ascontiguousarray(255 - out) if move.inverted else out


def false_alarm(righted: Righted) -> bool:
    """Whether a film that is in order is moved, inverted, or warned of."""
    return not righted.move.nothing or bool(righted.warnings)


def measure_films(
    films: Mapping[str, Sequence[UInt8Array]],
    *,
    n_moved: int | None = None,
    folder: Path | None = None,
    quiet: bool = True,
) -> dict[str, Any]:
    """Count both kinds of error on films that lie as they should.

    Args:
        films: Set -> films, each (H, W) grey uint8.
        n_moved: Films of each set that are shown turned and inverted too; None is all.
        folder: Network of `train film-check`; None is the shipped one.
        quiet: No progress bar.

    Returns:
        Set -> way -> `Count` as a dict; "as it is" counts `caught` where a film in order was moved
        or warned of (a false alarm), "mirrored" where mirroring would be warned of.
    """
    out: dict[str, Any] = {}
    n = sum(len(some) for some in films.values())
    with tqdm(total=n, unit="film", disable=quiet, desc="film check", mininterval=2) as bar:
        for name, some in films.items():
            counts = {way: Count() for way in ("as it is", *WAYS, "mirrored")}
            for index, image in enumerate(some):
                plain = put_right(image, folder=folder)
                counts["as it is"].add(caught=false_alarm(plain), right=plain.move.nothing)
                for way, move in WAYS.items() if n_moved is None or index < n_moved else ():
                    righted = put_right(apply(move, image), folder=folder)
                    counts[way].add(
                        caught=righted.move == move or bool(righted.warnings),
                        right=np.array_equal(righted.image, image),
                    )
                # sixteen views: a mirrored film's answer is the film's own, with its sign changed
                caught = 1 - plain.check.mirrored >= MIRRORED and plain.check.frontal >= SURE
                counts["mirrored"].add(caught=caught, right=False)
                bar.update()
            out[name] = {way: asdict(count) for way, count in counts.items()}
    return out


def other_pictures(
    pictures: Mapping[str, UInt8Array], films: Sequence[UInt8Array], *, n: int, seed: int
) -> Iterator[tuple[str, UInt8Array]]:
    """Kind and picture: `n` of each drawn kind, `n` crops of pictures, `n` of films taken apart."""
    rng = np.random.default_rng((seed, 0xE7A))
    for draw in dict.fromkeys(DRAWN):
        for _ in range(n):
            yield draw.__name__, draw(rng)
    names = sorted(pictures)
    for i in range(n if names else 0):
        yield "photograph or scan", cropped(pictures[names[i % len(names)]], rng)
    for i in range(n if len(films) else 0):
        yield "film taken apart", dismantled(to_square(films[i % len(films)]), rng)


def measure_others(
    others: Iterator[tuple[str, UInt8Array]], *, folder: Path | None = None
) -> dict[str, Any]:
    """Kind -> `Count` as a dict: `caught` where the picture was found to be no chest film."""
    counts: dict[str, Count] = {}
    for kind, picture in others:
        righted = put_right(picture, folder=folder)
        told = righted.check.frontal < 0.5 or bool(righted.warnings)
        counts.setdefault(kind, Count()).add(caught=told, right=False)
    return {kind: asdict(count) for kind, count in counts.items()}


def totals(sets: Mapping[str, Mapping[str, Mapping[str, int]]]) -> dict[str, dict[str, int]]:
    """Sums over sets, way by way."""
    out: dict[str, dict[str, int]] = {}
    for ways in sets.values():
        for way, counts in ways.items():
            into = out.setdefault(way, dict.fromkeys(counts, 0))
            for key, value in counts.items():
                into[key] += value
    return out


def report(sets: Mapping[str, Any], others: Mapping[str, Any]) -> str:
    """The counts as a table in Markdown."""
    lines = ["| what is shown | pictures | told | put right |", "|---|---|---|---|"]
    for set_name, ways in [*sets.items(), ("all films", totals(sets)), ("no chest film", others)]:
        for way, c in ways.items():
            lines.append(
                f"| {set_name}: {way} | {c['films']} | {c['caught']} ({_share(c['caught'], c['films'])}) "
                f"| {c['put_right']} |"
            )
    return "\n".join(lines) + "\n"


def _share(part: int, whole: int) -> str:
    return f"{100 * part / max(whole, 1):.2f} %"


def read_test_films(
    sources: Sequence[str], *, split: str | None, limit: int | None, seed: int
) -> dict[str, list[UInt8Array]]:
    """Set -> films of a split, whole and of their own size.

    Raises:
        DataError: a source cannot be read, or has no such row.
    """
    return {
        Path(source).stem: [
            row.image
            for row in read_records(
                source,
                text_column=None,
                split=split,
                limit=limit,
                order_seed=seed if limit is not None else None,
            )
        ]
        for source in sources
    }
