"""What the page does, as plain functions of plain values; knows nothing of the page.

Nothing here logs or keeps a prompt.
"""

from __future__ import annotations

import io
import os
import queue
import threading
import zipfile
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

from lungsynth.errors import ConfigError, LungSynthError, PromptError
from lungsynth.images import OKABE_ITO, colour_heat, overlay, png_bytes, slug

if TYPE_CHECKING:
    from lungsynth.pipeline import Result, Synthesizer

MODEL_VARIABLE = "LUNGSYNTH_MODEL"
MAX_STEPS = 100
MAX_GUIDANCE = 20.0
MAX_SEED = 2**53 - 1
"""The largest number a browser keeps exactly."""


@dataclass(frozen=True, slots=True)
class ModelState:
    """Whether the checkpoint is there."""

    name: str  # public name: a shipped name, a folder's last part, or a Hub id
    weights: str  # hash of the weights; "" when unknown
    problem: str  # why it cannot be used; "" when it can


@dataclass(frozen=True, slots=True)
class WordCheck:
    """Which words of a prompt the model has learnt."""

    known: tuple[str, ...]
    unknown: tuple[str, ...]
    dropped: str  # the part beyond the model's token limit
    problem: str  # why the prompt cannot be drawn; "" when it can


@dataclass(frozen=True, slots=True)
class Progress:
    """A step of a drawing is done."""

    step: int  # 1 … steps
    steps: int


@dataclass(frozen=True, slots=True)
class Region:
    """A class in the refined mask."""

    name: str
    colour: tuple[int, int, int]  # RGB, 0-255
    area: float  # share of the picture, [0, 1]
    coarse_area: float  # the same before refinement
    n_parts: int  # connected parts
    stability: float  # [0, 1], 1 = a sure border


@dataclass(frozen=True, slots=True)
class Drawing:
    """What one prompt and seed gave."""

    words: WordCheck
    seed: int
    image: bytes  # PNG, (H, W) grey
    maps: tuple[tuple[str, bytes], ...]  # caption, PNG (H, W, 3): the map over the picture
    coarse: bytes  # PNG (H, W, 3): the mask before refinement over the picture
    refined: bytes  # PNG (H, W, 3): the mask over the picture
    regions: tuple[Region, ...]
    archive: bytes  # ZIP of every file of the result
    archive_name: str


_lock = threading.Lock()
_loaded: dict[str, Synthesizer] = {}


def model_name() -> str | None:
    """The checkpoint asked for by `LUNGSYNTH_MODEL`; None for the shipped one."""
    return os.environ.get(MODEL_VARIABLE) or None


def synthesizer() -> Synthesizer:
    """The checkpoint, loaded when first asked for.

    Raises:
        CheckpointError, ConfigError: it cannot be loaded; the next call tries again.
    """
    from lungsynth.pipeline import Synthesizer

    name = model_name()
    with _lock:
        if (name or "") not in _loaded:
            _loaded.clear()
            _loaded[name or ""] = Synthesizer(name)
        return _loaded[name or ""]


def public_name(name: str | None) -> str:
    """A checkpoint's name without a path of this machine."""
    if name is None:
        from lungsynth.checkpoint import DEFAULT

        return DEFAULT
    path = Path(name)
    return path.resolve().name if path.is_dir() or path.is_absolute() else name


def model_state() -> ModelState:
    """Load the checkpoint, if it is not loaded yet, and say whether it can be used."""
    name = public_name(model_name())
    try:
        return ModelState(name, synthesizer().model_hash, "")
    except LungSynthError as error:
        return ModelState(name, "", str(error))


def check_words(prompt: str) -> WordCheck:
    """Which words of a prompt the model has learnt; never raises on account of the prompt.

    Args:
        prompt: As typed; may be empty.

    Raises:
        CheckpointError, ConfigError: the checkpoint cannot be loaded.
    """
    from lungsynth.vocabulary import split_words

    if not prompt.strip():
        return WordCheck((), (), "", "")
    try:
        report, _ = synthesizer().check(prompt)
    except PromptError as error:
        vocabulary = synthesizer().vocabulary
        short = prompt[:2000]
        words = tuple(dict.fromkeys(split_words(short))) if vocabulary is None else ()
        known = words if vocabulary is None else tuple(vocabulary.known(short))
        unknown = () if vocabulary is None else tuple(vocabulary.unknown(short))
        return WordCheck(known, unknown, "", str(error))
    return WordCheck(report.known, report.unknown, report.dropped, "")


def check_numbers(seed: Any, steps: Any, guidance: Any) -> tuple[int, int, float]:
    """The three numbers of a drawing, checked.

    Args:
        seed: A whole number from 0 to `MAX_SEED`.
        steps: A whole number from 1 to `MAX_STEPS`.
        guidance: From 1 to `MAX_GUIDANCE`.

    Raises:
        ConfigError: one of them is missing or out of range.
    """
    asked = (("seed", seed, 0, MAX_SEED), ("steps", steps, 1, MAX_STEPS),
             ("guidance", guidance, 1, MAX_GUIDANCE))  # fmt: skip
    for name, value, low, high in asked:
        is_number = isinstance(value, int | float) and not isinstance(value, bool)
        whole = name == "guidance" or (is_number and value == value and value % 1 == 0)
        if not is_number or not whole or not low <= value <= high:
            kind = "a number" if name == "guidance" else "a whole number"
            raise ConfigError(f"`{name}` is {value!r}; expected {kind} from {low} to {high:g}.")
    return int(seed), int(steps), float(guidance)


def draw(prompt: str, seed: int, steps: int, guidance: float) -> Iterator[Progress | Drawing]:
    """Draw a prompt: a `Progress` after every step, and the `Drawing` last.

    Closing the iterator stops the drawing after its current step.

    Args:
        prompt: What the X-ray should show.
        seed: The same seed draws the same picture.
        steps: Denoising steps.
        guidance: How strictly the prompt is followed; 1 = off.

    Raises:
        LungSynthError: the prompt or a number cannot be used, or there is no checkpoint.
    """
    from lungsynth.sampling import SampleOptions

    seed, steps, guidance = check_numbers(seed, steps, guidance)
    model = synthesizer()
    events: queue.SimpleQueue[Progress | None] = queue.SimpleQueue()
    stop = threading.Event()

    def on_step(step: int, of: int, _: Any) -> bool:
        events.put(Progress(step, of))
        return not stop.is_set()

    def work() -> Result:
        options = SampleOptions(steps=steps, guidance=guidance)
        return next(iter(model.generate([prompt], [seed], options=options, on_step=on_step)))

    with ThreadPoolExecutor(1, thread_name_prefix="draw") as pool:
        future = pool.submit(work)
        future.add_done_callback(lambda _: events.put(None))
        try:
            while (event := events.get()) is not None:
                yield event
        finally:
            stop.set()
        result = future.result()
    yield describe(result, class_ids(result))


def class_ids(result: Result) -> dict[int, str]:
    """Mask value -> class name, ascending."""
    classes = {int(i): str(name) for i, name in result.record["classes"].items()}
    return dict(sorted(classes.items()))


def describe(result: Result, classes: dict[int, str]) -> Drawing:
    """A result as pictures, numbers and files for the page.

    Args:
        result: What was drawn.
        classes: Mask value -> name.
    """
    report = result.prompt
    regions = tuple(
        Region(
            name, OKABE_ITO[(i - 1) % len(OKABE_ITO)], float((result.mask == i).mean()),
            float((result.coarse == i).mean()), int(result.record["scores"][name]["parts"]),
            float(result.record["scores"][name]["stability"]),
        )
        for i, name in classes.items()
    )  # fmt: skip
    return Drawing(
        words=WordCheck(report.known, report.unknown, report.dropped, ""),
        seed=result.seed,
        image=png_bytes(result.image),
        maps=tuple(
            (word, png_bytes(colour_heat(heat, result.image))) for word, heat in result.maps.items()
        ),
        coarse=png_bytes(overlay(result.image, result.coarse)),
        refined=png_bytes(overlay(result.image, result.mask)),
        regions=regions,
        archive=archive(result),
        archive_name=f"lungsynth-{slug(report.text)}-seed{result.seed}.zip",
    )


def archive(result: Result) -> bytes:
    """A ZIP of every file of a result; the same result gives the same bytes."""
    from lungsynth.output import result_files

    buffer = io.BytesIO()
    with zipfile.ZipFile(buffer, "w", zipfile.ZIP_DEFLATED) as file:
        for name, data in result_files(result).items():
            entry = zipfile.ZipInfo(name, date_time=(1980, 1, 1, 0, 0, 0))
            entry.external_attr = 0o644 << 16
            file.writestr(entry, data, zipfile.ZIP_DEFLATED)
    return buffer.getvalue()
