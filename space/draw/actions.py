"""What the page does, as plain functions of plain values; knows nothing of the page.

Nothing here logs or keeps a prompt.
"""

from __future__ import annotations

import queue
import threading
import time
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass, replace
from typing import TYPE_CHECKING, Any

from lungsynth.errors import ConfigError, PromptError, ShapeError, WordError
from lungsynth.masks.refine import RefineConfig, check_affinity
from lungsynth.model.options import SampleOptions
from lungsynth.permalink import MAX_GUIDANCE, MAX_SEED, MAX_STEPS, SIZE, Permalink
from lungsynth.prompts import STOP, default_words, split_words, word_tokens
from space.draw.limits import step_back
from space.draw.model import synthesizer
from space.draw.study import Study, make_study
from space.draw.tuning import Tuning
from space.draw.watch import Watcher

if TYPE_CHECKING:
    from lungsynth.masks.classes import ClassSpec
    from lungsynth.pipeline import Result, Synthesizer

MAX_PICTURES = 4
MAX_WORDS = 16
"""Words of a prompt that get a map: phrases such as "right lung", then its first words."""
SAID_EVERY = 0.25
"""Seconds between two reports of progress; a browser on the same machine takes its time from us."""


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
    picture: int  # 1 … pictures
    pictures: int
    seconds_left: float | None  # estimate for all pictures; None before there is one
    preview: Any = None  # (H, W) uint8, the picture so far; None in most steps
    words: tuple[str, ...] = ()  # of the prompt, each with a map
    levels: Any = None  # (words, h, w) uint8, where they look in this step; see `heat.level`
    classes: tuple[ClassSpec, ...] = ()  # of the mask; a word that names one has its colour


@dataclass(frozen=True, slots=True)
class Drawing:
    """What one prompt and seed gave."""

    words: WordCheck
    study: Study


def check_words(prompt: str) -> WordCheck:
    """Which words of a prompt the model has learnt; never raises on account of the prompt.

    Raises:
        CheckpointError, ConfigError: the checkpoint cannot be loaded.
    """
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


def words_to_map(model: Synthesizer, prompt: str) -> list[str]:
    """Every word of a prompt, in its order, after the phrases worth a map ("right lung").

    Words beyond the token limit are left out; of more than `MAX_WORDS`, first those that say least
    ("of", "ray").

    Raises:
        PromptError: the prompt cannot be drawn.
    """
    report, _ = model.check(prompt)
    phrases = [one for one in default_words(report.text, model.vocabulary) if " " in one]
    words = []
    for word in dict.fromkeys([*phrases, *split_words(report.text)]):
        try:
            word_tokens(report.text, word, model.pipe.tokenizer)
        except WordError:
            continue  # beyond the limit
        words.append(word)
    spare = [word for word in words if word in STOP][: max(len(words) - MAX_WORDS, 0)]
    return [word for word in words if word not in spare][:MAX_WORDS]


def check_numbers(seed: Any, steps: Any, guidance: Any, n: Any = 1) -> tuple[int, int, float, int]:
    """The numbers of a drawing as whole ones, the guidance as it is; see `MAX_SEED` and the other
    limits.

    Raises:
        ConfigError: one of them is missing or out of range.
    """
    asked = (
        ("seed", seed, 0, MAX_SEED),
        ("steps", steps, 1, MAX_STEPS),
        ("guidance", guidance, 1, MAX_GUIDANCE),
        ("pictures", n, 1, MAX_PICTURES),
    )
    for name, value, low, high in asked:
        is_number = isinstance(value, int | float) and not isinstance(value, bool)
        whole = name == "guidance" or (is_number and value == value and value % 1 == 0)
        if not is_number or not whole or not low <= value <= high:
            kind = "a number" if name == "guidance" else "a whole number"
            shown = repr(value)[:40]
            raise ConfigError(f"`{name}` is {shown}; expected {kind} from {low} to {high:,.0f}.")
    return int(seed), int(steps), float(guidance), int(n)


def draw(
    asked: Permalink, n: int = 1, *, tuning: Tuning | None = None, previews: bool = True
) -> Iterator[Progress | Drawing]:
    """Draw what a link asks for: a `Progress` every few steps, and a `Drawing` for each of n pictures.

    Pictures are drawn one by one, further ones with the next seeds, so that each is the picture its
    own seed draws alone. Closing the iterator stops the drawing after its current step. Masks are
    refined as the link says unless `tuning` says else; with `previews` the predicted picture is
    decoded every few steps.

    Raises:
        LungSynthError: the prompt or a number cannot be used, or there is no checkpoint.
    """
    seed, steps, guidance, n = check_numbers(asked.seed, asked.steps, asked.guidance, n)
    if not isinstance(asked.prompt, str):
        raise PromptError("The prompt is not a text. Describe the film in a sentence.")
    model, tuning = synthesizer(asked.classes), tuning or Tuning(base=asked.refine)
    words = words_to_map(model, asked.prompt)
    _, tokens = model.check(asked.prompt, words)
    asked = replace(
        asked, seed=seed, steps=steps, guidance=guidance, size=check_size(model, asked.size, n)
    )
    config = tuning.config(RefineConfig())
    check_affinity(config, model.affinity_field)
    if all(spec.token is not None for spec in model.classes) and model.classes:
        config = replace(config, method="none", clean_up=False)  # the study refines it
    begun, told = time.monotonic(), float("-inf")
    for picture in range(1, n + 1):
        result = None
        watcher = Watcher(model, steps, tokens, previews=previews)
        for event in _draw_one(model, replace(asked, seed=seed + picture - 1), config, watcher):
            if not isinstance(event, tuple):
                result = event
                continue
            step, (preview, levels) = event
            if preview is None and step < steps and time.monotonic() - told < SAID_EVERY:
                continue
            told = time.monotonic()
            done = (picture - 1) * steps + step
            left = (time.monotonic() - begun) / done * (n * steps - done)
            shown = (preview, tuple(tokens), levels, tuple(model.classes))
            yield Progress(step, steps, picture, n, left if done > 1 else None, *shown)
        assert result is not None
        report = result.prompt
        check = WordCheck(report.known, report.unknown, report.dropped, "")
        study = make_study(model, result, tuning, size=asked.size, formation=watcher.formation())
        yield Drawing(check, study)


def check_size(model: Synthesizer, size: str, n: int = 1) -> str:
    """The size of n pictures, "320" or width x height "320x256", checked; "" for the checkpoint's side.

    Raises:
        ConfigError: it is no size.
        ShapeError: the checkpoint cannot draw it, or it is more than the page keeps for a visitor.
    """
    from lungsynth.model.sampling import resolve_size  # deferred: imports torch

    if size and not SIZE.fullmatch(str(size)):
        raise ConfigError(f"`size` is {str(size)[:40]!r}; expected pixels, as 256 or 320x256.")
    height, width = Permalink("", size=str(size)).pixels()
    side, _ = resolve_size(model.pipe, SampleOptions())
    height, width = resolve_size(model.pipe, SampleOptions(height=height, width=width))
    most = MAX_PICTURES * side * side // (height * width)
    if n > most:
        raise ShapeError(
            f"{n} × {width} × {height} pixels are more than the page keeps for a visitor; of this size "
            f"it draws {most}. Take fewer, or smaller ones."
        )
    if height == width:
        return "" if height == side else str(height)
    return f"{width}x{height}"


def _draw_one(
    model: Synthesizer, asked: Permalink, config: RefineConfig, watcher: Watcher
) -> Iterator[tuple[int, Any] | Result]:
    """(step, what can be shown by then) for every step, and the result last."""
    height, width = asked.pixels()
    options = SampleOptions(
        steps=asked.steps,
        guidance=asked.guidance,
        guidance_interval=asked.guidance_interval,
        height=height,
        width=width,
        scheduler=asked.scheduler or "default",
        precision=asked.precision,
    )
    events: queue.SimpleQueue[tuple[int, Any] | None] = queue.SimpleQueue()
    stop = threading.Event()

    def on_step(step: int, of: int, latents: Any) -> bool:
        events.put((step, watcher(step, latents)))
        return not stop.is_set()

    def work() -> Result:
        drawn = model.generate(
            [asked.prompt],
            [asked.seed],
            options=options,
            refine_config=config,
            words=list(watcher.tokens),
            on_step=on_step,
            on_capture=watcher.begin,
        )
        return next(iter(drawn))

    with ThreadPoolExecutor(1, thread_name_prefix="draw", initializer=step_back) as pool:
        future = pool.submit(work)
        future.add_done_callback(lambda _: events.put(None))
        try:
            while (event := events.get()) is not None:
                yield event
        finally:
            stop.set()
        yield future.result()
