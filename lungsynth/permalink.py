"""What a link, a dataset row and a run on the page share: the query that draws a picture again.

    ?prompt=PA+view%2C+tuberculosis&seed=11&steps=20&guidance=1.5&classes=nlm&crf.theta_beta=40

Keys are those of `Permalink`; parameters of the mask go by their names in `lungsynth.masks.refine`,
and what is not named has the program's default. The same weights give the same pixels.
"""

from __future__ import annotations

import json
import math
import re
from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from typing import Any
from urllib.parse import parse_qs, urlencode

from lungsynth.errors import ConfigError, DataError
from lungsynth.masks.refine import RefineConfig, check_config, with_values
from lungsynth.masks.refine import refine_names as refine_names  # others take it from here too
from lungsynth.model.options import (
    LINK_GUIDANCE,
    LINK_STEPS,
    PRECISION_NAMES,
    SCHEDULERS,
    SampleOptions,
)

MAX_PROMPT = 2000  # characters read
MAX_SEED = 2**53 - 1
"""The largest number a browser keeps exactly."""

MAX_STEPS, MAX_GUIDANCE, MAX_TIMESTEP = LINK_STEPS, LINK_GUIDANCE, 1000

SIZE = re.compile(r"[1-9]\d{0,4}(x[1-9]\d{0,4})?")
"""Of a picture, as `Permalink.size` has it."""

NAME, HASH = r"[\w.\-]{1,64}", r"[0-9a-fA-F]{0,64}"
"""Of a set of classes or a row, and of weights."""

NAMES = ("size", "scheduler", "precision", "classes", "weights", "row")
"""Keys whose value is text, beside `prompt`."""


@dataclass(frozen=True, slots=True)
class Permalink:
    """A picture with its mask, as it can be asked for again."""

    prompt: str
    seed: int = 0
    steps: int = SampleOptions.steps
    guidance: float = SampleOptions.guidance
    size: str = ""  # pixels: "320", or width x height "320x256"; "" = the checkpoint's side
    scheduler: str = ""  # a key of lungsynth.model.sampling.SCHEDULERS; "" = the checkpoint's
    precision: str = "fp32"  # see lungsynth.model.precision; not named in a query = fp32
    classes: str = ""  # convention of the mask; "" = the checkpoint's first
    refine: tuple[str, ...] = ()  # NAME=VALUE; see lungsynth.masks.refine.with_values
    weights: str = ""  # hash of the checkpoint it was drawn with; "" = any
    row: str = ""  # id of the dataset row it is
    # timesteps (low, high) where guidance is on; None, and a link that names none, = everywhere
    guidance_interval: tuple[float, float] | None = None

    def pixels(self) -> tuple[int | None, int | None]:
        """(height, width); None for the checkpoint's own."""
        if not self.size:
            return None, None
        width, _, height = self.size.partition("x")
        return int(height or width), int(width)

    def config(self) -> RefineConfig:
        """How the mask is made.

        Raises:
            ConfigError: a parameter is unknown or out of range.
        """
        return with_values(RefineConfig(), self.refine)


def to_query(link: Permalink) -> str:
    """The query of a link, without the question mark."""
    values: dict[str, Any] = {
        "prompt": link.prompt,
        "seed": link.seed,
        "steps": link.steps,
        "guidance": f"{link.guidance:g}",
        "guidance_interval": ""
        if link.guidance_interval is None
        else _text(link.guidance_interval),
        **{name: getattr(link, name) for name in NAMES},
        "precision": "" if link.precision == "fp32" else link.precision,
        **dict(text.split("=", 1) for text in link.refine),
    }
    return urlencode({key: value for key, value in values.items() if value != ""})


def read_query(query: str | Mapping[str, str]) -> Permalink | None:
    """What a query asks for; None when it names no prompt. Other keys are ignored.

    Args:
        query: With or without the question mark, or its values by name.

    Raises:
        ConfigError: a value is none, or out of range.
    """
    if isinstance(query, str):
        query = {key: values[-1] for key, values in parse_qs(query.lstrip("?")).items()}
    prompt = str(query.get("prompt", "")).strip()[:MAX_PROMPT]
    if not prompt:
        return None
    preset = Permalink(prompt)
    there = refine_names()
    for name in query:
        if name.startswith("crf.") and name not in there:
            raise ConfigError(f"The link sets {name[:40]!r}; there are {', '.join(there)}.")
    refine = tuple(f"{name}={str(query[name])[:400]}" for name in there if name in query)
    link = Permalink(
        prompt,
        int(_number(query, "seed", preset.seed, 0, MAX_SEED)),
        int(_number(query, "steps", preset.steps, 1, MAX_STEPS)),
        float(_number(query, "guidance", preset.guidance, 1, MAX_GUIDANCE)),
        _text_of(query, "size", SIZE.pattern, "pixels, as 256 or 320x256"),
        _one_of(query, "scheduler", SCHEDULERS),
        _one_of(query, "precision", PRECISION_NAMES) or "fp32",
        _text_of(query, "classes", NAME, "letters and digits"),
        refine,
        _text_of(query, "weights", HASH, "the hash of a checkpoint, of 0-9 and a-f").lower(),
        _text_of(query, "row", NAME, "letters and digits"),
        _interval(query),
    )
    link.config()
    return link


def _number(query: Mapping[str, str], name: str, default: float, low: float, high: float) -> float:
    given = str(query.get(name, default))
    try:
        value = float(given) if name == "guidance" else int(given)
    except ValueError:
        value = math.nan
    if not low <= value <= high:
        kind = "a number" if name == "guidance" else "a whole number"
        raise ConfigError(
            f"`{name}` in the link is {given[:40]!r}; expected {kind} from {low:g} to {high:,.0f}."
        )
    return value


def _interval(query: Mapping[str, str]) -> tuple[float, float] | None:
    given = str(query.get("guidance_interval", ""))
    if not given:
        return None
    try:
        low, high = (float(part) for part in given.split(","))
    except ValueError:
        low = high = math.nan
    if not 0 <= low < high <= MAX_TIMESTEP:
        raise ConfigError(
            f"`guidance_interval` in the link is {given[:40]!r}; expected two timesteps from 0 to "
            f"{MAX_TIMESTEP}, the lower first, as 200,800."
        )
    return low, high


def _text_of(query: Mapping[str, str], name: str, pattern: str, expected: str) -> str:
    given = str(query.get(name, ""))
    if given and not re.fullmatch(pattern, given):
        raise ConfigError(f"`{name}` in the link is {given[:40]!r}; expected {expected}.")
    return given


def _one_of(query: Mapping[str, str], name: str, there: Iterable[str]) -> str:
    given = str(query.get(name, ""))
    if given and given not in there:
        raise ConfigError(f"`{name}` in the link is {given[:40]!r}; there are {', '.join(there)}.")
    return given


def refine_texts(config: RefineConfig, *, every: bool = False) -> tuple[str, ...]:
    """A configuration as NAME=VALUE, which `lungsynth.masks.refine.with_values` reads.

    With `every`, also what has its default, so that the text outlives a change of defaults.
    """
    preset, texts = RefineConfig(), []
    for name in refine_names():
        value, default = (_value(one, name) for one in (config, preset))
        if value is not None and (every or value != default):
            texts.append(f"{name}={_text(value)}")
    return tuple(texts)


def _value(config: RefineConfig, name: str) -> Any:
    owner, _, inner = name.rpartition(".")
    return getattr(getattr(config, owner) if owner else config, inner)


def _text(value: Any) -> str:
    if isinstance(value, bool):
        return str(value).lower()
    if isinstance(value, tuple | list):
        return ",".join(_text(one) for one in value)
    if isinstance(value, float):
        return f"{value:g}" if float(f"{value:g}") == value else repr(value)
    return str(value)


def of_row(row: Mapping[str, Any]) -> Permalink:
    """The link of a dataset row: prompt, seed, sampling and every parameter of its mask.

    Args:
        row: As `datasets` or Parquet gives it. `prompt` and `seed` are needed; `steps`, `guidance`,
            `scheduler` (class name), `precision`, `mask_convention`, `refine` (JSON), `model_hash`,
            `id` and the picture's size are taken where the row has them.

    Raises:
        DataError: there is no prompt or seed, or `refine` is not JSON of parameters.
    """
    if not row.get("prompt") or row.get("seed") is None:
        raise DataError(f"The row has {', '.join(row) or 'nothing'}; expected `prompt` and `seed`.")
    try:
        told = json.loads(row.get("refine") or "{}")
        crf = told.pop("crf", {})
        gammas = told.pop("gammas", None)
        preset = RefineConfig()
        config = RefineConfig(
            **told, gammas=None if gammas is None else tuple(gammas), crf=type(preset.crf)(**crf)
        )
        check_config(config)
    except (TypeError, ValueError, AttributeError, OverflowError, ConfigError) as error:
        raise DataError(
            f"Column `refine` of row {row.get('id')} cannot be read ({error})."
        ) from error
    refine = refine_texts(config, every=True) if row.get("refine") else ()
    short = {one.label: name for name, one in SCHEDULERS.items()}
    preset_link = Permalink("")
    return Permalink(
        str(row["prompt"]),
        int(row["seed"]),
        int(row.get("steps") or preset_link.steps),
        float(f"{row.get('guidance') or preset_link.guidance:g}"),
        _size(row.get("image")),
        short.get(str(row.get("scheduler")), ""),
        str(row.get("precision") or preset_link.precision),
        str(row.get("mask_convention") or ""),
        refine,
        str(row.get("model_hash") or ""),
        str(row.get("id") or ""),
    )


def row_query(row: Mapping[str, Any]) -> str:
    """The query that opens a dataset row on the page; see `of_row`.

    Example: `"https://LAB-PAGE.hf.space/?" + row_query(dataset["train"][0])`.
    """
    return to_query(of_row(row))


def _size(cell: Any) -> str:
    """`size` of a picture: a PIL image, or a cell with the bytes of a PNG."""
    size = getattr(cell, "size", None)
    data = cell.get("bytes") if isinstance(cell, Mapping) else None
    if isinstance(data, bytes) and data[:8] == b"\x89PNG\r\n\x1a\n":
        size = (int.from_bytes(data[16:20]), int.from_bytes(data[20:24]))
    if not isinstance(size, tuple):
        return ""
    return f"{size[0]}" if size[0] == size[1] else f"{size[0]}x{size[1]}"
