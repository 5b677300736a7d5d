"""How figures are written everywhere: numbers with intervals, tables for a terminal and in Markdown."""

from __future__ import annotations

import re
from collections.abc import Mapping, Sequence
from typing import Any

NUMBER = re.compile(r"[-+−]?[\d.,]+( %)?|nan|–|-?")


def shown(
    told: Mapping[str, Any], digits: int = 3, *, scale: float = 1.0, sign: bool = False
) -> str:
    """`0.912 [0.900, 0.921]`, or `+0.004 [-0.001, +0.010]` with signs.

    Args:
        told: `value`, `low` and `high`, as `Interval.report` writes them.
        digits: After the point.
        scale: Multiplies all three: 100 for percent.
        sign: Write a plus, too.
    """
    how = f"{'+' if sign else ''}.{digits}f"
    value, low, high = (format(scale * told[k], how) for k in ("value", "low", "high"))
    return f"{value} [{low}, {high}]"


def percent(told: Mapping[str, Any]) -> str:
    """`91.2 [89.0, 93.1]`, of shares."""
    return shown(told, 1, scale=100)


def aligned(head: Sequence[str], rows: Sequence[Sequence[object]]) -> list[str]:
    """Lines of a table for a terminal: columns of numbers to the right, others to the left.

    Args:
        head: Names of the columns.
        rows: Cells; a short row ends early, a row of one cell stands across the columns.
    """
    cells = [[str(cell) for cell in row] for row in rows]
    many = [row for row in cells if len(row) > 1]
    columns = [[row[k] for row in many if len(row) > k] for k in range(len(head))]
    widths = [max(map(len, [name, *column])) for name, column in zip(head, columns, strict=True)]
    right = [k > 0 and all(map(NUMBER.fullmatch, column)) for k, column in enumerate(columns)]

    def line(row: Sequence[str]) -> str:
        if len(row) == 1:
            return row[0]
        placed = zip(row, widths, right, strict=False)
        return "  ".join(c.rjust(w) if r else c.ljust(w) for c, w, r in placed).rstrip()

    return [line(list(head)), *map(line, cells)]


def confusion(title: str, classes: Sequence[str], counts: Any) -> list[str]:
    """Lines of a confusion matrix, after an empty one."""
    rows = [[name, *row] for name, row in zip(classes, counts, strict=True)]
    return ["", title, *aligned(["", *classes], rows)]


def markdown(head: Sequence[str], rows: Sequence[Sequence[object]]) -> str:
    """A Markdown table; what could break it is escaped."""

    def line(cells: Sequence[object]) -> str:
        escaped = (str(c).replace("|", "\\|").replace("\n", " ") for c in cells)
        return "| " + " | ".join(escaped) + " |"

    return "\n".join([line(head), "| " + " | ".join(["---"] * len(head)) + " |", *map(line, rows)])
