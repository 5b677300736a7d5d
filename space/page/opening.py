"""What opening the page and its lists calls: values of components in, updates of components out."""

from __future__ import annotations

import secrets
from dataclasses import replace
from typing import Any
from urllib.parse import parse_qs

import gradio as gr

from lungsynth.errors import ConfigError, LungSynthError
from lungsynth.masks.refine import RefineConfig
from lungsynth.model.checkpoint import other_weights
from lungsynth.permalink import Permalink
from space.draw import actions, compose, tuning
from space.draw.model import ModelState, convention_of, measured, model_state, synthesizer
from space.page import text
from space.page.handlers import errors_shown
from space.share import links


def report_words(prompt: str) -> str:
    """Which words of the prompt the model knows; HTML, "" when there is no model."""
    try:
        return text.word_report(actions.check_words(prompt or ""))
    except LungSynthError:
        return ""  # the line about the model already says why


def write_prompt(view: str, age: float | None, sex: str, findings: list[str], side: str) -> str:
    """The controls as a prompt; an age of 0 is not said."""
    with errors_shown("Not written"):
        return compose.sentence(
            compose.Controls(view or "", age or None, sex or "", tuple(findings or ()), side or "")
        )


def surprise() -> tuple[Any, ...]:
    """Prompt, seed, the five controls, and a value that begins the drawing, by chance."""
    controls, seed = compose.surprise(measured())
    return (
        compose.sentence(controls),
        seed,
        controls.view,
        controls.age,
        controls.sex,
        list(controls.findings),
        controls.side,
        f"surprise {seed}",
    )


def opened(request: gr.Request) -> tuple[Any, ...]:
    """The page is opened: what the link asks for, and the model's state.

    Returns:
        Model line, prompt, seed, steps, guidance, size, convention, the link as it was read, what it
        asks for that no control shows, an address (drawn when it changes), the controls of the
        sentence, and the mask's.
    """
    return opened_with(dict(request.query_params))


def reopened(query: str) -> tuple[Any, ...]:
    """Back or forward was pressed: what the address asks for now; see `opened`."""
    return opened_with({key: values[-1] for key, values in parse_qs(query.lstrip("?")).items()})


def opened_with(query: dict[str, str]) -> tuple[Any, ...]:
    """`opened`, at an address with these values."""
    state = model_state()
    asked = None
    try:
        asked = _checked(links.read_link(query), state)
    except LungSynthError as error:
        gr.Warning(str(error), title="Link not used", duration=None)
    wrong = other_weights(asked.weights, state.weights, state.name) if asked is not None else ""
    if wrong:
        told = "The link was made with other weights; the picture will differ."
        gr.Warning(f"{told} {wrong}", title="Other weights", duration=None)
    names = list(state.conventions) or [("the checkpoint's own", "")]
    convention = asked.classes if asked and not state.problem else names[0][1]
    fields = (asked.prompt, asked.seed, asked.steps, asked.guidance) if asked else (gr.skip(),) * 4
    return (
        text.model_line(state),
        *fields,
        _sizes(state, asked.size if asked else ""),
        gr.update(choices=names, value=convention, visible=len(names) > 1),
        asked,
        text.unseen(tuning.unseen(asked), asked.row if asked else ""),
        f"{links.link(asked)} {secrets.token_hex(4)}" if asked and not state.problem else "",
        *_offered(),
        *_controls(state, asked),
    )


def _offered() -> list[Any]:
    """The controls of the sentence: only what the checkpoint obeys, as far as that was measured."""
    known = measured()
    facts = [gr.update(visible=known.offers(name)) for name in ("view", "age", "sex")]
    findings = list(known.findings(compose.FINDINGS))
    offered = gr.update(choices=findings, visible=bool(findings))
    return [*facts, offered, gr.update(visible=known.offers("side"))]


def _checked(asked: Permalink | None, state: ModelState) -> Permalink | None:
    """A link in the page's own words, after what this checkpoint can do.

    Raises:
        LungSynthError: it cannot draw it.
    """
    if asked is None or state.problem:
        return asked
    method = asked.config().method
    if method not in state.methods:
        raise ConfigError(
            f"It asks for `{method}`; this checkpoint can do {', '.join(state.methods)}."
        )
    convention = convention_of(asked.classes)
    if convention not in [name for _, name in state.conventions or [("", "")]]:
        there = ", ".join(title for title, _ in state.conventions)
        raise ConfigError(f"It asks for masks by the rule `{convention}`; there are: {there}.")
    model = synthesizer(convention)
    return replace(asked, classes=convention, size=actions.check_size(model, asked.size))


def _sizes(state: ModelState, asked: str) -> Any:
    """The choice of a size, with one asked for that is none of those offered."""
    choices = [
        (f"{side} (trained at)", "") if side == state.side else (str(side), str(side))
        for side in state.sides
    ] or [("trained at", "")]
    if asked not in [value for _, value in choices]:
        choices.append((asked.replace("x", " × "), asked))
    return gr.update(choices=choices, value=asked)


def _controls(state: ModelState, asked: Permalink | None) -> list[Any]:
    """The mask's controls, in the order of `space.draw.tuning.shown`."""
    config = asked.config() if asked else RefineConfig()
    method, *others = tuning.shown(config).values()
    methods = list(state.methods or (method,))
    method = method if method in methods else methods[0]
    sliders = [
        gr.update(visible=change["visible"], **({"value": value} if asked else {}))
        for change, value in zip(sliders_of(method), others, strict=True)
    ]
    return [gr.update(choices=methods, value=method), *sliders]


def sliders_of(method: str) -> list[Any]:
    """The sliders a refinement listens to are seen, the others not."""
    seen = tuning.used(method)
    return [gr.update(visible=name in seen) for name in text.TUNED]


def reset() -> tuple[Any, ...]:
    """The mask's controls as the program has them, no link, nothing unseen."""
    return (*tuning.shown(RefineConfig()).values(), None, "")
