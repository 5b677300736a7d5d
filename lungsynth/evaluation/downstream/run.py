"""`evaluate downstream`: read and check the sets, make the cells that are missing, write the report."""

from __future__ import annotations

import hashlib
import json
from collections.abc import Mapping, Sequence
from dataclasses import asdict, replace
from typing import Any

import torch
from tqdm import tqdm

from lungsynth import __version__
from lungsynth.errors import ConfigError, DataError
from lungsynth.evaluation.downstream.cell import Cell
from lungsynth.evaluation.downstream.cells import ARMS, FILTERS, Shown, run_cell
from lungsynth.evaluation.downstream.data import describe
from lungsynth.evaluation.downstream.models import AUGMENTATIONS, MODELS, PRESETS, Preset
from lungsynth.evaluation.downstream.report import draw_plot, markdown, summarise
from lungsynth.evaluation.downstream.sets import (
    filtered,
    read_kept,
    read_sets,
    refuse_conventions,
    refuse_leaks,
)
from lungsynth.evaluation.masks.figures import split_names
from lungsynth.evaluation.options import DownstreamOptions
from lungsynth.evaluation.reports import write_report
from lungsynth.files import check_writable

CELLS = "cells"


def chosen(text: str, known: Sequence[str], option: str) -> list[str]:
    """`all` or `a,b` -> names.

    Raises:
        ConfigError: a name that there is not.
    """
    names = list(known) if text == "all" else split_names(text)
    wrong = [name for name in names if name not in known]
    if wrong or not names:
        raise ConfigError(f"{option} {text!r}; expected all, or some of {', '.join(known)}.")
    return list(dict.fromkeys(names))


def preset_of(options: DownstreamOptions) -> Preset:
    """The preset with what the options change.

    Raises:
        ConfigError: unknown preset, or a side that the models cannot take.
    """
    if options.preset not in PRESETS:
        raise ConfigError(f"--preset {options.preset!r}; expected {', '.join(PRESETS)}.")
    changes: dict[str, Any] = {
        k: v
        for k in ("steps", "pixels", "limit_test", "limit_synthetic")
        if (v := getattr(options, k)) is not None
    }
    preset = replace(PRESETS[options.preset], **changes)
    if preset.pixels % 32:
        raise ConfigError(f"--pixels {preset.pixels}; expected a multiple of 32.")
    return preset


def real_counts(text: str, preset: Preset, n_all: int) -> tuple[list[int], list[str]]:
    """How many real films the arms are given, and notes on what was left out.

    Raises:
        ConfigError: not numbers.
        DataError: more films were asked for than there are.
    """
    words = split_names(text)
    if any(w != "all" and not (w.isdigit() and int(w) > 0) for w in words):
        raise ConfigError(f"--n {text!r}; expected numbers and all, such as 1,5,all.")
    numbers = [n_all if w == "all" else int(w) for w in words]
    if max(numbers, default=0) > n_all:
        raise DataError(
            f"--n asks for {max(numbers)} real films; there are {n_all}. Name more with --real."
        )
    if words:
        return sorted(set(numbers)), []
    left = [n for n in preset.n if n >= n_all]
    notes = (
        [f"Left out: n = {', '.join(map(str, left))}, there are {n_all} real films."]
        if left
        else []
    )
    return [*(n for n in preset.n if n < n_all), n_all], notes


def make_cells(
    options: DownstreamOptions, counts: Sequence[int], names: Sequence[str]
) -> list[Cell]:
    """Every cell of the table, real arms first, seed by seed."""
    cells = []
    for seed in range(options.seeds):
        for model in chosen(options.models, MODELS, "--models"):
            for augmentation in chosen(options.augmentations, AUGMENTATIONS, "--augmentations"):
                for arm in chosen(options.arms, ARMS, "--arms"):
                    sets = (
                        [("", "none")]
                        if arm == "real"
                        else [
                            (name, f)
                            for name in names
                            for f in chosen(options.filters, FILTERS, "--filters")
                        ]
                    )
                    cells += [
                        Cell(
                            arm=arm,
                            model=model,
                            seed=seed,
                            n_real=n,
                            synthetic=name,
                            filter=f,
                            augmentation=augmentation,
                        )
                        for name, f in sets
                        for n in ([0] if arm == "synthetic" else counts)
                    ]
    return cells


def cell_inputs(cell: Cell, shown: Shown, prints: Mapping[Any, str]) -> str:
    """SHA-256 of everything a cell's figures depend on, 16 hexadecimal digits."""
    told = [
        asdict(cell),
        asdict(shown.preset),
        __version__,
        [prints[t.name, "test"] for t in shown.tests],
        prints["real"] if cell.n_real else "",
        "" if cell.arm == "real" else prints[cell.synthetic, cell.filter],
        shown.real_share if cell.arm == "synthetic+real" else 0,
    ]
    return hashlib.sha256(json.dumps(told, sort_keys=True).encode()).hexdigest()[:16]


def run_downstream(options: DownstreamOptions) -> str:
    """Train and test every cell that is missing, write the report, and return it as Markdown.

    Raises:
        LungSynthError: options, films or masks do not fit; before anything long.
    """
    preset = preset_of(options)
    make_cells(options, [1], [""])  # refuses unknown names before anything is read
    check_writable(options.out)
    device = options.device
    if device == "auto":
        device = "cuda" if torch.cuda.is_available() else "cpu"
    real, synthetic, tests = read_sets(options, preset)
    refuse_leaks([real, *synthetic], tests)
    conventions = refuse_conventions([real, *synthetic, *tests], mixed=options.mixed_conventions)
    counts, notes = real_counts(options.n, preset, len(real))
    cells = make_cells(options, counts, [s.name for s in synthetic])
    filters = chosen(options.filters, FILTERS, "--filters")
    shown = Shown(
        real,
        {(s.name, f): filtered(s, f, options, preset, device) for s in synthetic for f in filters},
        tests,
        preset,
        options.real_share,
        device,
        options.quiet,
        notes,
    )
    results = make_missing(cells, shown, options)
    report = {
        **summarise(
            results, {t.name: t.clusters() for t in tests}, pixels=preset.pixels, n_all=len(real)
        ),
        **_facts(options, shown),
        "synthetic": [describe(s) for s in synthetic],
        "conventions": conventions,
        "seconds": round(sum(kept["seconds"] for _, kept in results), 1),
    }
    write_report(report, options.out / "downstream.json")
    text = markdown(report)
    (options.out / "downstream.md").write_text(text, encoding="utf-8")
    draw_plot(report, options.out / "downstream.png")
    return text


def make_missing(
    cells: Sequence[Cell], shown: Shown, options: DownstreamOptions
) -> list[tuple[Cell, dict[str, Any]]]:
    """Each cell with its figures; those a run before this one wrote are read.

    Raises:
        ConfigError: a cell was made with other films, options or version.
    """
    prints: dict[Any, str] = {"real": shown.real.fingerprint()}
    prints |= {(t.name, "test"): t.fingerprint() for t in shown.tests}
    prints |= {key: part.fingerprint() for key, part in shown.synthetic.items()}
    results = []
    for cell in tqdm(cells, desc="cells", disable=options.quiet):
        path = options.out / CELLS / f"{cell.name()}.json"
        inputs, kept = cell_inputs(cell, shown, prints), read_kept(path)
        if kept is not None and kept.get("inputs") != inputs:
            raise ConfigError(
                f"{path} was made with other films, options or version. Use the same to resume, or "
                "another --out."
            )
        if kept is None:
            kept = {"cell": asdict(cell), "inputs": inputs, **run_cell(cell, shown)}
            write_report(kept, path)
        results.append((cell, kept))
    return results


def _facts(options: DownstreamOptions, shown: Shown) -> dict[str, Any]:
    """What a report says of how its figures came about."""
    return {
        "preset": {"name": options.preset, **asdict(shown.preset)},
        "seeds": options.seeds,
        "real": describe(shown.real),
        "tests": [describe(t) for t in shown.tests],
        "filters": {f"{name}/{f}": len(part) for (name, f), part in shown.synthetic.items()},
        "keep": options.keep,
        "real_share": options.real_share,
        "notes": shown.notes,
        "code_version": __version__,
    }
