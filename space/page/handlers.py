"""What every event shares, and those that compute: values of components in, updates out."""

from __future__ import annotations

import logging
import traceback
from collections.abc import Callable, Iterator, Sequence
from pathlib import Path
from typing import Any

try:
    import spaces  # on a ZeroGPU Space; wants to be imported before torch
except ImportError:
    spaces = None

import gradio as gr

from lungsynth.errors import LungSynthError
from lungsynth.images import png_bytes
from space.draw import actions, limits, study, upload
from space.draw.heat import lay_over
from space.draw.tuning import tuning_of
from space.page import text
from space.page.files import kept_picture
from space.page.serving import visitor

log = logging.getLogger("lungsynth.space")

RATE = limits.RateLimit(60, 600)
"""Pictures a visitor may have drawn in ten minutes."""


def seconds(_: Any, __: Any, steps: Any = 20, ___: Any = 1.5, n: Any = 1, *____: Any) -> int:
    """Seconds of a GPU to ask for: the smallest that will do, since it is checked against a quota."""
    try:
        return int(min(60, 8 + 0.06 * float(steps) * float(n)))
    except (TypeError, ValueError):
        return 10


def gpu(function: Callable[..., Any]) -> Callable[..., Any]:
    """Borrow a GPU for a call on a ZeroGPU Space; nothing elsewhere."""
    return spaces.GPU(duration=seconds)(function) if spaces is not None else function


def shown(error: Exception, title: str = "Not drawn") -> gr.Error:
    """An error as the page shows it: ours in its own words, any other bland and logged.

    The log gets the kind and the place, not the message: that could hold what a visitor typed.
    """
    if isinstance(error, LungSynthError):
        return gr.Error(str(error), title=title, duration=None, print_exception=False)
    where = "".join(traceback.format_tb(error.__traceback__))
    log.error("unexpected %s\n%s", type(error).__name__, where)
    return gr.Error(text.BLAND_ERROR, title=title, duration=None, print_exception=False)


def count(
    request: gr.Request | None, cost: int = 1, *, rate: limits.RateLimit | None = None
) -> None:
    """Count a computation, or what else `rate` limits, for whoever asks.

    Raises:
        TooManyError: too many.
    """
    if request is not None:
        (rate or RATE).check(visitor(request), cost=cost)


def origin_of(request: gr.Request | None) -> str:
    """Where the page is opened, as the browser says it."""
    return str(request.headers.get("origin", "")) if request is not None else ""


def _asked(size: str, convention: str, values: Sequence[Any]) -> dict[str, Any]:
    """What `actions.draw` is asked for by the controls that both tabs draw with.

    Args:
        size: Of the picture.
        convention: Of the mask.
        values: The mask's controls, and the link that was opened, or None.
    """
    link = values[-1]
    return {
        "tuning": tuning_of(values),
        "size": size or "",
        "convention": convention or "",
        "scheduler": link.scheduler if link else "",
        "precision": link.precision if link else "auto",
    }


def draw(
    prompt: str,
    seed: float,
    steps: float,
    guidance: float,
    n: float,
    size: str,
    convention: str,
    watched: list[str],
    opacity: float,
    *values: Any,
    request: gr.Request | None = None,
) -> Iterator[tuple[Any, ...]]:
    """Draw pictures: status, X-ray, map, legend, choice of picture, kept studies, words."""
    studies: list[study.Study] = []
    try:
        numbers = actions.check_numbers(seed, steps, guidance, n)
        count(request, numbers[3])
        asked = _asked(size, convention, values)
        for event in actions.draw(prompt, *numbers, watched=watched, **asked):
            if isinstance(event, actions.Progress):
                forming: tuple[Any, ...] = (gr.skip(),) * 3
                if event.preview is not None:
                    said = f"The X-ray as it forms, after step {event.step} of {event.steps}"
                    named = text.escape(text.quoted(event.heats))
                    plain = kept_picture(f"forming-step{event.step}", event.preview)
                    over = lay_over(event.preview, event.heats, opacity)
                    forming = (
                        gr.update(value=plain, alt_text=said),
                        gr.update(
                            value=kept_picture("map", over),
                            alt_text=f"{said}, with the map of {named} so far",
                        ),
                        f"<p>The map of {named} so far: step {event.step} of {event.steps}.</p>",
                    )
                yield text.progress(event), *forming, gr.skip(), gr.skip(), gr.skip()
                continue
            studies.append(event.study)
            path = kept_picture(f"xray-seed{event.study.seed}", event.study.image)
            choices = [(f"Seed {one.seed}", index) for index, one in enumerate(studies)]
            yield (
                text.status("Done: " + _seeds(studies)),
                gr.update(value=path, alt_text=text.alt_text(event.study)),
                gr.skip(),
                gr.skip(),
                gr.update(choices=choices, value=0, visible=len(choices) > 1),
                list(studies),
                text.word_report(event.words),
            )
    except Exception as error:  # noqa: BLE001 - shown() logs what is not ours
        raise shown(error) from None


def _seeds(studies: Sequence[study.Study]) -> str:
    seeds = [str(one.seed) for one in studies]
    return f"seed {seeds[0]}." if len(seeds) == 1 else f"seeds {', '.join(seeds)}."


def read_film(path: str | None, convention: str, request: gr.Request) -> tuple[Any, str, str]:
    """A visitor's film: the emptied upload, status, result."""
    if not path:
        return gr.skip(), text.status("Choose a file first."), gr.skip()
    try:
        count(request)
        reading = upload.segment(path, convention=convention or "")
    except Exception as error:  # noqa: BLE001 - shown() logs what is not ours
        raise shown(error, "Not segmented") from None
    finally:
        Path(path).unlink(missing_ok=True)
    return None, text.status("Done; your file has been deleted here."), text.film(reading)


def compare(
    prompt: str,
    seed: float,
    other_prompt: str,
    other_seed: float,
    steps: float,
    guidance: float,
    size: str,
    convention: str,
    *values: Any,
    request: gr.Request | None = None,
) -> Iterator[tuple[str, Any, Any, Any]]:
    """Two drawings side by side: status, first, second, what differs."""
    made: list[study.Study] = []
    try:
        count(request, 2)
        asked = _asked(size, convention, values)
        for index, (words, number) in enumerate(((prompt, seed), (other_prompt, other_seed)), 1):
            for event in actions.draw(words, number, steps, guidance, previews=False, **asked):
                if isinstance(event, actions.Progress):
                    status = text.status(
                        f"Picture {index} of 2, step {event.step} of {event.steps}"
                    )
                    yield status, gr.skip(), gr.skip(), gr.skip()
                else:
                    made.append(event.study)
        first, second = (_pair(one) for one in made)
        yield text.status("Done."), first, second, text.difference(*made)
    except Exception as error:  # noqa: BLE001 - shown() logs what is not ours
        raise shown(error) from None


def _pair(one: study.Study) -> str:
    assert one.made is not None
    pictures = [("X-ray", png_bytes(one.image)), ("Mask", png_bytes(one.made.final))]
    return text.strip(pictures, about=text.alt_text(one)) + text.region_table(one.made.regions)
