"""What the panels of a drawn picture call: values of components in, updates of components out."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import gradio as gr

from lungsynth.images import png_bytes
from lungsynth.permalink import Permalink
from space.draw import heat, limits, study
from space.draw.tuning import tuning_of
from space.page import text
from space.page.files import kept, kept_picture
from space.page.handlers import count, origin_of, shown
from space.share import archive, links, reports

HISTORY = 12
"""Pictures a browser remembers."""

REPORTS = limits.RateLimit(10, 3600)
"""Reports a visitor may make in an hour."""


def chosen_study(studies: Sequence[study.Study], which: Any) -> study.Study | None:
    """The picture that is looked at; None before there is one."""
    if not studies:
        return None
    return (
        studies[int(which)] if isinstance(which, int) and 0 <= which < len(studies) else studies[0]
    )


def show(
    studies: list[study.Study], which: Any, words: list[str], opacity: float, *values: Any
) -> tuple[Any, ...]:
    """Every panel of one picture: X-ray, words, their map, legend, step, resolution, and `remask`'s."""
    one = chosen_study(studies, which)
    if one is None:
        return (gr.skip(),) * 9
    chosen = heat.telling(list(one.maps), words)
    picture, legend = look(studies, which, chosen, opacity, 0, "")
    masks = remask(studies, which, *values)
    grids = [heat.grid_name(grid) for grid in one.formation.resolutions] if one.formation else []
    return (
        gr.update(
            value=kept_picture(f"xray-seed{one.seed}", one.image), alt_text=text.alt_text(one)
        ),
        gr.update(choices=list(one.maps), value=chosen),
        picture,
        legend,
        gr.update(maximum=one.steps, value=0),
        gr.update(choices=[("all", ""), *((name, name) for name in grids)], value=""),
        *masks,
    )


def look(
    studies: list[study.Study],
    which: Any,
    words: list[str],
    opacity: float,
    step: float,
    resolution: str,
) -> tuple[Any, str]:
    """The map of one word or several over the X-ray, and the legend."""
    one = chosen_study(studies, which)
    if one is None:
        return gr.skip(), ""
    chosen = [word for word in words or [] if word in one.maps]
    try:
        at = min(int(step or 0), one.steps)
        picture = heat.heat_overlay(one, chosen, opacity, step=at, resolution=resolution or "")
    except Exception as error:  # noqa: BLE001 - shown() logs what is not ours
        raise shown(error, "Not shown") from None
    told = (
        f"Where {text.quoted(chosen)} acted in the X-ray" if chosen else "The X-ray, without a map"
    )
    told += text.moment(one, at, resolution or "") + "."
    colours = text.legend(heat.word_colours(chosen)) if len(chosen) > 1 else ""
    note = f"<p>{text.escape(told)}</p>" if len(chosen) < 2 or at or resolution else ""
    return gr.update(value=kept_picture("map", picture), alt_text=told), colours + note


def remask(studies: list[study.Study], which: Any, *values: Any) -> tuple[Any, ...]:
    """The mask made anew: strip, table, summary."""
    one = chosen_study(studies, which)
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
    one = chosen_study(studies, which)
    if one is None or one.made is None:
        return gr.skip(), ""
    try:
        both = study.fuse(one, tuning_of(values))
    except Exception as error:  # noqa: BLE001 - shown() logs what is not ours
        raise shown(error, "Mask not changed") from None
    if both is None:
        return gr.update(visible=False), f"<p>{text.NO_NETWORK}</p>"
    pair = (kept_picture("sequential", both.sequential), kept_picture("cross", both.cross))
    return gr.update(value=pair, visible=True), text.fusions(both.gamma, one.made.method)


def take_away(
    studies: list[study.Study],
    which: Any,
    opened: Permalink | None,
    request: gr.Request | None = None,
) -> tuple[Any, ...]:
    """ZIP, link, Python, curl of one picture as it is now."""
    one = chosen_study(studies, which)
    if one is None or one.made is None:
        return (gr.skip(),) * 4
    asked = archive.permalink_of(one, opened)
    origin = origin_of(request)
    return (
        kept(archive.archive_name(one), archive.archive(one)),
        links.link(asked, origin),
        links.python_snippet(asked, model=str(one.record["model"])),
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
    try:
        asked = archive.permalink_of(one, opened)
        made = reports.make_report(one, asked, problems, note, with_prompt=bool(with_prompt))
        try:
            count(request, rate=REPORTS)
        except limits.TooManyError:
            raise limits.TooManyError(
                f"You have made {REPORTS.n} reports within the hour; please come back later."
            ) from None
        return text.report_sent(reports.hand_in(made))
    except Exception as error:  # noqa: BLE001 - shown() logs what is not ours
        raise shown(error, "Not reported") from None
