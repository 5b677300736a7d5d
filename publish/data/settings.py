"""`release.yaml`: every setting of a build, with its type, range and default, checked strictly."""

from __future__ import annotations

import re
from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from lungsynth.errors import ConfigError
from lungsynth.masks.registry import RefineConfig
from lungsynth.model.options import (
    MAX_GUIDANCE,
    MAX_STEPS,
    PRECISION_HELP,
    PRECISION_NAMES,
    SampleOptions,
    option,
)
from publish.data.parsing import from_mapping, load_yaml


def _ranged(default: float, low: float, high: float) -> Any:
    """A field whose value lies in [low, high]."""
    return option(default=default, min=low, max=high)


@dataclass(frozen=True, kw_only=True)
class FilterSettings:
    """Which rows are good enough. A row that fails is logged with its reasons, not published."""

    apply: bool = True  # False keeps every row and writes the reasons into `qc_flags`
    min_area: float = _ranged(0.02, 0, 1)  # share of the picture, of a class that `areas` lacks
    max_area: float = _ranged(0.4, 0, 1)
    areas: dict[str, tuple[float, float]] = field(default_factory=dict)  # class -> its own limits
    min_trust: float = _ranged(0.75, 0, 1)  # predicted IoU of every class
    min_stability: float = _ranged(0, 0, 1)  # IoU of the mask thresholded high and low, likewise
    min_plausibility: float = _ranged(0.01, 0, 1)  # share of training masks at least as unusual
    min_contrast: float = _ranged(10.0, 0, 128)  # standard deviation of the picture's grey levels
    min_pass: float = _ranged(0.5, 0, 1)  # share of rows that must pass, or `check` fails
    max_ratio: float = _ranged(3.0, 1, 1000)  # larger ÷ smaller area of "left X" and "right X"
    sides: bool = True  # "left X" must lie right of "right X": the patient's sides


@dataclass(frozen=True, kw_only=True)
class SourceSettings:
    """A data set or model a release is made from, besides those its checkpoint states itself."""

    name: str
    licence: str  # a Hub licence identifier, such as cc-by-4.0, or "unknown"
    url: str = ""


@dataclass(frozen=True, kw_only=True)
class LookSettings:
    """What people saw who looked at published pairs."""

    n: int = option(min=1, max=10**9)  # pairs looked at, drawn by chance
    bad: int = option(min=0, max=10**9)  # of them with a wrong mask or picture
    by: str = ""  # who looked, and what counted as bad


MEASURED = ("memorisation", "obedience", "masks")
"""What a release must have measured, or say that it was not."""


@dataclass(frozen=True, kw_only=True)
class CardSettings:
    """What only the maintainer can know."""

    title: str = "Synthetic chest X-rays with masks"
    repo: str = ""  # ORGANISATION/NAME on the Hub, for the snippets
    authors: tuple[str, ...] = ()
    contact: str = ""  # where a picture can be reported, such as an e-mail address or a URL
    date: str = ""  # of publication, YYYY-MM-DD; "" for the day the version is made
    sources: tuple[SourceSettings, ...] = ()  # besides those of the checkpoint
    licence: str = ""  # where terms of a source leave it to a person: cc0-1.0, cc-by-4.0 …
    by_eye: LookSettings | None = None
    unmeasured: tuple[str, ...] = ()  # of MEASURED, what is released without having been measured


@dataclass(frozen=True, kw_only=True)
class Settings:
    """Every setting of `publish build`. Paths are relative to the YAML file."""

    n: int = option(
        default=0,
        min=1,
        max=10**12,
        show=False,
        metavar="N",
        help="Rows to draw; those that fail the filter are not published.",
    )
    seed: int = option(
        default=0, min=0, max=2**53 - 1, help="Decides every prompt and every picture."
    )
    shard_rows: int = option(
        default=256, min=1, max=10**7, metavar="N", help="Rows drawn for a Parquet file."
    )
    model: str | None = option(
        default=None,
        metavar="NAME|DIR",
        help="Checkpoint with a classes.json.  [default: mini, shipped]",
    )
    steps: int = option(default=SampleOptions.steps, min=1, max=MAX_STEPS, help="Denoising steps.")
    guidance: float = option(
        default=SampleOptions.guidance,
        min=1.0,
        max=MAX_GUIDANCE,
        help="How strictly the prompt is followed; 1 = off.",
    )
    scheduler: str = option(
        default="default", metavar="NAME", help="Sampler; default keeps the checkpoint's."
    )
    precision: str = option(
        default="auto", choices=PRECISION_NAMES, help=PRECISION_HELP.format("the denoising network")
    )
    prompts: str | tuple[str, ...] | None = option(
        default=None,
        metavar="FILE",
        help="Text with one prompt a line, or CSV, JSONL or Parquet with a column; taken in turn.  "
        "[default: prompts made from the seed]",
    )
    prompt_column: str = option(default="prompt", metavar="NAME", help="Column of such a file.")
    splits: dict[str, float] = option(
        "--split",
        default_factory=lambda: {"train": 1.0},
        metavar="NAME=SHARE",
        help="Repeat for several; rows of one prompt stay together.  [default: train=1]",
    )
    convention: str | None = option(
        default=None,
        metavar="NAME",
        help="By whose rule masks are drawn, where the checkpoint has several, such as v7.  "
        "[default: its first]",
    )
    classes: tuple[str, ...] | None = option(
        default=None,
        commas=True,
        metavar="NAMES",
        help="Classes kept in the masks, with commas between.  [default: all]",
    )
    keep_attention: bool = option(
        "--keep-attention/--no-keep-attention",
        default=False,
        help="A column with the attention map of each word.",
    )
    keep_probability: bool = option(
        "--keep-probability/--no-keep-probability",
        default=True,
        help="Columns with each class's probability.",
    )
    verifier: str | None = option(
        default=None,
        metavar="DIR",
        help="Draw again what this encoder rejects (of `lungsynth train encoder --patients half-b`); "
        "shipped for the checkpoint's own.  [default: nobody rejects]",
    )
    redraws: int = option(
        default=3,
        min=0,
        max=100,
        metavar="N",
        help="Drawings after the first, of a picture it rejects.",
    )
    evaluation: tuple[str, ...] = option(
        default=(),
        metavar="FILE",
        help="JSON of `lungsynth evaluate` masks, downstream, fidelity or obedience, for the card; "
        "repeatable.",
    )
    memorisation: str | None = option(
        default=None,
        metavar="FILE",
        help="JSON of `lungsynth evaluate memorisation` or `neighbours`, for card and check.",
    )
    batch_size: int = option(default=1, min=1, max=4096, help="Pictures drawn together.")
    device: str = option(default="auto", help="auto, cpu, cuda …")
    refine: RefineConfig = field(default_factory=RefineConfig)
    filter: FilterSettings = field(default_factory=FilterSettings)
    card: CardSettings = field(default_factory=CardSettings)


IN_SECTIONS = {
    "apply_filter": ("filter", "apply"),
    "ignore_band": ("refine", "ignore_band"),
    "unmeasured": ("card", "unmeasured"),
}
"""Options for a key of a section."""


def read_settings(path: Path | None, overrides: Mapping[str, Any] | None = None) -> Settings:
    """Settings of a YAML file and of options, which win; options that are None were not given.

    Raises:
        DataError: the file cannot be read.
        ConfigError: it is not YAML, a key is unknown or doubled, a value has the wrong type or
            range, or `n` is missing.
    """
    values = load_yaml(path) if path is not None else {}
    given = {key: value for key, value in (overrides or {}).items() if value is not None}
    if path is not None:
        values = _absolute(values, path.parent)
    where = str(path) if path is not None else "settings"
    for name, (section, key) in IN_SECTIONS.items():
        value, inside = given.pop(name, None), values.get(section, {})
        if value is not None and isinstance(inside, dict):
            values = {**values, section: {**inside, key: value}}
    settings = from_mapping(Settings, {**values, **given}, where)
    _check_card(settings.card, where)
    if settings.n < 1:
        raise ConfigError(f"{where}: `n` is missing; say how many rows to draw, such as --n 1000.")
    if settings.filter.min_area > settings.filter.max_area:
        raise ConfigError(
            f"{where}: filter.min_area {settings.filter.min_area} is above filter.max_area "
            f"{settings.filter.max_area}, so no row could pass."
        )
    return settings


def _check_card(card: CardSettings, where: str) -> None:
    """Raise ConfigError when what the maintainer says cannot be."""
    unknown = [name for name in card.unmeasured if name not in MEASURED]
    if unknown:
        raise ConfigError(
            f"{where}: card.unmeasured: {unknown[0]!r}; expected some of {', '.join(MEASURED)}."
        )
    if card.by_eye is not None and card.by_eye.bad > card.by_eye.n:
        raise ConfigError(
            f"{where}: card.by_eye: {card.by_eye.bad} bad of {card.by_eye.n}; expected at most all."
        )
    if card.date and not re.fullmatch(r"\d{4}-\d{2}-\d{2}", card.date):
        raise ConfigError(f"{where}: card.date: {card.date!r}; expected YYYY-MM-DD.")


def _absolute(values: dict[str, Any], folder: Path) -> dict[str, Any]:
    """Paths of a YAML file, seen from where the file lies."""

    def place(value: Any) -> Any:
        return str(folder / value) if isinstance(value, str) else value

    out = dict(values)
    for key in ("prompts", "memorisation"):
        if key in out:
            out[key] = place(out[key])
    if isinstance(out.get("evaluation"), list):
        out["evaluation"] = [place(one) for one in out["evaluation"]]
    verifier = out.get("verifier")
    if isinstance(verifier, str) and verifier != "shipped":
        out["verifier"] = place(verifier)
    model = out.get("model")
    if isinstance(model, str) and (folder / model).is_dir():
        out["model"] = str(folder / model)
    return out
