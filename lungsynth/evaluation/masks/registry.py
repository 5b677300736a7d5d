"""What rivals are made from, and where they register."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass, field

import numpy as np

from lungsynth.arrays import IGNORE, UInt8Array
from lungsynth.errors import DataError
from lungsynth.evaluation.masks.figures import ALL, TruthSpec
from lungsynth.evaluation.masks.reading import Rival
from lungsynth.films.data import Record
from lungsynth.films.framing import whole
from lungsynth.pipeline import Synthesizer


@dataclass
class RivalContext:
    """What rivals are made from."""

    synthesizer: Synthesizer
    pixels: int  # P, side of the square
    truth: TruthSpec
    train: Sequence[Record] = ()  # annotated films of the train split; none was tested on
    n_parts: int = 2  # parts the counted classes have together
    word: str = ""  # the class as a word of a prompt
    shots: int = 1  # annotated films a learning rival is given
    steps: int = 250  # training steps of the U-Net
    seed: int = 0
    quiet: bool = True
    facts: dict[str, object] = field(default_factory=dict)  # filled in by rivals, for the report

    def need_train(self, name: str) -> Sequence[Record]:
        """The training films.

        Raises:
            DataError: there are none.
        """
        if not self.train:
            raise DataError(
                f"The rival {name!r} learns from annotated films of another split, and there are "
                "none; name one with --rival-split, or leave it out of --rivals."
            )
        return self.train

    def shot_films(self, name: str) -> list[Record]:
        """The `shots` training films every learning rival is given, drawn with the seed."""
        train = self.need_train(name)
        rng = np.random.default_rng(self.seed)
        chosen = rng.choice(len(train), min(self.shots, len(train)), replace=False)
        films = [train[int(i)] for i in chosen]
        self.facts["shot films"] = [f.fields.get("id", "") for f in films]
        return films

    def target(self, record: Record, pixels: int) -> UInt8Array:
        """(pixels, pixels): 1 counted, 0 not, 255 ignored."""
        assert record.mask is not None
        regions, valid = self.truth.regions(whole(record.mask, pixels=pixels, nearest=True))
        return np.where(valid, regions[ALL], IGNORE).astype(np.uint8)


RivalFactory = Callable[[RivalContext], Rival]


RIVALS: dict[str, tuple[str, RivalFactory]] = {}
"""Name on the command line -> (title in tables, factory)."""


def rival(name: str, title: str) -> Callable[[RivalFactory], RivalFactory]:
    """Register a rival under a name and a title."""

    def register(factory: RivalFactory) -> RivalFactory:
        RIVALS[name] = (title, factory)
        return factory

    return register
