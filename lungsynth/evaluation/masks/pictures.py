"""Measured masks as pictures: a plot of every stage, a sheet of films."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import Any

import numpy as np
from matplotlib.backends.backend_agg import FigureCanvasAgg
from matplotlib.figure import Figure
from PIL import Image

from lungsynth.evaluation.masks.figures import ALL
from lungsynth.evaluation.masks.measured import Measured
from lungsynth.images import contact_sheet, overlay


def draw_plot(
    report: Mapping[str, Any], measured: Measured, path: Path, *, title: str = ""
) -> None:
    """IoU of every stage with its interval, beside trust against IoU of the main stage."""
    names = list(report["stages"])[::-1]
    entries = [report["stages"][n]["regions"][ALL]["iou"] for n in names]
    figure = Figure(figsize=(11, max(4.0, 0.3 * len(names) + 1.5)), layout="constrained")
    FigureCanvasAgg(figure)
    left, right = figure.subplots(1, 2, width_ratios=(1.5, 1))
    value = np.array([e["value"] for e in entries])
    error = np.array([[e["value"] - e["low"], e["high"] - e["value"]] for e in entries]).T
    colours = ["#999999" if report["stages"][n]["rival"] else "#0072b2" for n in names]
    left.barh(range(len(names)), value, xerr=np.maximum(error, 0), color=colours, ecolor="#333333")
    left.set_yticks(range(len(names)), names, fontsize=8)
    left.set(xlim=(0, 1), xlabel="IoU, 95 % interval over films (grey: rivals)", title=title)
    trust = np.array(measured.trust.get(measured.main, []))
    if trust.size:
        iou = np.array(measured.values[measured.main, ALL])[:, 0]
        right.scatter(trust, iou, s=12, color="#0072b2", alpha=0.6)
        about = report["trust"][measured.main].get("spearman")
        rho = f", Spearman {about['value']:.2f}" if about else ""
        right.set(xlabel="trust: predicted IoU", ylabel="IoU", title=f"{measured.main}{rho}")
    else:
        right.set_axis_off()
    figure.savefig(path, dpi=120)


def draw_sheet(measured: Measured, path: Path, *, n: int = 10) -> None:
    """The `n` worst and `n` median films of the main stage.

    Of each: above, ours and the expert's mask; below, the film and what differs (orange: too much,
    blue: missed).
    """
    scores = np.array(measured.values[measured.main, ALL])[:, 0]
    order = np.argsort(scores, kind="stable")
    middle = max(0, len(order) // 2 - n // 2)
    chosen = [("worst", i) for i in order[:n]]
    chosen += [("median", i) for i in order[middle : middle + n] if i not in order[:n]]
    pictures, lines = [], []
    for kind, index in chosen:
        image, written, labels = measured.spill[int(index)][:3]
        regions, valid = measured.spec.regions(written)
        expert = np.where(valid, regions[ALL] * 3, 255).astype(np.uint8)
        for name, region in regions.items():
            if name != ALL:
                expert[region & valid] = measured.class_ids[name]
        ours = np.isin(labels, list(measured.counted_ids))
        wrong = np.where(ours & ~regions[ALL], 1, np.where(regions[ALL] & ~ours, 2, 0)) * valid
        grey = np.repeat(image[..., None], 3, 2)
        tiles = [
            [overlay(image, labels), overlay(image, expert)],
            [grey, overlay(image, wrong.astype(np.uint8))],
        ]
        pictures.append(Image.fromarray(np.concatenate([np.concatenate(row, 1) for row in tiles])))
        lines.append(f"{kind} {measured.names[index]} IoU {scores[index]:.3f}")
    contact_sheet(pictures, lines, n_columns=5, pixels=384).save(path)
