"""How a mask is made, as the page's controls say it."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, replace
from typing import Any

import numpy as np

from lungsynth.errors import ConfigError
from lungsynth.masks.chain import CRF, STAGES, WALK
from lungsynth.masks.refine import RefineConfig, check_config, with_values
from lungsynth.permalink import Permalink, refine_texts

LOW_GAMMA, HIGH_GAMMA = 0.2, 0.8
MAX_GAMMAS = 13
PAGE_GAMMAS = 7
"""Levels the page lets "cross" try by default: about half the program's, for a quick slider."""

RANGES = {
    "beta": (0.5, 32.0, 0.5),
    "walk_steps": (0.0, 512.0, 8.0),
    "position_width": (0.01, 0.3, 0.01),
    "grey_width": (1.0, 60.0, 1.0),
    "smooth_width": (0.002, 0.05, 0.002),
    "n_gammas": (1.0, float(MAX_GAMMAS), 1.0),
    "ignore_band": (0.0, 0.45, 0.05),
}
"""Control -> lowest, highest and step of its slider."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Tuning:
    """How a mask is made; what is None is that of `base`."""

    method: str | None = None  # a refinement
    beta: float | None = None  # β of the walk
    walk_steps: float | None = None
    position_width: float | None = None  # θ_α of the CRF, share of the side
    grey_width: float | None = None  # θ_β, grey levels
    smooth_width: float | None = None  # θ_γ, share of the side
    n_gammas: float | None = None  # levels tried by "cross", evenly from 0.2 to 0.8
    ignore_band: float | None = None
    base: tuple[str, ...] = ()  # NAME=VALUE over the program's defaults, as a link carries them

    def config(self, preset: RefineConfig) -> RefineConfig:
        """The refinement's own options, over the program's defaults.

        Raises:
            ConfigError: a value is not valid.
        """
        for name in RANGES:
            value = getattr(self, name)
            is_number = isinstance(value, int | float) and not isinstance(value, bool)
            if value is not None and not (is_number and np.isfinite(value)):
                raise ConfigError(f"`{name}` is {str(value)[:40]!r}; expected a number.")
        if self.n_gammas is not None and (
            not 1 <= self.n_gammas <= MAX_GAMMAS or self.n_gammas % 1
        ):
            raise ConfigError(f"`n_gammas` is {self.n_gammas}; expected 1 to {MAX_GAMMAS}.")
        base = with_values(preset, self.base)
        crf: dict[str, Any] = {
            "theta_alpha": self.position_width,
            "theta_beta": self.grey_width,
            "theta_gamma": self.smooth_width,
        }
        own: dict[str, Any] = {
            "method": self.method,
            "beta": self.beta,
            "ignore_band": self.ignore_band,
            "n_steps": None if self.walk_steps is None else int(self.walk_steps),
        }
        config = replace(
            base,
            crf=replace(base.crf, **{k: v for k, v in crf.items() if v is not None}),
            **{k: v for k, v in own.items() if v is not None},
        )
        if config.method == "cross" and self.n_gammas is not None:
            config = replace(config, gammas=gammas(int(self.n_gammas)))
        check_config(config)
        return config


def used(method: str) -> set[str]:
    """The controls a refinement listens to; moving another would change the link and not the mask."""
    names, stages = {"ignore_band"}, STAGES.get(method, (WALK, CRF))
    if WALK in stages:
        names |= {"beta", "walk_steps"}
    if CRF in stages:
        names |= {"position_width", "grey_width", "smooth_width"}
    return names | ({"n_gammas"} if method == "cross" else set())


def gammas(n: int) -> tuple[float, ...]:
    """n levels, evenly from 0.2 to 0.8; 0.5 alone for one."""
    return (
        tuple(float(g) for g in np.linspace(LOW_GAMMA, HIGH_GAMMA, n).round(4)) if n > 1 else (0.5,)
    )


def shown(config: RefineConfig) -> dict[str, Any]:
    """A configuration as the controls show it: the nearest places of their sliders."""
    levels: float = PAGE_GAMMAS
    if config.gammas is not None or config.method == "cross":
        levels = len(config.gammas) if config.gammas is not None else MAX_GAMMAS
    values = {
        "beta": config.beta,
        "walk_steps": config.n_steps,
        "position_width": config.crf.theta_alpha,
        "grey_width": config.crf.theta_beta,
        "smooth_width": config.crf.theta_gamma,
        "n_gammas": levels,
        "ignore_band": config.ignore_band,
    }
    return {"method": config.method} | {name: _place(name, values[name]) for name in RANGES}


def _place(name: str, value: float) -> float:
    low, high, step = RANGES[name]
    return round(min(high, max(low, low + round((value - low) / step) * step)), 6)


def tuning_of(values: Sequence[Any]) -> Tuning:
    """The mask's controls, in the order of `shown`, and last the link that was opened, or None.

    A control that stands where a link put it means the link's exact value, which its slider may not
    be able to show.
    """
    *given, link = values
    base: tuple[str, ...] = link.refine if link is not None else ()
    preset = link.config() if link is not None else RefineConfig()
    start = shown(preset)
    told = {
        name: value
        for (name, at), value in zip(start.items(), given, strict=True)
        if value != at and value not in ("", None)
    }
    if (
        preset.method != "cross" and preset.gammas is None
    ):  # then the number of levels is the page's
        told.setdefault("n_gammas", given[list(start).index("n_gammas")])
    return Tuning(**told, base=base)


def unseen(link: Permalink | None) -> list[str]:
    """What a link changes that no control shows, as NAME=VALUE."""
    if link is None:
        return []
    seen = {
        "method",
        "beta",
        "n_steps",
        "gammas",
        "ignore_band",
        "crf.theta_alpha",
        "crf.theta_beta",
        "crf.theta_gamma",
    }
    told = [one for one in refine_texts(link.config()) if one.split("=")[0] not in seen]
    for name in ("scheduler", "precision"):
        if (value := getattr(link, name)) not in ("", "fp32"):
            told.append(f"{name}={value}")
    if link.guidance_interval is not None:
        told.append("guidance_interval={:g},{:g}".format(*link.guidance_interval))
    return told
