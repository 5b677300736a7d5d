"""`python -m benchmarks curve`: the learning curve of consecutive runs, as JSON and one picture."""

from __future__ import annotations

import io
import json
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import click
import numpy as np

from lungsynth.errors import DataError
from lungsynth.evaluation.drawing import json_lines
from lungsynth.training.common import OPTIONS_NAME
from lungsynth.training.metrics import METRICS_NAME

SERIES = {
    "loss": "loss",
    "mse": "squared error of the noise",
    "grounding": "grounding of words",
    "facts": "judge's excess over real films",
}
"""Key of `metrics.jsonl` -> what it is called."""

MAX_POINTS = 240  # of a run's series; more are averaged block by block
MAX_BYTES = 100_000  # of the picture
SHARE_FACTS = "right caption wins, "


@dataclass(frozen=True, slots=True)
class Stretch:
    """One run's part of the curve."""

    name: str
    first: int  # image-steps before it
    last: int  # image-steps at its end
    points: list[dict[str, float]]  # `image_steps` and some of SERIES


def read_lines(path: Path) -> list[dict[str, Any]]:
    """Lines of a `metrics.jsonl`; one that was cut by a kill is left out.

    Raises:
        DataError: no line tells a step.
    """
    lines = [one for one in json_lines(path) if isinstance(one, dict) and "step" in one]
    if not lines:
        raise DataError(f"{path}: no line with a `step`; the run has not logged anything yet.")
    return lines


def thinned(points: Sequence[Mapping[str, float]], most: int) -> list[dict[str, float]]:
    """At most `most` points: means over blocks of neighbours, as long as each other within one."""
    blocks = np.array_split(np.arange(len(points)), min(most, len(points)))
    out = []
    for block in blocks:
        keys = [key for key in points[block[0]] if all(key in points[k] for k in block)]
        means = {key: float(np.mean([points[k][key] for k in block])) for key in keys}
        out.append(
            {k: int(v) if k == "image_steps" else float(f"{v:.5g}") for k, v in means.items()}
        )
    return out


def read_stretch(run: str, first: int) -> Stretch:
    """A run's part of the curve.

    Args:
        run: Its folder; `FOLDER=STEP` where the next run took its weights at that step.
        first: Image-steps before it.

    Raises:
        DataError: it is no run.
    """
    place, _, until = run.partition("=")
    folder = Path(place)
    if until and not until.isdigit():
        raise DataError(f"{run}: expected FOLDER or FOLDER=STEP, such as runs/words=500.")
    path = folder / OPTIONS_NAME
    try:
        batch = int(json.loads(path.read_text(encoding="utf-8"))["batch_size"])
    except (OSError, ValueError, KeyError, TypeError) as error:
        raise DataError(f"{path}: tells no batch size ({error!r}); expected a run.") from error
    lines = read_lines(folder / METRICS_NAME)
    if until:
        lines = [one for one in lines if one["step"] <= int(until)]
    points = [
        {"image_steps": first + int(one["step"]) * batch}
        | {key: float(one[key]) for key in SERIES if key in one}
        for one in lines
    ]
    last = (
        first
        + (int(until) if until else max((int(one["step"]) for one in lines), default=0)) * batch
    )
    kept = [point for point in points if len(point) > 1]
    if not kept:
        raise DataError(f"{run}: no line up to that step tells {', '.join(SERIES)}.")
    return Stretch(folder.name, first, last, thinned(kept, MAX_POINTS))


def figures_in(report: Mapping[str, Any]) -> Iterator[tuple[str, float]]:
    """(name, per cent or number) of a report of `evaluate hearing` or `obedience`, or of plain numbers.

    Plain numbers are `{"name": 81.2}` or `{"name": [81.2, n]}`; of an interval its value is taken.
    """
    for fact, told in report.get("facts", {}).items():
        yield f"{SHARE_FACTS}{fact}", round(100 * float(told["share"]["value"]), 2)
    for task, told in report.get("tasks", {}).items():
        points = told.get("balanced_accuracy_points")
        if points:
            yield f"obeyed minus real, {task}", round(float(points["value"]), 2)
    if "facts" in report or "tasks" in report:
        return
    for name, value in report.items():
        one = value[0] if isinstance(value, list) and value else value
        if isinstance(one, int | float) and not isinstance(one, bool):
            yield name, float(one)


def read_peek(text: str) -> tuple[int, dict[str, float]]:
    """`IMAGE_STEPS=FILE` -> image-steps, and what was judged of the weights there.

    Raises:
        DataError: it is not of that form, or the file holds no figure.
    """
    steps, _, place = text.partition("=")
    if not steps.isdigit() or not place:
        raise DataError(f"--peek {text}: expected IMAGE_STEPS=FILE, such as 64000=peek/quick.json.")
    try:
        told = json.loads(Path(place).read_text(encoding="utf-8"))
        figures = dict(figures_in(told))
    except (OSError, ValueError, KeyError, TypeError, AttributeError) as error:
        raise DataError(f"{place}: cannot be understood as figures ({error!r}).") from error
    if not figures:
        raise DataError(f"{place}: no figure in it.")
    return int(steps), figures


def merged(runs: Sequence[str], peeks: Sequence[str], start: int) -> dict[str, Any]:
    """The curve of runs that follow each other, as JSON.

    Args:
        runs: See `read_stretch`, in order.
        peeks: See `read_peek`.
        start: Image-steps before the first run.
    """
    stretches: list[Stretch] = []
    for run in runs:
        stretches.append(read_stretch(run, stretches[-1].last if stretches else start))
    judged = sorted((read_peek(one) for one in peeks), key=lambda one: one[0])
    return {
        "image_steps": stretches[-1].last,
        "start": start,
        "runs": [
            {"name": one.name, "first": one.first, "last": one.last, "points": one.points}
            for one in stretches
        ],
        "judged": [{"image_steps": steps, "figures": figures} for steps, figures in judged],
    }


def plot(curve: Mapping[str, Any]) -> bytes:
    """The curve as a PNG of at most `MAX_BYTES`: a panel a series, and one of what was judged."""
    from matplotlib.figure import Figure  # deferred: slow to import

    keys = [k for k in SERIES if any(k in p for run in curve["runs"] for p in run["points"])]
    names = list(dict.fromkeys(n for one in curve["judged"] for n in one["figures"]))
    n_panels = len(keys) + bool(names)
    columns = 2 if n_panels > 1 else 1
    rows = -(-n_panels // columns)
    figure = Figure(figsize=(5.2 * columns, 3.0 * rows), layout="constrained")
    panels = [figure.add_subplot(rows, columns, k + 1) for k in range(n_panels)]
    for key, panel in zip(keys, panels, strict=False):
        for run in curve["runs"]:
            there = [point for point in run["points"] if key in point]
            x = [point["image_steps"] / 1000 for point in there]
            panel.plot(x, [point[key] for point in there], linewidth=1.2, label=run["name"])
        panel.set_title(SERIES[key], fontsize=10)
    for name in names:
        there = [one for one in curve["judged"] if name in one["figures"]]
        x = [one["image_steps"] / 1000 for one in there]
        panels[-1].plot(x, [one["figures"][name] for one in there], "o-", markersize=3, label=name)
    if names:
        panels[-1].set_title("judged on the way", fontsize=10)
        panels[-1].legend(fontsize=6)
    if panels and len(curve["runs"]) > 1:
        panels[0].legend(fontsize=7)
    for panel in panels:
        panel.set_xlabel("thousand image-steps", fontsize=8)
        panel.tick_params(labelsize=8)
        panel.grid(alpha=0.3)
    for dots in (110, 90, 70, 50):
        buffer = io.BytesIO()
        figure.savefig(buffer, format="png", dpi=dots, metadata={"Software": None})
        if buffer.tell() <= MAX_BYTES:
            break
    return buffer.getvalue()


@click.command()
@click.argument("runs", nargs=-1, required=True, metavar="RUN[=STEP]…")
@click.option(
    "--peek",
    "peeks",
    multiple=True,
    metavar="IMAGE_STEPS=FILE",
    help="What was judged there: JSON of `evaluate hearing` or `obedience`, or plain numbers; repeat.",
)
@click.option("--start", default=0, show_default=True, help="Image-steps before the first run.")
@click.option(
    "--out",
    type=click.Path(path_type=Path, dir_okay=False),
    default=Path("docs/curve/learning-curve.json"),
    show_default=True,
    metavar="JSON",
    help="A PNG of the same name goes beside it.",
)
def curve(runs: tuple[str, ...], peeks: tuple[str, ...], start: int, out: Path) -> None:
    """Join the metrics of runs that follow each other; image-steps are steps times the batch.

    \b
    python -m benchmarks curve runs/words=500 runs/words2 --peek 46400=peek/hearing.json
    """
    made = merged(runs, peeks, start)
    out.parent.mkdir(parents=True, exist_ok=True)
    out.write_text(json.dumps(made, indent=1) + "\n", encoding="utf-8")
    picture = plot(made)
    out.with_suffix(".png").write_bytes(picture)
    print(f"{out}: {made['image_steps']:,} image-steps, {len(picture):,} bytes of picture")
    for run in made["runs"]:
        first, last = run["points"][0], run["points"][-1]
        told = ", ".join(f"{k} {first[k]:.4g} → {last[k]:.4g}" for k in SERIES if k in last)
        print(f"{run['name']}: {run['first']:,} to {run['last']:,}: {told}")
