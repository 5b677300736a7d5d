"""Results of downstream models as text: intervals over films and seeds, comparisons, tables, plot."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import asdict, replace
from functools import partial
from pathlib import Path
from typing import IO, Any

import numpy as np
from matplotlib.backends.backend_agg import FigureCanvasAgg
from matplotlib.figure import Figure

from lungsynth.arrays import Float64Array
from lungsynth.evaluation.common import Interval
from lungsynth.evaluation.downstream.cell import Cell
from lungsynth.evaluation.masks.figures import METRICS
from lungsynth.evaluation.masks.report import metrics_report, resample_films
from lungsynth.evaluation.tables import shown

DICE = METRICS.index("dice")
N_RESAMPLES = 1000
SHOWN = {"dice": 3, "iou": 3, "hd95_percent": 1, "mean_distance_percent": 2}  # figure -> digits


def seed_films_interval(values: Float64Array, films: Float64Array, seeds: Float64Array) -> Interval:
    """Mean of (S, N) over seeds and films, with an interval that draws both anew.

    `films` (R, N) is how often each is in a resample, see `resample_films`; `seeds` (R, S) likewise.
    """
    draws = np.einsum("rs,sn,rn->r", seeds, values, films) / (seeds.sum(1) * films.sum(1))
    return Interval.of(float(values.mean()), draws)


def ratio_interval(
    ours: Float64Array, theirs: Float64Array, films: Float64Array, seeds: Float64Array
) -> Interval:
    """The ratio of two means, drawn anew together; arguments as `seed_films_interval`.

    `theirs` must not be all 0; resamples where it is are left out.
    """
    above, below = (np.einsum("rs,sn,rn->r", seeds, v, films) for v in (ours, theirs))
    return Interval.of(float(ours.mean() / theirs.mean()), above[below > 0] / below[below > 0])


def summarise(
    results: Sequence[tuple[Cell, Mapping[str, Any]]],
    clusters: Mapping[str, Sequence[Mapping[str, str]]],
    *,
    pixels: int,
    n_all: int,
    seed: int = 0,
) -> dict[str, Any]:
    """Figures of every arm on every test set, and what is compared with what.

    Args:
        results: Finished cells, see `lungsynth.evaluation.downstream.cells.run_cell`.
        clusters: Test set -> the patient of each film.
        pixels: Side of the square; distances are in its pixels and in percent of it.
        n_all: How many real training films there are.
        seed: Of the resampling.

    Returns:
        `arms`: one entry an arm and test set; `comparisons`: differences and ratios of Dice, paired by
        film and seed.
    """
    grouped: dict[Cell, dict[int, Mapping[str, Any]]] = {}
    for cell, result in results:
        grouped.setdefault(replace(cell, seed=0), {})[cell.seed] = result["tests"]
    arms, comparisons = [], []
    for test, of in clusters.items():
        films = resample_films(of, n_resamples=N_RESAMPLES, seed=seed)
        for key, by_seed in grouped.items():
            values = _values(by_seed, sorted(by_seed), test)
            times = _seed_times(len(by_seed), seed)
            interval = partial(seed_films_interval, films=films, seeds=times)
            told = metrics_report(values, pixels, interval)
            arms.append(
                {
                    **_words(key),
                    "test": test,
                    "seeds": len(by_seed),
                    "n_films": values.shape[1],
                    **told,
                }
            )
        comparisons += _compare_all(grouped, test, films, n_all, seed)
    return {"arms": arms, "comparisons": comparisons}


def _values(
    by_seed: Mapping[int, Mapping[str, Any]], seeds: Sequence[int], test: str
) -> Float64Array:
    return np.array([by_seed[s][test] for s in seeds], dtype=np.float64)


def _seed_times(n: int, seed: int) -> Float64Array:
    rng = np.random.default_rng((seed, 1))
    return rng.multinomial(n, np.full(n, 1 / n), size=N_RESAMPLES).astype(np.float64)


def _words(cell: Cell) -> dict[str, Any]:
    """What cells of different seeds share."""
    return {name: value for name, value in asdict(cell).items() if name != "seed"}


def _compare_all(
    grouped: Mapping[Cell, dict[int, Mapping[str, Any]]],
    test: str,
    films: Float64Array,
    n_all: int,
    seed: int,
) -> list[dict[str, Any]]:
    """Each arm with synthetic pictures against real films alone, and each filter against none."""
    out = []
    for key in grouped:
        rivals: list[tuple[str, Cell]] = []
        alone = replace(key, arm="real", synthetic="", filter="none")
        if key.arm == "synthetic":
            rivals.append(("ratio", replace(alone, n_real=n_all)))
        elif key.arm != "real":
            rivals.append(("difference", alone))
        if key.filter != "none":
            rivals.append(("difference", replace(key, filter="none")))
        if key.augmentation != "standard":
            rivals.append(("difference", replace(key, augmentation="standard")))
        for kind, rival in rivals:
            seeds = sorted(set(grouped[key]) & set(grouped.get(rival, {})))
            if not seeds:
                continue
            a, b = (_values(grouped[k], seeds, test)[..., DICE] for k in (key, rival))
            if kind == "ratio" and not b.any():
                continue
            times = _seed_times(len(seeds), seed)
            told = (
                ratio_interval(a, b, films, times)
                if kind == "ratio"
                else seed_films_interval(a - b, films, times)
            )
            out.append(
                {
                    "test": test,
                    "kind": kind,
                    "of": _words(key),
                    "with": _words(rival),
                    "seeds": len(seeds),
                    "dice": told.report(),
                }
            )
    return out


def arm_title(told: Mapping[str, Any], *, several: bool = True) -> str:
    """`synthetic+real (set, trust, splicing)`; what is usual is left out."""
    extra = [told["synthetic"]] if told["synthetic"] and several else []
    extra += [told["filter"]] if told["filter"] != "none" else []
    extra += [told["augmentation"]] if told["augmentation"] != "standard" else []
    return told["arm"] + (f" ({', '.join(extra)})" if extra else "")


def markdown(report: Mapping[str, Any]) -> str:
    """The report as Markdown tables, one a test set and model."""
    preset = report["preset"]
    several = len(report["synthetic"]) > 1
    lines = [
        f"Every arm: {preset['steps']} optimiser steps of {preset['batch']} films of {preset['pixels']} px;"
        f" {report['real']['n']} real training films; {report['seeds']} seed(s). Mean and 95 % interval "
        "over films and seeds; distances in percent of the side."
    ]
    if len(report["conventions"]) > 1:
        lines.append(f"\n**Mask conventions are mixed: {', '.join(report['conventions'])}.**")
    groups = list(dict.fromkeys((a["test"], a["model"]) for a in report["arms"]))
    for test, model in groups:
        lines += [
            "",
            f"**{model}, tested on {test}**",
            "",
            "| trained on | real films | Dice | IoU | HD95 % | surface % |",
            "| --- | ---: | --- | --- | --- | --- |",
        ]
        for a in report["arms"]:
            if (a["test"], a["model"]) == (test, model):
                cells = [shown(a[m], digits) for m, digits in SHOWN.items()]
                lines.append(
                    f"| {arm_title(a, several=several)} | {a['n_real']} | {' | '.join(cells)} |"
                )
    if report["comparisons"]:
        lines += [
            "",
            "**Dice compared, film by film**",
            "",
            "| test | model | trained on | against | kind | value |",
            "| --- | --- | --- | --- | --- | --- |",
        ]
        for c in report["comparisons"]:
            of, other = (
                f"{arm_title(c[k], several=several)}, n = {c[k]['n_real']}" for k in ("of", "with")
            )
            lines.append(
                f"| {c['test']} | {c['of']['model']} | {of} | {other} | {c['kind']} | "
                f"{shown(c['dice'], 3)} |"
            )
    lines += [f"\n{note}" for note in report["notes"]]
    return "\n".join(lines) + "\n"


def draw_plot(report: Mapping[str, Any], place: Path | IO[bytes]) -> None:
    """Dice against the number of real films, one panel a test set and model."""
    several = len(report["synthetic"]) > 1
    tests = list(dict.fromkeys(a["test"] for a in report["arms"]))
    models = list(dict.fromkeys(a["model"] for a in report["arms"]))
    figure = Figure(figsize=(5.2 * len(tests), 3.9 * len(models)), layout="constrained")
    FigureCanvasAgg(figure)
    panels = figure.subplots(len(models), len(tests), squeeze=False, sharey=True)
    titles = list(dict.fromkeys(arm_title(a, several=several) for a in report["arms"]))
    for row, model in enumerate(models):
        for column, test in enumerate(tests):
            axes = panels[row][column]
            for number, title in enumerate(titles):
                points = sorted(
                    (a["n_real"], a["dice"])
                    for a in report["arms"]
                    if (a["test"], a["model"], arm_title(a, several=several))
                    == (test, model, title)
                )
                if not points:
                    continue
                colour = f"C{number % 10}"
                x = np.array([p[0] for p in points], dtype=float)
                value, low, high = (
                    np.array([p[1][k] for p in points]) for k in ("value", "low", "high")
                )
                if x.max() == 0:  # no real film at all: a level
                    axes.axhline(value[0], color=colour, linestyle="--", label=title)
                    axes.axhspan(low[0], high[0], color=colour, alpha=0.15)
                else:
                    error = np.maximum(np.stack([value - low, high - value]), 0)
                    axes.errorbar(x, value, error, color=colour, marker="o", capsize=3, label=title)
            axes.set(
                xscale="log",
                xlabel="real training films",
                ylabel="Dice",
                title=f"{model}, tested on {test}",
            )
            counts = sorted({a["n_real"] for a in report["arms"]} - {0})
            axes.set_xticks(counts, [str(n) for n in counts], minor=False)
            axes.minorticks_off()
            axes.grid(alpha=0.3)
    panels[0][0].legend(fontsize=7)
    figure.savefig(place, dpi=110, format="png")
