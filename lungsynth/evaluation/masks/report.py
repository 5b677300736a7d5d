"""Measured masks as text: intervals, table, JSON and CSV."""

from __future__ import annotations

import csv
from collections.abc import Callable, Iterator, Mapping, Sequence
from functools import partial
from pathlib import Path
from typing import Any

import numpy as np
from scipy.stats import rankdata

from lungsynth.arrays import Float64Array, IntArray
from lungsynth.errors import OutputError
from lungsynth.evaluation.common import Interval, patients_of, resample_clusters
from lungsynth.evaluation.masks.figures import ALL, METRICS
from lungsynth.evaluation.masks.measured import Measured
from lungsynth.evaluation.tables import aligned, shown

BEST_SHARE = 0.3  # share of films, best trust first, whose mean IoU is reported


def patients(fields: Sequence[Mapping[str, str]]) -> IntArray:
    """(N,) number of each film's patient; a film without one stands alone."""
    numbers: dict[str, int] = {}
    keys = patients_of(fields)
    return np.array([numbers.setdefault(key, len(numbers)) for key in keys], dtype=np.int64)


def resample_films(
    fields: Sequence[Mapping[str, str]], *, n_resamples: int = 1000, seed: int = 0
) -> Float64Array:
    """(R, N) how often each film is in each bootstrap resample; films of a patient go together."""
    patient = patients(fields)
    rng = np.random.default_rng(seed)
    return resample_clusters(np.eye(int(patient.max()) + 1), rng, n_resamples)[:, patient]


def mean_interval(values: Float64Array, times: Float64Array) -> Interval:
    """Mean of (N,) values with its interval over resamples `times` (R, N); NaN entries are left out."""
    known = np.isfinite(values)
    if not known.any():
        return Interval(*[float("nan")] * 3)
    weights = times[:, known]
    total = weights.sum(1)
    draws = (weights @ values[known])[total > 0] / total[total > 0]
    return Interval.of(float(values[known].mean()), draws)


def metrics_report(
    values: Float64Array, pixels: int, interval: Callable[[Float64Array], Interval]
) -> dict[str, Any]:
    """`interval` of each of `METRICS` (…, 4), and of both distances in percent of the side."""
    told = {name: interval(values[..., k]).report() for k, name in enumerate(METRICS)}
    for name in METRICS[2:]:
        share = 100 * values[..., METRICS.index(name)] / pixels
        told[f"{name}_percent"] = interval(share).report()
    return told


def ranks_correlate(x: Float64Array, y: Float64Array) -> float:
    """Spearman's rank correlation; NaN when one side is constant."""
    a, b = rankdata(x), rankdata(y)
    a, b = a - a.mean(), b - b.mean()
    scale = float(np.sqrt((a @ a) * (b @ b)))
    return float(a @ b / scale) if scale > 0 else float("nan")


def best_scored(
    trust: Float64Array, iou: Float64Array, times: Float64Array, *, share: float = BEST_SHARE
) -> Float64Array:
    """(R,) mean IoU of the films of highest trust in each resample, `share` of its films."""
    order = np.argsort(-trust, kind="stable")
    weights = times[:, order]
    wanted = share * weights.sum(1, keepdims=True)
    before = np.cumsum(weights, 1) - weights
    inside = np.clip(wanted - before, 0, weights)
    return (inside @ iou[order]) / inside.sum(1)


def trust_report(trust: Float64Array, iou: Float64Array, times: Float64Array) -> dict[str, Any]:
    """Rank correlation of trust with IoU, and mean IoU of the best-scored films against all."""
    known = np.isfinite(trust)
    if known.sum() < 3:
        return {"n": int(known.sum())}
    trust, iou, times = trust[known], iou[known], times[:, known]
    times = times[times.sum(1) > 0]
    one = np.ones((1, len(iou)))
    best = Interval.of(float(best_scored(trust, iou, one)[0]), best_scored(trust, iou, times))
    gain = best_scored(trust, iou, times) - (times @ iou) / times.sum(1)
    out = {
        "n": len(iou),
        "best_share": BEST_SHARE,
        "iou_of_best": best.report(),
        "iou_of_all": mean_interval(iou, times).report(),
        "best_minus_all": Interval.of(best.value - float(iou.mean()), gain).report(),
    }
    value = ranks_correlate(trust, iou)
    if np.isfinite(value):
        counts = times.astype(int)
        index = [np.repeat(np.arange(len(iou)), row) for row in counts]
        draws = np.array([ranks_correlate(trust[i], iou[i]) for i in index])
        out["spearman"] = Interval.of(value, draws[np.isfinite(draws)]).report()
    return out


def ratio_report(pairs: Float64Array, times: Float64Array) -> dict[str, Any]:
    """Error of a ratio of widths: (N, 2) ours and the expert's, NaN where one cannot be had."""
    gap = pairs[:, 0] - pairs[:, 1]
    return {
        "n": int(np.isfinite(gap).sum()),
        "mean_absolute_error": mean_interval(np.abs(gap), times).report(),
        "bias": mean_interval(gap, times).report(),
    }


def summarise(
    measured: Measured,
    *,
    pixels: int,
    mean_rival: str = "mean training mask",
    n_resamples: int = 1000,
    seed: int = 0,
) -> dict[str, Any]:
    """Everything measured as JSON: means with 95 % bootstrap intervals over films, by patient.

    Args:
        measured: From `lungsynth.evaluation.masks.measure.measure`.
        pixels: Side of the square; distances are also given in percent of it.
        mean_rival: Stage that IoU differences are taken against, besides the first refinement.
        n_resamples: Bootstrap resamples, the same for every stage, so that differences are paired.
        seed: Of the resampling.
    """
    times = resample_films(measured.fields, n_resamples=n_resamples, seed=seed)
    values = {key: np.array(rows, dtype=np.float64) for key, rows in measured.values.items()}
    first = next(iter(measured.trust), None)
    stages: dict[str, Any] = {}
    for stage in measured.stages:
        regions: dict[str, Any] = {}
        for (name, region), rows in values.items():
            if name != stage:
                continue
            entry = metrics_report(rows, pixels, partial(mean_interval, times=times))
            for other in (mean_rival, first):
                theirs = values.get((other, region)) if other is not None else None
                if theirs is not None and other != stage:
                    gap = mean_interval(rows[:, 0] - theirs[:, 0], times)
                    entry[f"iou minus {other}"] = gap.report()
            if (stage, region) in measured.levels:
                entry["level"] = round(measured.levels[stage, region], 4)
            regions[region] = entry
        stages[stage] = {"rival": stage in measured.rivals, "regions": regions}
    main_iou = values[measured.main, ALL][:, 0]
    return {
        "n": len(measured.names),
        "n_patients": int(patients(measured.fields).max()) + 1,
        "pixels": pixels,
        "main": measured.main,
        "first_refinement": first,
        "mean_rival": mean_rival if (mean_rival, ALL) in values else None,
        "stages": stages,
        "auroc": {
            name: mean_interval(np.array(rows), times).report()
            for (name, region), rows in measured.auroc.items()
            if region == ALL
        },
        "swapped": int(sum(measured.swapped)),
        "trust": {"score": "trust"}
        | {
            stage: trust_report(np.array(rows), values[stage, ALL][:, 0], times)
            for stage, rows in measured.trust.items()
        },
        "ratios": {
            name: ratio_report(np.array(rows, dtype=np.float64), times)
            for name, rows in measured.ratios.items()
        },
        "mean_iou": round(float(main_iou.mean()), 6),
        "skipped": measured.skipped,
    }


def _span(entry: Mapping[str, float]) -> str:
    return f"[{entry['low']:.3f}, {entry['high']:.3f}]"


def _gap(entry: Mapping[str, Any], other: str | None) -> str:
    gap = entry.get(f"iou minus {other}")
    return shown(gap, sign=True) if gap else ""


def _cells(entry: Mapping[str, Any], mean_rival: str | None, first: str | None) -> list[str]:
    """Of one stage and region: IoU, its interval, and so on in the order of `table`."""
    told = {k: entry[k]["value"] for k in ("iou", "dice", "hd95", "mean_distance")}
    shares = [entry[k]["value"] for k in ("hd95_percent", "mean_distance_percent")]
    gaps = [_gap(entry, other) for other in (mean_rival, first) if other]
    return [
        *(f"{told['iou']:.3f}", _span(entry["iou"]), f"{told['dice']:.3f}"),
        *(f"{told['hd95']:.1f}", f"{shares[0]:.1f}"),
        *(f"{told['mean_distance']:.2f}", f"{shares[1]:.2f}"),
        *gaps,
    ]


def table(report: Mapping[str, Any]) -> str:
    """The report as text, one table a region, rivals last."""
    mean_rival, first = report["mean_rival"], report["first_refinement"]
    regions = list(dict.fromkeys(r for s in report["stages"].values() for r in s["regions"]))
    head = ["IoU", "95 % interval", "Dice", "HD95 px", "%", "mean px", "%"]
    head += ["- mean mask"] * bool(mean_rival) + [f"- {first}"] * bool(first)
    lines = []
    for region in regions:
        rows = [
            [("rival: " if about["rival"] else "") + stage, *_cells(entry, mean_rival, first)]
            for stage, about in report["stages"].items()
            if (entry := about["regions"].get(region)) is not None
        ]
        lines += aligned([f"{region}:", *head], rows)
    lines.append(
        f"n = {report['n']} films of {report['n_patients']} patients; a 'best threshold' is the one best "
        "on these same films"
    )
    for name, area in report["auroc"].items():
        lines.append(f"area under ROC, {name}: {shown(area)}")
    lines.append(f"left and right on swapped sides: {report['swapped']} of {report['n']}")
    for name, about in report["ratios"].items():
        error, bias = about["mean_absolute_error"], about["bias"]
        lines.append(
            f"{name} ratio, {about['n']} films: mean absolute error {error['value']:.3f} "
            f"{_span(error)}, bias {bias['value']:+.3f}"
        )
    for stage, about in report["trust"].items():
        if stage == "score" or "spearman" not in about:
            continue
        rho, best, gain = about["spearman"], about["iou_of_best"], about["best_minus_all"]
        lines.append(
            f"{report['trust']['score']} of {stage}: Spearman with IoU {shown(rho, 2)}; best-scored "
            f"30 %: IoU {best['value']:.3f} ({shown(gain, sign=True)} over all)"
        )
    for why in dict.fromkeys(report["skipped"].values()):
        names = ", ".join(name for name, reason in report["skipped"].items() if reason == why)
        lines.append(f"left out: {names} – {why}")
    return "\n".join(lines)


def write_csv(measured: Measured, path: Path, *, pixels: int) -> None:
    """One line a film, stage and region.

    Raises:
        OutputError: the place cannot be written.
    """
    names = ["film", "source_set", "patient", "convention", "stage", "rival", "region", *METRICS]
    names += [f"{name}_percent" for name in METRICS[2:]] + ["trust", "swapped"]
    try:
        with path.open("w", newline="", encoding="utf-8") as handle:
            out = csv.writer(handle)
            out.writerow(names)
            for i in range(len(measured.names)):
                out.writerows(_csv_rows(measured, i, pixels))
    except OSError as error:
        raise OutputError(f"{path}: cannot be written ({error}). Choose another --out.") from error


def _csv_rows(measured: Measured, i: int, pixels: int) -> Iterator[list[object]]:
    """Of film i: a row a stage and region."""
    fields = measured.fields[i]
    about = [fields.get(k, "") for k in ("source_set", "patient", "mask_convention")]
    for stage in measured.stages:
        trust = measured.trust.get(stage)
        told = "" if trust is None else f"{trust[i]:.6g}"
        rival = int(stage in measured.rivals)
        for (owner, region), rows in measured.values.items():
            if owner != stage:
                continue
            figures = [*rows[i], *(100 * distance / pixels for distance in rows[i][2:])]
            shown = [f"{x:.6g}" for x in figures]
            swapped = int(measured.swapped[i])
            yield [measured.names[i], *about, stage, rival, region, *shown, told, swapped]
