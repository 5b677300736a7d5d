"""What the measuring of masks asks of a checkpoint: its square, its classes, what it can run."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator, Sequence
from dataclasses import dataclass, field, replace
from itertools import islice
from typing import Any

from numpy.typing import NDArray
from torch import Tensor

from lungsynth.arrays import UInt8Array
from lungsynth.errors import ConfigError, DataError
from lungsynth.evaluation.masks.figures import TruthSpec
from lungsynth.films.data import Record, read_records
from lungsynth.masks.classes import ClassSpec
from lungsynth.masks.refine import RefineConfig, check_config
from lungsynth.masks.registry import needs_affinity
from lungsynth.masks.tokens import parse_timesteps
from lungsynth.pipeline import Synthesizer


@dataclass(slots=True)
class Batch:
    """Films as the checkpoint and the rivals are given them."""

    images: UInt8Array  # (B, P, P)
    texts: list[str]  # prompts the films are read with
    latents: Tensor  # (B, C, h, w) scaled x_0
    seed: int  # of the noise
    memo: dict[str, Any] = field(default_factory=dict)  # what rivals share within a batch


Rival = Callable[[Batch], NDArray[Any]]
"""Batch -> (B, P, P): bool masks, or a float map in [0, 1] that is then thresholded in every way."""


@dataclass
class RivalContext:
    """What rivals are made from."""

    synthesizer: Synthesizer
    pixels: int  # P, side of the square
    truth: TruthSpec
    train: Sequence[Record] = ()  # annotated films of the train split; none was tested on
    n_parts: int = 2  # parts the counted classes have together
    word: str = ""  # the class as a word of a prompt
    facts: dict[str, object] = field(default_factory=dict)  # filled in by rivals, for the report


def counted_classes(
    specs: Sequence[ClassSpec], truth: TruthSpec, names: Sequence[str] | None
) -> list[ClassSpec]:
    """The checkpoint's classes that make up the foreground.

    Raises:
        ConfigError: a name that the checkpoint does not have.
    """
    wanted = list(names or truth.classes.values() or [s.name for s in specs])
    missing = [n for n in [*wanted, *truth.classes.values()] if n not in {s.name for s in specs}]
    if missing:
        raise ConfigError(
            f"The checkpoint has no class {missing[0]!r}; it has {', '.join(s.name for s in specs)}."
        )
    return [s for s in specs if s.name in wanted]


def usable_methods(
    synthesizer: Synthesizer, methods: Iterable[str], config: RefineConfig
) -> tuple[list[str], dict[str, str]]:
    """Refinements that can run on this checkpoint, and why others cannot.

    Raises:
        ConfigError: unknown name.
    """
    methods = list(methods)
    for method in methods:
        check_config(replace(config, method=method))
    if synthesizer.affinity_field is not None:
        return methods, {}
    why = "the checkpoint has no AffinityNet (`lungsynth train affinity` makes one)"
    return [m for m in methods if not needs_affinity(m)], {
        m: why for m in methods if needs_affinity(m)
    }


def check_tokens(synthesizer: Synthesizer) -> None:
    """Refuse a checkpoint whose classes are not learnt tokens.

    Raises:
        DataError: it has none.
    """
    if not synthesizer.classes or any(spec.token is None for spec in synthesizer.classes):
        raise DataError(
            f"Checkpoint {synthesizer.name!r} has no class tokens; run `learn-token` first."
        )


def class_timesteps(synthesizer: Synthesizer) -> tuple[int, ...]:
    """The timesteps at which the checkpoint's class tokens are read."""
    tokens = [spec.token for spec in synthesizer.classes if spec.token is not None]
    return tuple(sorted({t for token in tokens for t in parse_timesteps(token)}))


def batches(records: Iterable[Record], size: int) -> Iterator[list[Record]]:
    """Records in lists of `size`, the last may be shorter."""
    rest = iter(records)
    while part := list(islice(rest, size)):
        yield part


def read_masked(
    source: str,
    *,
    split: str | None,
    convention: str = "",
    limit: int | None = None,
    seed: int = 0,
    image_column: str = "image",
    mask_column: str = "mask",
    text_column: str | None = None,
) -> Iterator[Record]:
    """Films with masks of one convention, in an order drawn with the seed.

    Args:
        source: See `lungsynth.films.data.open_source`.
        split: Value of the `split` column; None takes every row.
        convention: Only films whose `mask_convention` begins with this, in any case; a source without
            that column is taken whole.
        limit: At most so many films.
        seed: Of the order.
        image_column: Column of the image.
        mask_column: Column of the mask.
        text_column: Column of the text, None for none.

    Raises:
        DataError: see `lungsynth.films.data.read_records`; or no film is of the convention.
        ConfigError: films of several conventions and none was chosen: their figures are not comparable.
    """
    seen, n = "", 0
    for record in read_records(
        source,
        split=split,
        image_column=image_column,
        mask_column=mask_column,
        text_column=text_column,
        order_seed=seed,
    ):
        written = record.fields.get("mask_convention", "")
        if convention and written and not written.lower().startswith(convention.lower()):
            seen = seen or written
            continue
        if not convention and written and seen and written != seen:
            raise ConfigError(
                f"{source} has masks of several conventions ({seen!r}, {written!r}), whose figures are "
                "not comparable; choose one with --convention."
            )
        seen = seen if convention else seen or written
        n += 1
        yield record
        if n == limit:
            return
    if not n:
        raise DataError(f"{source}: no mask of the convention {convention!r}; there is {seen!r}.")
