"""`evaluate downstream`: read and check the sets, make the cells that are missing, write the report."""

from __future__ import annotations

import hashlib
import json
from collections.abc import Mapping, Sequence
from dataclasses import asdict, replace
from pathlib import Path
from typing import Any

import numpy as np
from tqdm import tqdm

from lungsynth import __version__
from lungsynth.errors import ConfigError, DataError
from lungsynth.evaluation.common import write_report
from lungsynth.evaluation.downstream.cells import (
    ARMS,
    FILTERS,
    Cell,
    Shown,
    agreement,
    keep_best,
    run_cell,
)
from lungsynth.evaluation.downstream.data import (
    Pairs,
    describe,
    read_real,
    read_synthetic,
    refuse_conventions,
    refuse_leaks,
)
from lungsynth.evaluation.downstream.models import AUGMENTATIONS, MODELS, PRESETS, Preset
from lungsynth.evaluation.downstream.report import draw_plot, markdown, summarise
from lungsynth.evaluation.masks.figures import TruthSpec
from lungsynth.evaluation.options import DownstreamOptions
from lungsynth.files import check_writable

MIN_SYNTHETIC, MIN_TEST = 8, 2
CELLS = "cells"


def chosen(text: str, known: Sequence[str], option: str) -> list[str]:
    """`all` or `a,b` -> names.

    Raises:
        ConfigError: a name that there is not.
    """
    names = list(known) if text == "all" else [t.strip() for t in text.split(",") if t.strip()]
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
    words = [w.strip() for w in text.split(",") if w.strip()]
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


def named_sources(texts: Sequence[str]) -> dict[str, list[Path]]:
    """`[NAME=]PATH` -> name -> places; the same name twice makes one set."""
    out: dict[str, list[Path]] = {}
    for text in texts:
        name, sign, place = text.partition("=")
        if not sign or Path(text).exists():
            name, place = Path(text).stem, text
        if not Path(place).exists():
            raise DataError(
                f"--synthetic {text}: {place} does not exist. Give a folder or Parquet file."
            )
        out.setdefault(name, []).append(Path(place))
    return out


def _distinct(sources: Sequence[str]) -> list[str]:
    """File stems, numbered where one occurs twice."""
    stems = [Path(s).stem for s in sources]
    return [
        f"{stem}-{stems[:i].count(stem) + 1}" if stems.count(stem) > 1 else stem
        for i, stem in enumerate(stems)
    ]


def _join(parts: Sequence[Pairs]) -> Pairs:
    if len(parts) == 1:
        return parts[0]
    return Pairs(
        "+".join(p.name for p in parts),
        np.concatenate([p.images for p in parts]),
        np.concatenate([p.masks for p in parts]),
        [i for p in parts for i in p.ids],
        [i for p in parts for i in p.patients],
        [i for p in parts for i in p.hashes],
        tuple(sorted({c for p in parts for c in p.conventions})),
        np.concatenate([p.trust for p in parts]),
    )


def read_sets(options: DownstreamOptions, preset: Preset) -> tuple[Pairs, list[Pairs], list[Pairs]]:
    """Real training films, synthetic sets, test sets; refused where unfit.

    Raises:
        DataError: a set cannot be read or is too small, or a test film was trained on.
    """
    truth = TruthSpec(foreground=tuple(options.foreground), ignore=tuple(options.ignore))
    shared: dict[str, Any] = {
        "pixels": preset.pixels,
        "image_column": options.image_column,
        "mask_column": options.mask_column,
    }
    real = _join(
        [
            read_real(
                s,
                split=options.train_split or None,
                truth=truth,
                convention=options.convention,
                **shared,
            )
            for s in options.real
        ]
    )
    tests = [
        replace(
            read_real(
                s,
                split=options.test_split or None,
                truth=truth,
                limit=preset.limit_test,
                convention="" if options.mixed_conventions else options.convention,
                **shared,
            ),
            name=name,
        )
        for s, name in zip(options.tests, _distinct(options.tests), strict=True)
    ]
    ids = [int(x) for x in options.mask_ids.split(",") if x.strip().isdigit()]
    synthetic = [
        read_synthetic(
            name,
            places,
            mask_ids=ids,
            limit=preset.limit_synthetic,
            convention=options.synthetic_convention or options.convention,
            **shared,
        )
        for name, places in named_sources(options.synthetic).items()
    ]
    for part, least in [(s, MIN_SYNTHETIC) for s in synthetic] + [(t, MIN_TEST) for t in tests]:
        if len(part) < least:
            raise DataError(f"{part.name}: {len(part)} film(s) with masks; need at least {least}.")
    return real, synthetic, tests


def filtered(
    pairs: Pairs, name: str, options: DownstreamOptions, preset: Preset, device: str
) -> Pairs:
    """What a filter keeps of a synthetic set; noise learning is done once and written down.

    Raises:
        DataError: the set has no trust, or is too small.
    """
    if name == "none":
        return pairs
    if name == "trust":
        scores = pairs.trust
        if not np.isfinite(scores).all():
            raise DataError(
                f"{pairs.name}: {int((~np.isfinite(scores)).sum())} picture(s) have no trust; the "
                "filter needs a column `trust`, or record.json with `trust`, of a checkpoint that "
                "keeps a trust model. Leave --filters trust out."
            )
    else:
        path = options.out / f"noise-learning-{pairs.name}.json"
        told = {"sha256": pairs.fingerprint(), "preset": json.loads(json.dumps(asdict(preset)))}
        kept = _read(path)
        if kept is None or {k: kept.get(k) for k in told} != told:
            values = agreement(pairs, preset, device=device, quiet=options.quiet)
            kept = {**told, "agreement": values.round(6).tolist(), "ids": pairs.ids}
            write_report(kept, path)
        scores = np.array(kept["agreement"])
    return pairs.take(keep_best(scores, options.keep))


def _read(path: Path) -> dict[str, Any] | None:
    try:
        value = json.loads(path.read_text(encoding="utf-8"))
    except (OSError, ValueError):
        return None
    return value if isinstance(value, dict) else None


def make_cells(
    options: DownstreamOptions, counts: Sequence[int], n_all: int, names: Sequence[str]
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
    import torch  # deferred: slow to import

    preset = preset_of(options)
    make_cells(options, [1], 1, [""])  # refuses unknown names before anything is read
    check_writable(options.out)
    device = options.device
    if device == "auto":
        device = "cuda" if torch.cuda.is_available() else "cpu"
    real, synthetic, tests = read_sets(options, preset)
    refuse_leaks([real, *synthetic], tests)
    conventions = refuse_conventions([real, *synthetic, *tests], mixed=options.mixed_conventions)
    counts, notes = real_counts(options.n, preset, len(real))
    cells = make_cells(options, counts, len(real), [s.name for s in synthetic])
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
    prints: dict[Any, str] = {"real": real.fingerprint()}
    prints |= {(t.name, "test"): t.fingerprint() for t in tests}
    prints |= {key: part.fingerprint() for key, part in shown.synthetic.items()}
    results = []
    for cell in tqdm(cells, desc="cells", disable=options.quiet):
        path = options.out / CELLS / f"{cell.name()}.json"
        inputs, kept = cell_inputs(cell, shown, prints), _read(path)
        if kept is not None and kept.get("inputs") != inputs:
            raise ConfigError(
                f"{path} was made with other films, options or version. Use the same to resume, or "
                "another --out."
            )
        if kept is None:
            kept = {"cell": asdict(cell), "inputs": inputs, **run_cell(cell, shown)}
            write_report(kept, path)
        results.append((cell, kept))
    figures = summarise(
        results, {t.name: t.clusters() for t in tests}, pixels=preset.pixels, n_all=len(real)
    )
    report = {
        **figures,
        "preset": {"name": options.preset, **asdict(preset)},
        "seeds": options.seeds,
        "real": describe(real),
        "synthetic": [describe(s) for s in synthetic],
        "tests": [describe(t) for t in tests],
        "conventions": conventions,
        "filters": {f"{name}/{f}": len(part) for (name, f), part in shown.synthetic.items()},
        "keep": options.keep,
        "real_share": options.real_share,
        "notes": notes,
        "seconds": round(sum(kept["seconds"] for _, kept in results), 1),
        "code_version": __version__,
        "arguments": _arguments(options),
    }
    write_report(report, options.out / "downstream.json")
    text = markdown(report)
    (options.out / "downstream.md").write_text(text, encoding="utf-8")
    draw_plot(report, options.out / "downstream.png")
    return text


def _arguments(options: DownstreamOptions) -> list[str]:
    """The command's arguments that differ from the defaults, places by their last name only."""
    out = []
    for option, values in (
        ("--synthetic", options.synthetic),
        ("--real", options.real),
        ("--test", options.tests),
    ):
        for text in values:
            name, sign, place = text.partition("=")
            out += [option, f"{name}={Path(place).name}" if sign else Path(text).name]
    plain = DownstreamOptions(synthetic=(), real=(), tests=(), out=options.out)
    for key, value in asdict(options).items():
        if key in ("synthetic", "real", "tests", "out", "quiet", "device"):
            continue
        if value == getattr(plain, key):
            continue
        flag = "--" + key.replace("_", "-")
        if isinstance(value, bool):
            out.append(flag)
        else:
            for one in value if isinstance(value, list | tuple) else [value]:
                out += [flag, str(one)]
    return out
