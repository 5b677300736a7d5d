"""What the page's events call: values of components in, updates of components out."""

from __future__ import annotations

import logging
import tempfile
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
from space import actions, compose, gallery, limits, study, text, upload

log = logging.getLogger("lungsynth.space")

RATE = limits.RateLimit(60, 600)
"""Pictures a visitor may have drawn in ten minutes."""

TELLING = ("pneumonia", "tuberculosis", "effusion", "infiltration", "atelectasis", "consolidation",
           "cardiomegaly", "right lung", "left lung", "lungs", "lung", "heart", "chest")  # fmt: skip
"""Words whose map is shown first, where the prompt has them."""

HISTORY = 12
"""Pictures a browser remembers."""


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


def count(request: gr.Request | None, cost: int = 1) -> None:
    """Count a computation for whoever asks.

    Raises:
        TooManyError: too many.
    """
    if request is not None:
        host = request.client.host if request.client else None
        RATE.check(limits.visitor_of(host, request.headers), cost=cost)


def origin_of(request: gr.Request | None) -> str:
    """Where the page is opened, as the browser says it."""
    return str(request.headers.get("origin", "")) if request is not None else ""


def tuning_of(values: Sequence[Any]) -> study.Tuning:
    """The mask's controls, in the page's order."""
    method, beta, walk_steps, position, grey, smooth, n_gammas, band = values
    return study.Tuning(method=method or None, beta=beta, walk_steps=walk_steps,
                        position_width=position, grey_width=grey, smooth_width=smooth,
                        n_gammas=n_gammas, ignore_band=band)  # fmt: skip


def draw(
    prompt: str, seed: float, steps: float, guidance: float, n: float, convention: str, *values: Any,
    request: gr.Request | None = None,
) -> Iterator[tuple[Any, ...]]:  # fmt: skip
    """Draw pictures: status, X-ray, choice of picture, kept studies, words."""
    studies: list[study.Study] = []
    try:
        numbers = actions.check_numbers(seed, steps, guidance, n)
        count(request, numbers[3])
        with tempfile.TemporaryDirectory(prefix="lungsynth-") as folder:
            for event in actions.draw(prompt, *numbers, tuning=tuning_of(values),
                                      convention=convention or ""):  # fmt: skip
                if isinstance(event, actions.Progress):
                    picture: Any = gr.skip()
                    if event.preview is not None:
                        path = Path(folder) / f"forming-{event.picture}-{event.step}.png"
                        path.write_bytes(png_bytes(event.preview))
                        picture = gr.update(value=str(path), alt_text="The X-ray as it forms")
                    yield text.progress(event), picture, gr.skip(), gr.skip(), gr.skip()
                    continue
                studies.append(event.study)
                path = Path(folder) / f"xray-seed{event.study.seed}.png"
                path.write_bytes(png_bytes(event.study.image))
                choices = [(f"Seed {one.seed}", index) for index, one in enumerate(studies)]
                yield (
                    text.status("Done: " + _seeds(studies)),
                    gr.update(value=str(path), alt_text=text.alt_text(event.study)),
                    gr.update(choices=choices, value=0, visible=len(choices) > 1),
                    list(studies), text.word_report(event.words),
                )  # fmt: skip
    except Exception as error:  # noqa: BLE001 - shown() logs what is not ours
        raise shown(error) from None


def _seeds(studies: Sequence[study.Study]) -> str:
    seeds = [str(one.seed) for one in studies]
    return f"seed {seeds[0]}." if len(seeds) == 1 else f"seeds {', '.join(seeds)}."


def _chosen(studies: Sequence[study.Study], which: Any) -> study.Study | None:
    if not studies:
        return None
    return (
        studies[int(which)] if isinstance(which, int) and 0 <= which < len(studies) else studies[0]
    )


def show(
    studies: list[study.Study], which: Any, words: list[str], opacity: float, *values: Any
) -> Iterator[tuple[Any, ...]]:
    """Every panel of one picture: X-ray, words, their map, legend, and what `remask` gives."""
    one = _chosen(studies, which)
    if one is None:
        yield (gr.skip(),) * 7
        return
    kept = [word for word in words or [] if word in one.maps]
    first = next((word for word in TELLING if word in one.maps), next(iter(one.maps), ""))
    kept = kept or [first]
    heat, legend = look(studies, which, kept, opacity)
    masks = remask(studies, which, *values)
    with tempfile.TemporaryDirectory(prefix="lungsynth-") as folder:  # until the page has it
        path = Path(folder) / f"xray-seed{one.seed}.png"
        path.write_bytes(png_bytes(one.image))
        yield (
            gr.update(value=str(path), alt_text=text.alt_text(one)),
            gr.update(choices=list(one.maps), value=kept), heat, legend, *masks,
        )  # fmt: skip


def look(
    studies: list[study.Study], which: Any, words: list[str], opacity: float
) -> tuple[Any, str]:
    """The map of one word or several over the X-ray, and the legend."""
    one = _chosen(studies, which)
    if one is None:
        return gr.skip(), ""
    try:
        picture = study.heat_overlay(one, words or [], opacity)
    except Exception as error:  # noqa: BLE001 - shown() logs what is not ours
        raise shown(error, "Not shown") from None
    chosen = [word for word in words or [] if word in one.maps]
    named = " and ".join(f"“{word}”" for word in chosen)
    told = f"Where {named} acted in the X-ray." if chosen else "The X-ray, without a map."
    legend = text.legend(study.word_colours(chosen)) if len(chosen) > 1 else f"<p>{told}</p>"
    return gr.update(value=picture, alt_text=told), legend


def remask(studies: list[study.Study], which: Any, *values: Any) -> tuple[Any, ...]:
    """The mask made anew: strip, table, summary."""
    one = _chosen(studies, which)
    if one is None:
        return (gr.skip(),) * 3
    try:
        made = study.make(one, tuning_of(values))
    except Exception as error:  # noqa: BLE001 - shown() logs what is not ours
        raise shown(error, "Mask not changed") from None
    stages = [(title, png_bytes(picture)) for title, picture in made.stages]
    said = text.summary(made.regions, ignored=made.ignored)
    return text.strip(stages, about=said), text.region_table(made.regions), said


def fuse(studies: list[study.Study], which: Any, *values: Any) -> tuple[Any, str]:
    """Both fusions of the affinity walk and the CRF, and a note on them."""
    one = _chosen(studies, which)
    if one is None or one.made is None:
        return gr.skip(), ""
    try:
        both = study.fuse(one, tuning_of(values))
    except Exception as error:  # noqa: BLE001 - shown() logs what is not ours
        raise shown(error, "Mask not changed") from None
    if both is None:
        return gr.update(visible=False), f"<p>{text.NO_NETWORK}</p>"
    return gr.update(value=(both.sequential, both.cross), visible=True), text.fusions(
        both.gamma, one.made.method
    )


def take_away(
    studies: list[study.Study], which: Any, request: gr.Request | None = None
) -> Iterator[tuple[Any, ...]]:
    """ZIP, link, Python, curl of one picture as it is now."""
    one = _chosen(studies, which)
    if one is None or one.made is None:
        yield (gr.skip(),) * 4
        return
    asked = compose.Request(one.prompt, one.seed, one.steps, one.guidance,
                            str(one.record.get("model_hash", "")))  # fmt: skip
    origin = origin_of(request)
    with tempfile.TemporaryDirectory(prefix="lungsynth-") as folder:
        path = Path(folder) / study.archive_name(one)
        path.write_bytes(study.archive(one))
        yield (
            str(path), compose.link(asked, origin),
            compose.python_snippet(asked, one.made.config, model=str(one.record["model"])),
            compose.curl_snippet(asked, origin),
        )  # fmt: skip


def report_words(prompt: str) -> str:
    """Which words of the prompt the model knows; HTML, "" when there is no model."""
    try:
        return text.word_report(actions.check_words(prompt or ""))
    except LungSynthError:
        return ""  # the line about the model already says why


def write_prompt(view: str, age: float | None, sex: str, findings: list[str], side: str) -> str:
    """The controls as a prompt."""
    try:
        return compose.sentence(compose.Controls(view or "", age, sex or "", tuple(findings or ()),
                                                 side or ""))  # fmt: skip
    except LungSynthError as error:
        raise shown(error, "Not written") from None


def surprise() -> tuple[Any, ...]:
    """Prompt, seed, the five controls, and a value that begins the drawing, by chance."""
    controls, seed = compose.surprise()
    return (compose.sentence(controls), seed, controls.view, controls.age, controls.sex,
            list(controls.findings), controls.side, f"surprise {seed}")  # fmt: skip


def opened(request: gr.Request) -> tuple[Any, ...]:
    """The page is opened: what the link asks for, and the model's state.

    Returns:
        Model line, prompt, seed, steps, guidance, link (drawn when it changes), tabs, method,
        convention.
    """
    state = actions.model_state()
    skipped: tuple[Any, ...] = (gr.skip(),) * 4
    linked = ""
    try:
        asked = compose.read_link(dict(request.query_params))
    except LungSynthError as error:
        gr.Warning(str(error), title="Link not used", duration=None)
        asked = None
    if asked is not None:
        skipped = (asked.prompt, asked.seed, asked.steps, asked.guidance)
        linked = "" if state.problem else compose.link(asked)
        if asked.weights and state.weights and not state.weights.startswith(asked.weights):
            gr.Warning("The link was made with other weights; the picture will differ.",
                       title="Other weights", duration=None)  # fmt: skip
    tabs = gr.update(selected="gallery") if state.problem else gr.skip()
    from lungsynth.refine import RefineConfig

    preset = RefineConfig().method
    methods = state.methods or (preset,)
    method = gr.update(choices=list(methods), value=preset if preset in methods else methods[0])
    names = list(state.conventions) or [("the checkpoint's own", "")]
    convention = gr.update(choices=names, value=names[0][1], visible=len(names) > 1)
    return (text.model_line(state), *skipped, linked, tabs, method, convention)


def show_gallery(history: list[dict[str, Any]], request: gr.Request) -> tuple[str, str]:
    """The precomputed pictures, and those this browser remembers; HTML."""
    shown_ = gallery.load()
    origin = origin_of(request)
    links = [compose.link(compose.Request(one.prompt, one.seed, one.steps, one.guidance), origin)
             for one in shown_]  # fmt: skip
    state = actions.model_state()
    return text.cases(shown_, links, state.weights), text.history(history)


def remember(history: list[dict[str, Any]], link: str, studies: list[study.Study]) -> Any:
    """What the browser remembers: the links of its last pictures, nothing on the server."""
    if not studies or not link:
        return gr.skip()
    one = studies[0]
    entry = {"prompt": one.prompt[:200], "seed": one.seed, "link": link}
    others = [old for old in history or [] if isinstance(old, dict) and old.get("link") != link]
    return [entry, *others][:HISTORY]


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
    prompt: str, seed: float, other_prompt: str, other_seed: float, steps: float, guidance: float,
    convention: str, request: gr.Request | None = None,
) -> Iterator[tuple[str, Any, Any, Any]]:  # fmt: skip
    """Two drawings side by side: status, first, second, what differs."""
    made: list[study.Study] = []
    try:
        count(request, 2)
        for index, (words, number) in enumerate(((prompt, seed), (other_prompt, other_seed)), 1):
            for event in actions.draw(words, number, steps, guidance, previews=False,
                                      convention=convention or ""):  # fmt: skip
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
