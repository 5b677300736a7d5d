"""What was measured of a checkpoint, kept with it: `figures.json` in its folder.

How well prompts are obeyed, how good masks are and whether films are copied is known of a checkpoint,
not of a single release; so it stands in the card of the weights and in that of every dataset drawn.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from dataclasses import asdict, dataclass, fields
from pathlib import Path
from typing import Any

from lungsynth.about.kept import parsed, read_kept, write_kept

FIGURES_NAME = "figures.json"

KINDS = ("obedience", "masks", "memorisation")
"""What a card must tell; figures of other kinds may be kept besides."""

TITLES = {
    "obedience": "How well prompts are obeyed",
    "masks": "Masks on real films with expert masks",
    "memorisation": "Copies of training films",
}


@dataclass(frozen=True, slots=True, kw_only=True)
class Figure:
    """One measured number."""

    kind: str  # see KINDS
    name: str  # what it is, such as "finding (adults)" or "IoU, shenzhen, NLM"
    value: float
    n: int  # pictures or films it was measured on
    command: str  # that measured it
    low: float | None = None  # ends of the 95 % interval
    high: float | None = None
    unit: str = "share"  # share: 0-1, shown in per cent; count: so many of n; number: as it is
    real: float | None = None  # the same figure on real films
    chance: float | None = None  # what guessing reaches
    about: str = ""  # column of a dataset whose entries it judges: view, age_group, sex, finding
    weights: str = ""  # hash of the weights it was measured on; "" where that was not recorded

    @property
    def is_chance(self) -> bool:
        """Whether guessing is as good, as far as the interval can tell."""
        ends = self.low is not None and self.high is not None and self.chance is not None
        return ends and bool(self.low <= self.chance <= self.high)  # type: ignore[operator]

    def text(self) -> str:
        """For people, on one line: value, interval, n, real films, chance."""
        if self.unit == "count":
            return f"{self.value:,.0f} of {self.n:,}"
        scale, digits, sign = (100, 1, " %") if self.unit == "share" else (1, 3, "")
        told = f"{scale * self.value:.{digits}f}{sign}"
        if self.low is not None and self.high is not None:
            told += f" [{scale * self.low:.{digits}f}, {scale * self.high:.{digits}f}]"
        told += f", n = {self.n:,}"
        if self.real is not None:
            told += f"; real films {scale * self.real:.{digits}f}{sign}"
        if self.chance is not None:
            told += f"; guessing {scale * self.chance:.0f}{sign}"
        return told + ("; no better than guessing" if self.is_chance else "")


def write_figures(folder: Path, figures: Iterable[Figure]) -> Path:
    """Put figures, all of a kind, into a checkpoint's folder in place of those of the same kinds.

    Raises:
        OutputError: the file cannot be written.
        CheckpointError: what is there cannot be understood.
    """
    new = list(figures)
    kept = [one for one in read_figures(folder) if one.kind not in {n.kind for n in new}]
    order = {kind: k for k, kind in enumerate(KINDS)}
    every = sorted([*kept, *new], key=lambda one: (order.get(one.kind, 9), one.kind))
    return write_kept(folder / FIGURES_NAME, to_json(every))


def read_figures(folder: Path) -> list[Figure]:
    """What was measured of a checkpoint; [] when nothing is kept with it, or it is no folder here.

    Raises:
        CheckpointError: its `figures.json` cannot be understood.
    """
    writer = "`python -m lungsynth report RESULTS --checkpoint DIR`"
    return read_kept(folder / FIGURES_NAME, figures_of, writer=writer)


def figures_of(told: Iterable[Mapping[str, Any]]) -> list[Figure]:
    """Figures of JSON.

    Raises:
        ValueError, TypeError: a field is missing, unknown, or of another type.
    """
    numbers = {"value", "low", "high", "real", "chance"}
    kinds: dict[str, Any] = {
        one.name: int | float | None if one.name in numbers else int if one.name == "n" else str
        for one in fields(Figure)
    }
    return parsed(Figure, told, kinds, "figure")


def to_json(figures: Iterable[Figure]) -> list[dict[str, Any]]:
    """Figures for a JSON file, without what is not told; see `figures_of`."""
    return [{k: v for k, v in asdict(one).items() if v not in (None, "")} for one in figures]
