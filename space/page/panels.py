"""What the panels of a drawn picture call: values of components in, updates of components out."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace
from html import escape
from typing import Any

import gradio as gr

from lungsynth.permalink import Permalink
from space.draw import limits, model, study, upload
from space.draw.tuning import tuning_of
from space.page import gallery, text, viewer
from space.page.files import kept
from space.page.handlers import count, errors_shown, origin_of
from space.share import archive, links, reports

HISTORY = 12
"""Pictures a browser remembers."""

REPORTS = limits.RateLimit(10, 3600)
"""Reports a visitor may make in an hour."""


def chosen_study(studies: Sequence[study.Study], which: Any) -> study.Study | None:
    """The picture that is looked at; None before there is one."""
    return studies[place_of(studies, which)] if studies else None


def place_of(studies: Sequence[study.Study], which: Any) -> int:
    """Which of the pictures is looked at."""
    return int(which) if isinstance(which, int) and 0 <= which < len(studies) else 0


def numbers(studies: list[study.Study], which: Any) -> tuple[Any, str]:
    """The figures of one picture's mask: table and words."""
    one = chosen_study(studies, which)
    if one is None or one.made is None:
        return gr.skip(), ""
    said = text.summary(one.made.regions, ignored=one.made.ignored)
    ratio = text.ratio_said(one.made.ratios.get("cardiothoracic"))
    return text.region_table(one.made.regions), f"<p>{escape(f'{said} {ratio}'.strip())}</p>"


def remask(studies: list[study.Study], which: Any, *values: Any) -> tuple[Any, ...]:
    """The mask made anew: viewer, table, summary."""
    one = chosen_study(studies, which)
    if one is None:
        return (gr.skip(),) * 3
    with errors_shown("Mask not changed"):
        study.make(one, tuning_of(values))
    return (
        viewer.shown_studies(studies, which=place_of(studies, which)),
        *numbers(studies, which),
    )


def restore(studies: list[study.Study], which: Any) -> Any:
    """The viewer as it was before a drawing that was stopped."""
    one = chosen_study(studies, which)
    if one is None:
        return gallery.value()
    return viewer.shown_studies(studies, which=place_of(studies, which))


def by_rule(studies: list[study.Study], which: Any, *values: Any) -> Any:
    """The mask by every refinement the checkpoint can do, side by side in the viewer."""
    one = chosen_study(studies, which)
    if one is None or one.made is None:
        return gr.skip()
    with errors_shown("Not compared"):
        methods = [name for name in upload.COMPARED if model.usable(name, one.field is not None)]
        rules = study.by_rule(one, tuning_of(values), methods)
    return viewer.shown_studies(studies, rules=rules, which=place_of(studies, which))


def choose(studies: list[study.Study], event: gr.EventData) -> tuple[Any, ...]:
    """A small picture below the viewer was pressed: which, prompt, seed, and status.

    Before anything is drawn these are the pictures of the gallery; the prompt is then that picture's.
    """
    index = int(event.index)
    if studies:
        return index, gr.skip(), gr.skip(), gr.skip()
    there = gallery.load()
    if not 0 <= index < len(there):
        return (gr.skip(),) * 4
    one = there[index]
    return 0, one.prompt, one.seed, text.status(f"Drawn beforehand: {one.summary}")


def pin(
    pinned: list[study.Study], studies: list[study.Study], which: Any
) -> tuple[list[study.Study], Any, str]:
    """Pin the picture that is looked at, or let go of the one pinned: pinned, button, comparison."""
    one = chosen_study(studies, which)
    if pinned or one is None:
        return [], gr.update(value="Pin to compare"), ""
    return (
        [replace(one, cache={}, formation=None)],
        gr.update(value="Unpin"),
        f"<p>{text.COMPARE_INFO}</p>",
    )


def compare(pinned: list[study.Study], studies: list[study.Study], which: Any) -> Any:
    """The pinned picture beside the one that is looked at; HTML."""
    one = chosen_study(studies, which)
    if not pinned or one is None or pinned[0].made is one.made:
        return gr.skip()
    return text.compared(pinned[0], one)


def take_away(
    studies: list[study.Study],
    which: Any,
    opened: Permalink | None,
    request: gr.Request | None = None,
) -> tuple[Any, ...]:
    """ZIP, link, pin, and the same by program, of one picture as it is now."""
    one = chosen_study(studies, which)
    if one is None or one.made is None:
        return (gr.skip(),) * (3 + len(text.PROGRAMS))
    asked = archive.permalink_of(one, opened)
    origin = origin_of(request)
    return (
        gr.update(value=kept(archive.archive_name(one), archive.archive(one)), interactive=True),
        gr.update(value=links.link(asked, origin), visible=True),
        gr.update(interactive=True),
        links.python_snippet(asked, model=str(one.record["model"])),
        links.client_snippet(asked, origin),
        links.javascript_snippet(asked, origin),
        links.curl_snippet(asked, origin),
    )


def remember(history: list[dict[str, Any]], link: str, studies: list[study.Study]) -> Any:
    """What the browser remembers: the links of its last pictures, nothing on the server."""
    if not studies or not link:
        return gr.skip()
    one = studies[0]
    entry = {"prompt": one.prompt[:200], "seed": one.seed, "link": link}
    others = [old for old in history or [] if isinstance(old, dict) and old.get("link") != link]
    return [entry, *others][:HISTORY]


def report(
    studies: list[study.Study],
    which: Any,
    opened: Permalink | None,
    problems: list[str],
    note: str,
    with_prompt: bool,
    request: gr.Request | None = None,
) -> str:
    """Report the mask of the picture as it is now: what became of it; HTML."""
    one = chosen_study(studies, which)
    if one is None or one.made is None:
        return text.status("Draw a picture first.")
    with errors_shown("Not reported"):
        asked = archive.permalink_of(one, opened)
        made = reports.make_report(one, asked, problems, note, with_prompt=bool(with_prompt))
        try:
            count(request, rate=REPORTS)
        except limits.TooManyError:
            raise limits.TooManyError(
                f"You have made {REPORTS.n} reports within the hour; please come back later."
            ) from None
        return text.report_sent(reports.hand_in(made))
