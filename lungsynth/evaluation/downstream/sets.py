"""The sets of films of `evaluate downstream`: named, read, refused where unfit, filtered.

A figure on films that were trained on is worth nothing, so an overlap of training and test films, by
patient or by pixels, is an error; so are masks of unknown or several conventions, unless asked for.
"""

from __future__ import annotations

import json
from collections.abc import Sequence
from dataclasses import asdict, replace
from pathlib import Path
from typing import Any

import numpy as np

from lungsynth.errors import ConfigError, DataError
from lungsynth.evaluation.downstream.cells import agreement, keep_best
from lungsynth.evaluation.downstream.data import Pairs, read_real, read_synthetic
from lungsynth.evaluation.downstream.models import Preset
from lungsynth.evaluation.masks.figures import TruthSpec, split_names
from lungsynth.evaluation.options import DownstreamOptions
from lungsynth.evaluation.reports import write_report
from lungsynth.films.data import FIELDS

MIN_SYNTHETIC, MIN_TEST = 8, 2


def named_sources(texts: Sequence[str]) -> dict[str, list[Path]]:
    """`[NAME=]PATH` -> name -> places; the same name twice makes one set.

    Raises:
        DataError: a place is not there, or has the name of another set and was given none.
    """
    out: dict[str, list[Path]] = {}
    for text in texts:
        name, sign, place = text.partition("=")
        if not sign or Path(text).exists():
            name, place = Path(text).stem, text
            if name in out:
                raise DataError(
                    f"--synthetic {text}: {out[name][0]} is called {name!r} too. Give names, as NAME=PATH: "
                    "two to compare them, one to make a single set of both."
                )
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
    words = split_names(options.mask_ids)
    if not all(word.isdigit() for word in words):
        raise ConfigError(f"--mask-ids {options.mask_ids!r}; expected values such as 1,2.")
    synthetic = [
        read_synthetic(
            name,
            places,
            mask_ids=[int(word) for word in words],
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


def refuse_leaks(train: Sequence[Pairs], tests: Sequence[Pairs]) -> None:
    """Make sure that nothing that is trained on is tested on.

    Raises:
        DataError: a test film has the patient or the pixels of a training film.
    """
    for test in tests:
        for part in train:
            for what, ours, theirs in (
                ("patient", part.patients, test.patients),
                ("pixels", part.hashes, test.hashes),
            ):
                shared = {key for key in ours if key} & set(theirs)
                if shared:
                    k = next(i for i, key in enumerate(theirs) if key in shared)
                    raise DataError(
                        f"Leak: {sum(key in shared for key in theirs)} film(s) of test set "
                        f"{test.name!r} have the {what} of a film of {part.name!r} that is trained on "
                        f"(first: {test.ids[k]}). Test on other films: set --test-split, or name "
                        "another source."
                    )


def refuse_conventions(sets: Sequence[Pairs], *, mixed: bool) -> list[str]:
    """Make sure that all masks were drawn by one known rule.

    Args:
        sets: Training and test sets.
        mixed: Several conventions are meant to be.

    Returns:
        The conventions there are.

    Raises:
        ConfigError: a set's convention is unknown, or there are several, and `mixed` is False.
    """
    unknown = [s.name for s in sets if "" in s.conventions]
    if unknown and not mixed:
        raise ConfigError(
            f"Mask convention of {', '.join(unknown)} is unknown (no `{FIELDS[-1]}` column). Say which "
            "with --convention NAME, for synthetic masks with --synthetic-convention NAME."
        )
    there = sorted({c or "unknown" for s in sets for c in s.conventions})
    if len(there) > 1 and not mixed:
        told = "; ".join(f"{s.name}: {', '.join(s.conventions)}" for s in sets)
        raise ConfigError(
            f"Masks of several conventions, whose figures are not comparable ({told}). Choose one with "
            "--convention, or pass --mixed-conventions to measure across them all the same."
        )
    return there


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
        kept = read_kept(path)
        if kept is None or {k: kept.get(k) for k in told} != told:
            values = agreement(pairs, preset, device=device, quiet=options.quiet)
            kept = {**told, "agreement": values.round(6).tolist(), "ids": pairs.ids}
            write_report(kept, path)
        scores = np.array(kept["agreement"])
    return pairs.take(keep_best(scores, options.keep))


def read_kept(path: Path) -> dict[str, Any] | None:
    try:
        value = json.loads(path.read_text(encoding="utf-8"))
    except (OSError, ValueError):
        return None
    return value if isinstance(value, dict) else None
