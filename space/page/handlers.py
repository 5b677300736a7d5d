"""What every event shares, and those that compute: values of components in, updates out."""

from __future__ import annotations

import logging
import secrets
import traceback
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import replace
from pathlib import Path
from typing import Any

try:
    import spaces  # on a ZeroGPU Space; wants to be imported before torch
except ImportError:
    spaces = None

import gradio as gr

from lungsynth.errors import ConfigError, LungSynthError
from lungsynth.model.options import SampleOptions
from lungsynth.permalink import Permalink
from space.draw import actions, limits, study, upload
from space.draw.tuning import tuning_of
from space.page import text, viewer
from space.page.serving import visitor

log = logging.getLogger("lungsynth.space")

RATE = limits.RateLimit(60, 600)
"""Pictures a visitor may have drawn in ten minutes."""


def seconds(
    _: Any, __: Any, steps: Any = SampleOptions.steps, ___: Any = 0, n: Any = 1, *____: Any
) -> int:
    """Seconds of a GPU to ask for: the smallest that will do, since it is checked against a quota."""
    pictures = n if isinstance(n, int | float) else 1  # the endpoint gives a method in its place
    try:
        return int(min(60, 8 + 0.06 * float(steps) * pictures))
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


@contextmanager
def errors_shown(title: str = "Not drawn") -> Iterator[None]:
    """Whatever goes wrong inside is shown; see `shown`."""
    try:
        yield
    except Exception as error:  # noqa: BLE001 - shown() logs what is not ours
        raise shown(error, title) from None


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


def draw(
    prompt: str,
    seed: float,
    steps: float,
    guidance: float,
    n: float,
    size: str,
    convention: str,
    *values: Any,
    request: gr.Request | None = None,
) -> Iterator[tuple[Any, ...]]:
    """Draw pictures: status, viewer, kept studies, which of them, words.

    Size and convention are "" for the checkpoint's own; `values` are those of `tuning_of`.
    """
    studies: list[study.Study] = []
    with errors_shown():
        numbers = actions.check_numbers(seed, steps, guidance, n)
        count(request, numbers[3])
        asked = replace(
            values[-1] or Permalink("", precision="auto"),
            prompt=prompt,
            seed=numbers[0],
            steps=numbers[1],
            guidance=numbers[2],
            size=size or "",
            classes=convention or "",
        )
        for event in actions.draw(asked, numbers[3], tuning=tuning_of(values)):
            if isinstance(event, actions.Progress):
                picture = gr.skip()
                if event.preview is not None and not studies:
                    picture = viewer.shown([viewer.forming_item(event, prompt)], "forming")
                yield text.progress(event), picture, gr.skip(), gr.skip(), gr.skip()
                continue
            studies.append(event.study)
            of = f" of {numbers[3]}" if len(studies) < numbers[3] else ""
            said = f"Done: {_seeds(studies)}" if not of else f"Picture {len(studies)}{of} is there."
            yield (
                text.status(said),
                viewer.shown_studies(studies),
                list(studies),
                0,
                text.word_report(event.words),
            )


def _seeds(studies: Sequence[study.Study]) -> str:
    seeds = [str(one.seed) for one in studies]
    return f"seed {seeds[0]}." if len(seeds) == 1 else f"seeds {', '.join(seeds)}."


def read_films(
    paths: list[str] | None,
    convention: str,
    request: gr.Request,
    names: list[str] | None = None,
) -> Iterator[tuple[Any, ...]]:
    """A visitor's films, deleted when read, one after the other: the emptied upload, status,
    viewer, notes.

    They are called by `names`, or as their files.
    """
    if not paths:
        yield gr.skip(), text.status("Choose a file first."), gr.skip(), gr.skip()
        return
    readings: list[upload.Reading] = []
    names = names or upload.names_of(paths)
    try:
        if len(paths) > upload.MAX_FILMS:
            raise ConfigError(f"{len(paths)} films; at most {upload.MAX_FILMS} are read at once.")
        count(request, len(paths))
        for path, name in zip(paths, names, strict=True):
            said = f"Reading film {len(readings) + 1} of {len(paths)}"
            yield gr.skip(), text.status(said), gr.skip(), gr.skip()
            alone = len(paths) == 1
            readings.append(
                upload.segment(path, name=name, convention=convention or "", compare=alone)
            )
    except Exception as error:  # noqa: BLE001 - shown() logs what is not ours
        raise shown(error, "Not segmented") from None
    finally:
        for path in paths:
            Path(path).unlink(missing_ok=True)
    yield (
        None,
        text.status("Done; what you sent has been deleted here."),
        viewer.shown([viewer.film_item(one) for one in readings], secrets.token_hex(4), 0),
        text.film_notes(readings, upload.archive(readings)),
    )
