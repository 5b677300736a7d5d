"""Is trust a prediction of IoU? Rank correlation, calibration, and sound masks against broken inputs."""

from __future__ import annotations

import json
from collections.abc import Sequence
from dataclasses import asdict
from pathlib import Path
from typing import Any

import numpy as np
from matplotlib.figure import Figure
from numpy.typing import NDArray

from lungsynth import __version__
from lungsynth.errors import DataError
from lungsynth.evaluation.common import Interval
from lungsynth.evaluation.masks.report import ranks_correlate
from lungsynth.evaluation.options import TrustOptions
from lungsynth.evaluation.reports import write_report
from lungsynth.evaluation.tables import aligned, shown
from lungsynth.evaluation.words.changes import auc
from lungsynth.files import check_writable
from lungsynth.masks.classes import ClassSpec, load_classes
from lungsynth.model.backbone import side_pixels
from lungsynth.model.checkpoint import resolve
from lungsynth.pipeline import Synthesizer
from lungsynth.training.mask_films import Annotated, regions_of_all
from lungsynth.training.trust.films import chosen_records
from lungsynth.training.trust.samples import (
    FILM,
    NO_FILM,
    Picture,
    Sample,
    broken,
    film_pictures,
    gather_samples,
    no_films,
)
from lungsynth.trust.score import TrustModel

GOOD = 0.8
"""IoU from which a mask is called good."""
BINS = 8


def per_picture(
    samples: Sequence[Sample], model: TrustModel
) -> list[tuple[str, str, float, float]]:
    """(source, kind, trust, IoU) of each picture: the means over its classes."""
    found: dict[tuple[str, str, int], list[Sample]] = {}
    for one in samples:
        found.setdefault((one.source, one.kind, one.picture), []).append(one)
    return [
        (
            source,
            kind,
            float(np.mean([0.0 if s.empty else model.of(s.values) for s in some])),
            float(np.mean([s.iou for s in some])),
        )
        for (source, kind, _), some in found.items()
    ]


def bootstrap(function: Any, *arrays: NDArray[np.float64], seed: int = 0, n: int = 500) -> Interval:
    """A figure with its interval over resamples of each array's first axis."""
    rng = np.random.default_rng(seed)
    draws = []
    for _ in range(n):
        picked = [a[rng.integers(0, len(a), len(a))] for a in arrays]
        draws.append(function(*picked))
    finite = np.array([d for d in draws if np.isfinite(d)])
    value = float(function(*arrays))
    return Interval.of(value, finite) if len(finite) else Interval(value, value, value)


def calibration(trust: NDArray[np.float64], iou: NDArray[np.float64]) -> list[dict[str, float]]:
    """Mean trust and mean IoU of each eighth of the pictures, in the order of trust."""
    order = np.argsort(trust, kind="stable")
    parts = [part for part in np.array_split(order, BINS) if len(part)]
    return [
        {
            "trust": round(float(trust[part].mean()), 4),
            "iou": round(float(iou[part].mean()), 4),
            "n": len(part),
        }
        for part in parts
    ]


def trust_figures(
    rows: Sequence[tuple[str, str, float, float]], *, seed: int = 0
) -> dict[str, Any]:
    """Figures of one or several sets together, from `per_picture`."""
    sound = np.array([(t, i) for _, kind, t, i in rows if kind == FILM], np.float64).reshape(-1, 2)
    if len(sound) < 3:
        raise DataError(f"{len(sound)} films with expert masks; trust is tested on 3 at least.")
    good = sound[sound[:, 1] >= GOOD, 0]
    out: dict[str, Any] = {
        "n": len(sound),
        "spearman": bootstrap(
            lambda a: ranks_correlate(a[:, 0], a[:, 1]), sound, seed=seed
        ).report(),
        "mean_trust": round(float(sound[:, 0].mean()), 4),
        "mean_iou": round(float(sound[:, 1].mean()), 4),
        "mean_absolute_error": round(float(np.abs(sound[:, 0] - sound[:, 1]).mean()), 4),
    }
    every = np.array([(t, i) for _, _, t, i in rows], np.float64)
    out["calibration"] = calibration(every[:, 0], every[:, 1])
    kinds = sorted({kind for _, kind, _, _ in rows if kind != FILM})
    bad = np.array([t for _, kind, t, _ in rows if kind != FILM], np.float64)
    if len(good) and len(bad):
        out["auc"] = bootstrap(lambda g, b: auc(b, g), good, bad, seed=seed).report()
    out["broken"] = {
        kind: _broken_figures(good, [(t, i) for _, k, t, i in rows if k == kind]) for kind in kinds
    }
    return out


def _broken_figures(
    good: NDArray[np.float64], pairs: Sequence[tuple[float, float]]
) -> dict[str, Any]:
    """Of one kind of broken input: (trust, IoU) of each, against the trust of good masks."""
    trust, iou = np.array(pairs, np.float64).T
    return {
        "n": len(pairs),
        "mean_trust": round(float(trust.mean()), 4),
        "mean_iou": round(float(iou.mean()), 4),
        "auc": round(auc(trust, good), 4) if len(good) else None,
    }


def run_trust(options: TrustOptions) -> str:
    """Measure trust on films with expert masks that it was not fitted on; returns a text.

    Raises:
        DataError: the checkpoint keeps no trust model, or there are too few films.
    """
    if options.out:
        check_writable(options.out)
    synthesizer = Synthesizer(options.model)
    trust = synthesizer.trust
    if trust is None:
        raise DataError(
            f"Checkpoint {synthesizer.name!r} keeps no trust model; fit one with `train trust`."
        )
    folder, pixels = Path(resolve(options.model)), side_pixels(synthesizer.pipe)
    report: dict[str, Any] = {}
    everything: list[tuple[str, str, float, float]] = []

    def judged(
        pictures: Sequence[Picture], specs: Sequence[ClassSpec]
    ) -> list[tuple[str, str, float, float]]:
        samples = gather_samples(
            synthesizer, pictures, specs, trust.shapes, seed=options.seed, quiet=options.quiet
        )
        return per_picture(samples, trust)

    for text in options.annotated:
        what = Annotated.parse(text)
        specs = load_classes(folder, what.convention or None)
        rows, _ = chosen_records(what, split=options.split or None, known=set(), seed=options.seed)
        regions = regions_of_all(rows, specs, pixels=pixels, source=what.source)
        name = f"{Path(what.source).stem}, {what.convention or 'first'}"
        if name in report:  # of the same name in another folder
            name = f"{what.source}, {what.convention or 'first'}"
        pictures = film_pictures(rows, regions, specs, pixels=pixels, source=name)
        pictures += broken(pictures, options.n_broken)
        found = judged(pictures, specs)
        report[name] = trust_figures(found, seed=options.seed)
        everything += found
    others = no_films(options.n_no_films, pixels, seed=options.seed, held_out=True)
    everything += judged(others, synthesizer.classes)
    report["all"] = trust_figures(everything, seed=options.seed)
    facts = {
        "sets": report,
        "model": synthesizer.name,
        "model_hash": synthesizer.model_hash,
        "fitted_on": dict(trust.info),
        "options": {k: v for k, v in asdict(options).items() if k not in ("out", "annotated")},
        "code_version": __version__,
    }
    if options.out:
        write_report(json.loads(json.dumps(facts, default=str)), options.out / "trust.json")
        draw_calibration(report, everything, options.out / "calibration.png")
    return trust_table(report)


def trust_table(report: dict[str, Any]) -> str:
    """The report as text."""
    rows = [
        [
            name,
            one["n"],
            shown(one["spearman"], 2),
            *(f"{one[k]:.3f}" for k in ("mean_trust", "mean_iou")),
            f"{one.get('auc', {}).get('value', float('nan')):.3f}",
        ]
        for name, one in report.items()
    ]
    broken = [
        [
            kind,
            one["n"],
            *(f"{one[k]:.3f}" for k in ("mean_trust", "mean_iou")),
            "unknown" if one["auc"] is None else f"{one['auc']:.3f}",
        ]
        for kind, one in report["all"].get("broken", {}).items()
    ]
    lines = aligned(["set", "n", "Spearman", "trust", "IoU", "AUC"], rows)
    if broken:
        lines += aligned(["broken input", "n", "trust", "IoU", "AUC against good masks"], broken)
    return "\n".join(lines)


def draw_calibration(
    report: dict[str, Any], rows: Sequence[tuple[str, str, float, float]], path: Path
) -> None:
    """Trust against IoU of every picture, and the mean of each eighth."""
    figure = Figure(figsize=(5, 5), layout="constrained")
    axes = figure.subplots()
    for kind in (FILM, *sorted({k for _, k, _, _ in rows} - {FILM, NO_FILM}), NO_FILM):
        points = np.array([(t, i) for _, k, t, i in rows if k == kind]).reshape(-1, 2)
        axes.scatter(points[:, 0], points[:, 1], s=8, alpha=0.5, label=kind)
    bins = report["all"]["calibration"]
    axes.plot(
        [b["trust"] for b in bins], [b["iou"] for b in bins], "ko-", label="mean of an eighth"
    )
    axes.plot([0, 1], [0, 1], color="grey", lw=0.8)
    axes.set(xlabel="trust: predicted IoU", ylabel="IoU", xlim=(0, 1), ylim=(0, 1))
    axes.legend(fontsize="small")
    figure.savefig(path, dpi=120, metadata={"Software": None})
