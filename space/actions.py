"""What the page does, as plain functions of plain values; knows nothing of the page.

Nothing here logs or keeps a prompt.
"""

from __future__ import annotations

import os
import queue
import threading
import time
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

from lungsynth.errors import ConfigError, LungSynthError, PromptError, WordError
from space.study import Study, Tuning, make_study

if TYPE_CHECKING:
    from lungsynth.pipeline import Result, Synthesizer

MODEL_VARIABLE = "LUNGSYNTH_MODEL"
MAX_STEPS = 100
MAX_GUIDANCE = 20.0
MAX_PICTURES = 4
MAX_WORDS = 16
"""Words of a prompt that get a map; a prompt has more only when it is a paragraph."""
MAX_SEED = 2**53 - 1
"""The largest number a browser keeps exactly."""


@dataclass(frozen=True, slots=True)
class ModelState:
    """Whether the checkpoint is there, and what it can do."""

    name: str  # public name: a shipped name, a folder's last part, or a Hub id
    weights: str  # hash of the weights; "" when unknown
    problem: str  # why it cannot be used; "" when it can
    methods: tuple[str, ...] = ()  # refinements it can do
    conventions: tuple[tuple[str, str], ...] = ()  # title, name for `synthesizer`; its own first


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
    preview: Any = None  # (H, W) uint8, the predicted picture so far; None in most steps


@dataclass(frozen=True, slots=True)
class Drawing:
    """What one prompt and seed gave."""

    words: WordCheck
    picture: int  # 1 … pictures
    study: Study


_lock = threading.Lock()
_loaded: dict[tuple[str, str], Synthesizer] = {}


def model_name() -> str | None:
    """The checkpoint asked for by `LUNGSYNTH_MODEL`; None for the shipped one."""
    return os.environ.get(MODEL_VARIABLE) or None


def synthesizer(convention: str = "") -> Synthesizer:
    """The checkpoint, loaded when first asked for.

    Args:
        convention: Of the masks; "" for the checkpoint's own.

    Raises:
        CheckpointError, ConfigError: it cannot be loaded; the next call tries again.
    """
    name = model_name()
    with _lock:
        from lungsynth.pipeline import Synthesizer

        key = (name or "", convention)
        if key not in _loaded:
            for other in [one for one in _loaded if one[0] != key[0]]:
                del _loaded[other]
            _loaded[key] = Synthesizer(name, classes=convention or None)
        return _loaded[key]


def public_name(name: str | None) -> str:
    """A checkpoint's name without a path of this machine."""
    if name is None:
        from lungsynth.checkpoint import DEFAULT

        return DEFAULT
    path = Path(name)
    return path.resolve().name if path.is_dir() or path.is_absolute() else name


def model_state() -> ModelState:
    """Load the checkpoint, if it is not loaded yet, and say what it can do."""
    name = public_name(model_name())
    try:
        from lungsynth.refine import NEEDS_AFFINITY, REFINEMENTS

        model = synthesizer()
        has_field = model.affinity_field is not None
        methods = [one for one in REFINEMENTS if has_field or one not in NEEDS_AFFINITY]
        return ModelState(name, model.model_hash, "", tuple(methods), _conventions())
    except LungSynthError as error:
        return ModelState(name, "", str(error))


def _conventions() -> tuple[tuple[str, str], ...]:
    """Title and name of the mask conventions there are, the checkpoint's own first as ""."""
    from lungsynth.checkpoint import resolve
    from lungsynth.classes import conventions, load_classes

    folder = Path(resolve(model_name()))
    found = []
    for name in sorted(conventions(folder)) if folder.is_dir() else []:
        title = load_classes(folder, name or None)[0].convention or name or "the checkpoint's own"
        found.append((title, name))
    return tuple(found)


def model_card() -> str:
    """The checkpoint's card, Markdown without its front matter; "" when there is none."""
    from lungsynth.checkpoint import resolve

    try:
        card = Path(resolve(model_name())) / "README.md"
        text = card.read_text(encoding="utf-8") if card.is_file() else ""
    except (LungSynthError, OSError):
        return ""
    return text.split("---\n", 2)[2].strip() if text.startswith("---\n") else text.strip()


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


def words_to_map(model: Synthesizer, prompt: str) -> list[str]:
    """Every word of a prompt, in its order, after the phrases worth a map ("right lung").

    Words beyond the token limit are left out.

    Raises:
        PromptError: the prompt cannot be drawn.
    """
    from lungsynth.prompts import default_words, word_tokens
    from lungsynth.vocabulary import split_words

    report, _ = model.check(prompt)
    phrases = [one for one in default_words(report.text, model.vocabulary) if " " in one]
    words = []
    for word in dict.fromkeys([*phrases, *split_words(report.text)]):
        try:
            word_tokens(report.text, word, model.pipe.tokenizer)
        except WordError:
            continue  # beyond the limit, or part of a longer word ("19a")
        words.append(word)
    return words[:MAX_WORDS]


def check_numbers(seed: Any, steps: Any, guidance: Any, n: Any = 1) -> tuple[int, int, float, int]:
    """The numbers of a drawing, checked.

    Args:
        seed: A whole number from 0 to `MAX_SEED`.
        steps: A whole number from 1 to `MAX_STEPS`.
        guidance: From 1 to `MAX_GUIDANCE`.
        n: Pictures, 1 to `MAX_PICTURES`.

    Raises:
        ConfigError: one of them is missing or out of range.
    """
    asked = (("seed", seed, 0, MAX_SEED), ("steps", steps, 1, MAX_STEPS),
             ("guidance", guidance, 1, MAX_GUIDANCE), ("pictures", n, 1, MAX_PICTURES))  # fmt: skip
    for name, value, low, high in asked:
        is_number = isinstance(value, int | float) and not isinstance(value, bool)
        whole = name == "guidance" or (is_number and value == value and value % 1 == 0)
        if not is_number or not whole or not low <= value <= high:
            kind = "a number" if name == "guidance" else "a whole number"
            shown = repr(value)[:40]
            raise ConfigError(f"`{name}` is {shown}; expected {kind} from {low} to {high:g}.")
    return int(seed), int(steps), float(guidance), int(n)


def draw(
    prompt: str, seed: int, steps: int, guidance: float, n: int = 1, *, tuning: Tuning | None = None,
    convention: str = "", previews: bool = True,
) -> Iterator[Progress | Drawing]:  # fmt: skip
    """Draw a prompt: a `Progress` after every step, and a `Drawing` for each picture.

    Pictures are drawn one by one, so that each is the picture its own seed draws alone. Closing the
    iterator stops the drawing after its current step.

    Args:
        prompt: What the X-ray should show.
        seed: The same seed draws the same picture; further pictures take the next numbers.
        steps: Denoising steps.
        guidance: How strictly the prompt is followed; 1 = off.
        n: Pictures.
        tuning: How masks are refined; None for the defaults.
        convention: Of the masks; see `ModelState`.
        previews: Decode the predicted picture every few steps.

    Raises:
        LungSynthError: the prompt or a number cannot be used, or there is no checkpoint.
    """
    seed, steps, guidance, n = check_numbers(seed, steps, guidance, n)
    if not isinstance(prompt, str):
        raise PromptError("The prompt is not a text. Describe the film in a sentence.")
    model = synthesizer(convention)
    words = words_to_map(model, prompt)
    begun = time.monotonic()
    for picture in range(1, n + 1):
        result = None
        for event in _draw_one(model, prompt, seed + picture - 1, steps, guidance, words, previews):
            if not isinstance(event, tuple):
                result = event
                continue
            step, preview = event
            done = (picture - 1) * steps + step
            left = (time.monotonic() - begun) / done * (n * steps - done)
            yield Progress(step, steps, picture, n, left if done > 1 else None, preview)
        assert result is not None
        report = result.prompt
        check = WordCheck(report.known, report.unknown, report.dropped, "")
        yield Drawing(check, picture, make_study(model, result, tuning or Tuning()))


def _draw_one(
    model: Synthesizer, prompt: str, seed: int, steps: int, guidance: float, words: list[str],
    previews: bool,
) -> Iterator[tuple[int, Any] | Result]:  # fmt: skip
    """(step, preview or None) for every step, and the result last."""
    from lungsynth.sampling import SampleOptions
    from space.preview import Previewer

    events: queue.SimpleQueue[tuple[int, Any] | None] = queue.SimpleQueue()
    stop = threading.Event()
    previewer = Previewer(model, steps) if previews else None

    def on_step(step: int, of: int, latents: Any) -> bool:
        events.put((step, previewer(step, latents) if previewer else None))
        return not stop.is_set()

    def work() -> Result:
        options = SampleOptions(steps=steps, guidance=guidance)
        drawn = model.generate([prompt], [seed], options=options, words=words, on_step=on_step)
        return next(iter(drawn))

    with ThreadPoolExecutor(1, thread_name_prefix="draw") as pool:
        future = pool.submit(work)
        future.add_done_callback(lambda _: events.put(None))
        try:
            while (event := events.get()) is not None:
                yield event
        finally:
            stop.set()
        yield future.result()
