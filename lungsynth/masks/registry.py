"""How a mask is made: every parameter with its default, and where refinements register.

A refinement is one file with one registration:

    from lungsynth.masks.registry import refinement

    @refinement("smooth", stage="Gaussian", about="A Gaussian over the probability.")
    def smooth(p, image, config, affinity):
        return blurred(p)

Help texts, the page, `evaluate masks`, `publish` and the record of a picture learn of it from here. A
file of this package is imported by `lungsynth.masks.refine`. One of another package is found by its entry
point in the group `lungsynth.refinements`, or by the environment variable LUNGSYNTH_PLUGINS, which
names modules with commas between them.
"""

from __future__ import annotations

import importlib
import os
from collections.abc import Callable
from dataclasses import dataclass, field
from importlib.metadata import entry_points
from typing import TYPE_CHECKING

from lungsynth.arrays import FloatArray, UInt8Array
from lungsynth.masks.crf import CrfConfig

if TYPE_CHECKING:
    from lungsynth.masks.walk import AffinityField

PLUGINS = "LUNGSYNTH_PLUGINS"
GROUP = "lungsynth.refinements"


@dataclass(frozen=True, kw_only=True)
class RefineConfig:
    """How a mask is made from a map."""

    method: str = "crf"  # a key of REFINEMENTS
    # "auto" = "otsu" for words and the most probable class for learnt tokens; a key of THRESHOLDS by
    # name sets the level of both. "cross" on words does not threshold first: it searches γ
    threshold: str = "auto"
    label_confidence: float = 0.7  # probability given to a thresholded word map's own side
    # share of the student, the last stage before the clean-up; 0 = attention alone
    student_weight: float = 0.9
    crf: CrfConfig = field(default_factory=CrfConfig)
    beta: float = 8.0  # β, exponent of the affinities in the walk
    n_steps: int = 256  # t, steps of the walk
    # levels γ tried by "cross"; None = TOKEN_GAMMAS, or WORD_GAMMAS where a class is read from a word
    gammas: tuple[float, ...] | None = None
    fusion_weight: float = 0.5  # w of "cross-product": 1 = CRF alone, 0 = walk alone
    n_rounds: int = 2  # rounds of "cross-mutual"
    # keep the best parts of each class (as many as it may have), fill their holes
    clean_up: bool = True
    min_part: float = 0.005  # parts with less probability (share of the image) go, the best stays
    ignore_band: float = 0.0  # 255 in the mask where the top posterior is under 0.5 + this; 0 = off


if TYPE_CHECKING:
    Function = Callable[[FloatArray, UInt8Array, RefineConfig, AffinityField | None], FloatArray]
    """(probability of each class, image, config, affinity field) -> posterior of each class."""


@dataclass(frozen=True, slots=True)
class Refinement:
    """A way from the probability of each class to its posterior, and what the others must know."""

    function: Function
    about: str  # a sentence for help texts
    needs_affinity: bool  # runs only with the affinities of the image
    searches_level: bool  # tries levels γ itself, so a word's map is not thresholded first
    stage: str  # title of its picture among the stages of a mask; "" = has none of its own


REFINEMENTS: dict[str, Refinement] = {}
"""Name -> refinement, in the order they registered."""

FAILED: dict[str, str] = {}
"""Module of a plugin -> why it could not be imported."""


def refinement(
    name: str,
    *,
    needs_affinity: bool = False,
    searches_level: bool = False,
    stage: str | None = None,
    about: str | None = None,
) -> Callable[[Function], Function]:
    """Register a refinement under a name; the last of a name counts.

    Args:
        name: What `--refine` takes.
        needs_affinity: See `Refinement`.
        searches_level: See `Refinement`.
        stage: See `Refinement`; None = the name.
        about: See `Refinement`; None = the first line of the function's docstring.
    """

    def register(function: Function) -> Function:
        sentence = about or (function.__doc__ or "").strip().partition("\n")[0]
        REFINEMENTS[name] = Refinement(
            function, sentence, needs_affinity, searches_level, name if stage is None else stage
        )
        return function

    return register


def needs_affinity(name: str) -> bool:
    """True for a refinement that runs only with the affinities of the image."""
    return name in REFINEMENTS and REFINEMENTS[name].needs_affinity


def searches_level(name: str) -> bool:
    """True for a refinement that tries levels γ itself."""
    return name in REFINEMENTS and REFINEMENTS[name].searches_level


def load_plugins() -> None:
    """Import the modules that register refinements of other packages; a failure is kept in `FAILED`."""
    named = [one.strip() for one in os.environ.get(PLUGINS, "").split(",") if one.strip()]
    for module in [*named, *(entry.module for entry in entry_points(group=GROUP))]:
        try:
            importlib.import_module(module)
        except Exception as error:  # noqa: BLE001  (a stranger's code may fail in any way)
            FAILED[module] = f"{type(error).__name__}: {error}"


def failures() -> str:
    """A sentence on plugins that could not be imported; "" where all could."""
    return "".join(f" Plugin {name} could not be imported ({why})." for name, why in FAILED.items())
