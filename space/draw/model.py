"""The checkpoint the page draws with: loaded once, and what it can do. Knows nothing of the page."""

from __future__ import annotations

import os
import threading
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING

import lungsynth.masks.refine  # noqa: F401  (every refinement registers)
from lungsynth.errors import LungSynthError
from lungsynth.masks.classes import conventions, load_classes
from lungsynth.masks.registry import REFINEMENTS, needs_affinity
from lungsynth.model.checkpoint import DEFAULT, resolve
from lungsynth.model.measured import Measured, read_measured

if TYPE_CHECKING:
    from lungsynth.pipeline import Synthesizer

MODEL_VARIABLE = "LUNGSYNTH_MODEL"
MAX_SIDES = 2
"""Sides offered go up to so many times the one the checkpoint was trained at."""


@dataclass(frozen=True, slots=True)
class ModelState:
    """Whether the checkpoint is there, and what it can do."""

    name: str  # public name: a shipped name, a folder's last part, or a Hub id
    weights: str  # hash of the weights; "" when unknown
    problem: str  # why it cannot be used; "" when it can
    methods: tuple[str, ...] = ()  # refinements it can do
    conventions: tuple[tuple[str, str], ...] = ()  # title, name for `synthesizer`; its own first
    side: int = 0  # pixels it was trained at
    sides: tuple[int, ...] = ()  # it can draw, ascending


_lock = threading.Lock()
_loaded: dict[tuple[str, str], Synthesizer] = {}


def model_name() -> str | None:
    """The checkpoint asked for by `LUNGSYNTH_MODEL`; None for the shipped one."""
    return os.environ.get(MODEL_VARIABLE) or None


def synthesizer(convention: str = "") -> Synthesizer:
    """The checkpoint with masks of a convention, "" for its own; loaded when first asked for.

    Raises:
        CheckpointError, ConfigError: it cannot be loaded; the next call tries again.
    """
    name = model_name()
    with _lock:
        from lungsynth.pipeline import Synthesizer  # deferred: imports torch

        key = (name or "", convention)
        if key not in _loaded:
            for other in [one for one in _loaded if one[0] != key[0]]:
                del _loaded[other]
            _loaded[key] = Synthesizer(name, classes=convention or None)
        return _loaded[key]


def public_name(name: str | None) -> str:
    """A checkpoint's name without a path of this machine."""
    if name is None:
        return DEFAULT
    path = Path(name)
    return path.resolve().name if path.is_dir() or path.is_absolute() else name


def model_state() -> ModelState:
    """Load the checkpoint, if it is not loaded yet, and say what it can do."""
    name = public_name(model_name())
    try:
        model = synthesizer()
        has_field = model.affinity_field is not None
        methods = tuple(one for one in REFINEMENTS if usable(one, has_field))
        side, sides = _sides(model)
        return ModelState(name, model.model_hash, "", methods, _conventions(), side, sides)
    except LungSynthError as error:
        return ModelState(name, "", str(error))


def usable(method: str, has_field: bool) -> bool:
    """Whether a refinement can be done with, or without, an affinity network."""
    return has_field or not needs_affinity(method)


def measured() -> Measured:
    """The figures that travel with the checkpoint; none where it has none or cannot be read."""
    try:
        return read_measured(Path(resolve(model_name())))
    except LungSynthError:
        return Measured()


def _conventions() -> tuple[tuple[str, str], ...]:
    """Title and name of the mask conventions there are, the checkpoint's own first as ""."""
    folder = Path(resolve(model_name()))
    found = []
    for name in sorted(conventions(folder)) if folder.is_dir() else []:
        title = name or load_classes(folder)[0].convention or "the checkpoint's own"
        found.append((title, name))
    return tuple(found)


def _sides(model: Synthesizer) -> tuple[int, tuple[int, ...]]:
    """The side it was trained at, and those it can draw from half to `MAX_SIDES` times of it."""
    from lungsynth.model.backbone import side_pixels, side_step  # deferred: imports torch

    side, step = side_pixels(model.pipe), side_step(model.pipe)
    return side, tuple(n for n in range(step, MAX_SIDES * side + 1, step) if 2 * n >= side)


def convention_of(name: str) -> str:
    """What `synthesizer` takes for a convention as a link names it: "" for the checkpoint's own.

    Raises:
        CheckpointError, ConfigError: the checkpoint cannot be loaded.
    """
    own = synthesizer().classes
    return "" if name and own and own[0].convention == name else name


def model_card() -> str:
    """The checkpoint's card, Markdown without its front matter; "" when there is none."""
    try:
        card = Path(resolve(model_name())) / "README.md"
        text = card.read_text(encoding="utf-8") if card.is_file() else ""
    except (LungSynthError, OSError):
        return ""
    return text.split("---\n", 2)[2].strip() if text.startswith("---\n") else text.strip()
