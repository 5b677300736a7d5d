"""What `evaluate downstream` was asked for, checked."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace
from typing import Any

from lungsynth.errors import ConfigError, DataError
from lungsynth.evaluation.downstream.models import PRESETS, Preset
from lungsynth.evaluation.options import DownstreamOptions


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
