"""Results of evaluations as figures that travel with the checkpoint; see `lungsynth.about.figures`."""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from pathlib import Path
from typing import Any

from lungsynth.about.figures import Figure, write_figures
from lungsynth.errors import DataError
from lungsynth.report.files import Result, read_results
from lungsynth.report.masks import set_title
from lungsynth.report.words import count_of

COLUMNS = {"age group": "age_group", "view": "view", "sex": "sex", "finding": "finding"}
"""First words of a task of `evaluate obedience` -> the column of a dataset it judges."""


def figures_of_results(results: Iterable[Result]) -> list[Figure]:
    """Obedience, mask accuracy and copies; of two of the same name the one with more pictures.

    Args:
        results: See `lungsynth.report.files.read_results`; other kinds are passed over.
    """
    found: dict[tuple[str, str], Figure] = {}
    for result in results:
        for one in _figures(result):
            old = found.get((one.kind, one.name))
            if old is None or old.n <= one.n:
                found[one.kind, one.name] = one
    return list(found.values())


def keep_with_checkpoint(folder: Path, checkpoint: Path) -> list[Figure]:
    """Write the figures of kept results into a checkpoint's folder.

    Args:
        folder: Of kept results; see `lungsynth.report.files.keep`.
        checkpoint: Its `figures.json` is written; figures of kinds that were not measured stay.

    Raises:
        DataError: no such folder of results, or none of a kind that travels; or no checkpoint.
        OutputError: the file cannot be written.
    """
    if not (checkpoint / "model_index.json").is_file():
        raise DataError(f"{checkpoint}: no model_index.json; expected the folder of a checkpoint.")
    figures = figures_of_results(read_results(folder).values())
    if not figures:
        raise DataError(
            f"{folder}: no result of obedience, sides, masks or memorisation. Measure one first."
        )
    write_figures(checkpoint, figures)
    return figures


def _figures(result: Result) -> Iterator[Figure]:
    """Figures of one result."""
    kind, r = result.kind.name, result.report
    command = result.command + ("" if result.command_is_whole else " (with options not kept)")
    weights = str(r.get("model_hash") or "")
    if kind == "obedience" and not r.get("verifier"):  # of chosen pictures it is the choice's
        for task, t in r["tasks"].items():
            title = task.replace("_", " ")
            ours = t["synthetic"]["balanced_accuracy"]
            yield Figure(
                kind="obedience",
                name=title,
                value=ours["value"],
                low=ours["low"],
                high=ours["high"],
                n=t["synthetic"]["n"],
                command=command,
                real=t["real"]["balanced_accuracy"]["value"] if "real" in t else None,
                chance=1 / len(t["synthetic"].get("classes", (0, 1))),
                about=COLUMNS.get(title.partition(" (")[0], ""),
                weights=weights,
            )
    elif kind == "sides":
        swap = {key: r["swap"][key] for key in ("value", "low", "high", "n")}
        yield Figure(
            kind="obedience", name="side", **swap, command=command, chance=0.5, weights=weights
        )
    elif kind == "masks" and r.get("main") in r["stages"]:
        iou = r["stages"][r["main"]]["regions"]["all"]["iou"]
        yield Figure(
            kind="masks",
            name=f"IoU, {set_title(r).partition(', n =')[0]}",
            value=iou["value"],
            low=iou["low"],
            high=iou["high"],
            n=r["n"],
            unit="number",
            command=command,
            weights=weights,
        )
    elif kind == "memorisation":
        caught, alarms = r["caught"], r["false_alarms"]
        n = r["n"]["synthetic"]
        copies = float(count_of(r["copies"]))
        told: dict[str, Any] = {"kind": "memorisation", "command": command, "weights": weights}
        yield Figure(name="pictures found to be copies", value=copies, n=n, unit="count", **told)
        for name, share in (
            ("planted copies that the test caught", caught),
            ("false alarms of the test on real films", alarms),
        ):
            ends = {key: share[key] for key in ("value", "low", "high", "n")}
            yield Figure(name=name, **ends, **told)
