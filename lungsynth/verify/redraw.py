"""Reject and redraw: a picture the verifier rejects is drawn again, a bounded number of times."""

from __future__ import annotations

import hashlib
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, Generic, TypeVar

from lungsynth.arrays import UInt8Array
from lungsynth.model.checkpoint import resolve
from lungsynth.verify.verifier import Verifier, load_verifier, verifier_folder

T = TypeVar("T")

SEED_BITS = 48
"""Of derived seeds: a browser keeps them exactly, and so does a link."""


@dataclass(frozen=True, slots=True)
class Attempt:
    """One drawing that was judged."""

    seed: int
    reasons: tuple[str, ...]  # () = accepted
    distance: float


@dataclass(frozen=True, slots=True)
class Kept(Generic[T]):
    """The drawing that was kept, and what was drawn on the way."""

    value: T
    seed: int  # it was drawn with
    asked_seed: int
    asked: Mapping[str, str]
    attempts: tuple[Attempt, ...]  # in order; the kept one is among them

    @property
    def accepted(self) -> bool:
        """False where every drawing was rejected, and the one with the fewest reasons was kept."""
        return not self.attempts[-1].reasons

    def report(self, verifier: Verifier) -> dict[str, Any]:
        """What a record says under `verify`."""
        return {
            **verifier.report(),
            "asked": dict(self.asked),
            "asked_seed": self.asked_seed,
            "accepted": self.accepted,
            "attempts": [
                {"seed": one.seed, "reasons": list(one.reasons), "distance": one.distance}
                for one in self.attempts
            ],
        }

    def lines(self) -> list[str]:
        """A line of a log for each drawing that was rejected."""
        return [
            f"rejected seed {one.seed}: {', '.join(one.reasons)}"
            for one in self.attempts
            if one.reasons
        ]


def derived_seed(seed: int, attempt: int) -> int:
    """The seed of attempt k: the asked one for the first, then one hashed from both."""
    if attempt == 0:
        return seed
    digest = hashlib.sha256(f"lungsynth redraw {seed} {attempt}".encode()).digest()
    return int.from_bytes(digest[:8], "big") >> (64 - SEED_BITS)


def redraw(
    draw: Callable[[Sequence[int], Sequence[int]], Sequence[T]],
    image_of: Callable[[T], UInt8Array],
    seeds: Sequence[int],
    asked: Sequence[Mapping[str, str]],
    verifier: Verifier,
    n_redraws: int,
    *,
    batch_size: int = 1,
) -> Iterator[Kept[T]]:
    """Draw one picture per seed; what is rejected is drawn again with a derived seed.

    Whether a picture is kept depends on what it was asked for and its seed, not on others of a batch.

    Args:
        draw: (indices of what is asked, their seeds) -> as many drawings.
        image_of: A drawing's picture, (H, W) uint8.
        seeds: N, one a picture.
        asked: N mappings of what each is to show; see `lungsynth.verify.asked`.
        verifier: Who judges.
        n_redraws: At most so many drawings after the first.
        batch_size: Pictures begun together.

    Yields:
        In order. Where every drawing was rejected, the one with the fewest reasons, the earliest of
        those.
    """
    for start in range(0, len(seeds), batch_size):
        part = range(start, min(start + batch_size, len(seeds)))
        attempts: dict[int, list[Attempt]] = {k: [] for k in part}
        best: dict[int, tuple[int, int, T]] = {}  # fewest reasons so far, seed, drawing
        waiting = list(part)
        for attempt in range(n_redraws + 1):
            own = [derived_seed(int(seeds[k]), attempt) for k in waiting]
            for k, seed, drawn in zip(waiting, own, draw(waiting, own), strict=True):
                (verdict,) = verifier.verdicts(image_of(drawn)[None], [asked[k]])
                attempts[k].append(Attempt(seed, verdict.reasons, verdict.distance))
                if k not in best or len(verdict.reasons) < best[k][0]:
                    best[k] = (len(verdict.reasons), seed, drawn)
            waiting = [k for k in waiting if best[k][0] > 0]
            if not waiting:
                break
        for k in part:
            _, seed, value = best[k]
            yield Kept(value, seed, int(seeds[k]), asked[k], tuple(attempts[k]))


@dataclass(slots=True)
class Tally:
    """How often drawings were rejected, over a run."""

    n: int = 0  # pictures
    n_drawn: int = 0
    n_rejected: int = 0  # drawings
    n_unmet: int = 0  # pictures whose every drawing was rejected

    def add(self, kept: Kept[Any]) -> None:
        """Count one picture."""
        self.n += 1
        self.n_drawn += len(kept.attempts)
        self.n_rejected += sum(bool(one.reasons) for one in kept.attempts)
        self.n_unmet += not kept.accepted

    def sentence(self) -> str:
        """The rate, in one sentence."""
        share = 100 * self.n_rejected / max(self.n_drawn, 1)
        return (
            f"{self.n_rejected} of {self.n_drawn} drawings rejected ({share:.0f} %); of {self.n} pictures "
            f"{self.n_unmet} kept although every drawing was rejected."
        )


@dataclass(frozen=True, slots=True)
class Rejection:
    """Who rejects, how often a picture is drawn again, and how often that came to be."""

    verifier: Verifier
    n_redraws: int
    tally: Tally = field(default_factory=Tally)

    @classmethod
    def of(cls, folder: Path | None, model: str | None, n_redraws: int) -> Rejection:
        """By the verifier in a folder; None for the one that is shipped with a checkpoint.

        Raises:
            ConfigError, CheckpointError: see `verifier_folder` and `load_verifier`.
        """
        place = verifier_folder(folder, Path(resolve(model)))
        return cls(load_verifier(place), n_redraws)
