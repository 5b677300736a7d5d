"""What the report of every evaluation has: numbers with their intervals, Markdown tables, bars."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from lungsynth.evaluation.tables import markdown, shown

Report = Mapping[str, Any]


@dataclass(frozen=True, slots=True)
class Target:
    """A headline figure beside what was aimed at."""

    figure: str
    target: str  # "–" where none was set
    here: str
    met: str = ""  # see `verdict`; "" without a target


@dataclass(frozen=True, slots=True, kw_only=True)
class Kind:
    """How the JSON of one evaluation is written out."""

    name: str  # of the evaluation
    title: Callable[[Report], str]
    how: Callable[[Report], str]  # n, seeds, what the brackets are
    text: Callable[[Report], str]
    draw: Callable[[Any, Report], None] | None = None  # matplotlib axes, report
    targets: Callable[[Report], list[Target]] = lambda _: []
    together: Callable[[Mapping[str, Report]], str] | None = None  # name -> report; one table


def span(told: Report, *, digits: int = 3, scale: float = 1.0, sign: bool = False) -> str:
    """`0.912 [0.900, 0.921]`, or `+0.004 [−0.001, +0.010]` with signs."""
    return shown(told, digits, scale=scale, sign=sign).replace("-", "−")


def verdict(told: Report, *, least: float | None = None, most: float | None = None) -> str:
    """`reached` or `**missed**` by the value, and whether the interval says the same throughout."""
    bound, sign = (least, 1) if least is not None else (most, -1)
    if bound is None:
        raise ValueError("a verdict needs `least` or `most`")
    met, *ends = (sign * told[k] >= sign * bound for k in ("value", "low", "high"))
    word = "reached" if met else "**missed**"
    return word if all(end == met for end in ends) else f"{word}, interval holds the target"


def count_of(value: Any) -> int:
    """How many a list holds; a list that was too long to be kept is its length."""
    return value if isinstance(value, int) else len(value)


def targets_table(targets: Sequence[Target]) -> str:
    """A line a target."""
    return markdown(
        ["figure", "target", "here", "verdict"],
        [[t.figure, t.target, t.here, t.met or "–"] for t in targets],
    )


def bars(
    axes: Any,
    rows: Sequence[tuple[str, Report, bool]],
    label: str,
    *,
    most: float | None = None,
    chance: float | None = None,
) -> None:
    """Horizontal bars with intervals, the first on top.

    Args:
        axes: Of matplotlib.
        rows: Name, figure with `value`, `low` and `high`, whether it is ours: blue, others grey.
        label: Of the axis.
        most: The axis goes from 0 to this; None fits the bars.
        chance: A dotted line is drawn there.
    """
    names, told = [name for name, _, _ in rows], [figure for _, figure, _ in rows]
    errors = [
        [max(0.0, t["value"] - t["low"]) for t in told],
        [max(0.0, t["high"] - t["value"]) for t in told],
    ]
    colours = ["#0072b2" if ours else "#999999" for _, _, ours in rows]
    value = [t["value"] for t in told]
    axes.barh(range(len(names)), value, xerr=errors, color=colours, ecolor="#333333")
    axes.set_yticks(range(len(names)), names, fontsize=8)
    axes.invert_yaxis()
    axes.set(xlabel=label)
    if most is not None:
        axes.set(xlim=(0, most))
    if chance is not None:
        axes.axvline(chance, color="#333333", linestyle=":")
