"""Words of the page: labels, the notice, examples, and values put into sentences and HTML."""

from __future__ import annotations

import base64
from collections.abc import Sequence
from html import escape
from textwrap import shorten
from typing import TYPE_CHECKING

import numpy as np

from lungsynth import RESEARCH_NOTICE, __version__
from lungsynth.images import png_bytes
from space.draw.study import final_overlay

if TYPE_CHECKING:
    from space.draw.actions import Progress, WordCheck
    from space.draw.model import ModelState
    from space.draw.study import Region, Study
    from space.draw.upload import Reading
    from space.share.reports import Sent

TITLE = "lungsynth"
SUBTITLE = (
    "Draws a synthetic chest X-ray from a sentence, shows where each word looked, and marks the "
    "lungs."
)
_MASKS = "Masks are machine-made and unread by a radiologist."
BANNER = (
    f'<div class="ls-drawn"><strong>{RESEARCH_NOTICE}</strong> '
    f"<span>No patient is shown. {_MASKS}</span></div>"
    '<div class="ls-own" hidden><strong>Your film. Research only. Not for diagnosis.</strong> '
    f"<span>{_MASKS}</span></div>"
)
"""Of drawn pictures; over a visitor's own film, which is no synthetic image, the second one."""
PROMPT_LABEL = "Describe the X-ray"
PROMPT_HINT = "View, patient, finding. Nothing that could name a real patient."
DRAW = "Draw (Ctrl+Enter)"
READY = "An example. Press Draw for a picture of your own."
EMPTY_WORDS = "Words the model knows, and words it has never seen, are listed here."
UNKNOWN_WORD = "“{}” was never seen in training: its map says nothing."
SEED_INFO = "Same seed, same picture"
STEPS_INFO = "More is slower"
GUIDANCE_INFO = "How strictly the prompt is followed; 1 = off"
PICTURES_INFO = "Each with the next seed"
MASK_INFO = (
    "“Left” and “right” are the patient’s: the right lung is on the left of the picture. Stability "
    "is 1 when the border stays where it is as the threshold moves; trust is the overlap (IoU) with an "
    "expert's outline that the mask is likely to have, fitted on real films. Hatched grey is left "
    "undecided by the ignore band."
)
TUNING_INFO = "What follows makes the mask anew from the same X-ray; nothing is drawn again."
TUNED = {
    "beta": "β of the walk",
    "walk_steps": "Steps of the walk",
    "position_width": "CRF position width θα",
    "grey_width": "CRF grey width θβ",
    "smooth_width": "CRF smoothness θγ",
    "n_gammas": "Levels γ that cross tries",
    "ignore_band": "Ignore band",
}
"""Label of each slider of the mask."""
PROGRAMS = {
    "Python, with the library": 9,
    "Python, over this page’s API (pip install gradio_client)": 6,
    "JavaScript (npm install @gradio/client)": 6,
    "Shell": 3,
}
"""Label and lines of each example."""
PROGRAM_INFO = (
    "What is shown, drawn by a program. Every endpoint: [API](?view=api) · "
    "[OpenAPI](gradio_api/openapi.json) · MCP at `gradio_api/mcp/`."
)
BATCH_INFO = (
    "Paste prompts, or give a CSV file with the column `prompt` and perhaps `seed`; at most {most}. "
    "Steps, guidance and the first seed are those under *Draw*, *Advanced*. Rows are drawn one after "
    "the other, each in its turn; after a reload it goes on. Prompts and pictures of a batch are kept "
    "here for an hour, for this browser alone."
)
COMPARE_INFO = "Pinned. Change one thing and draw: both, and the difference, are shown here."
UPLOAD_NOTICE = (
    "**Only de-identified pictures, please.** A file is read in memory, deleted at once, and neither "
    "stored nor logged; of a DICOM file only the pixels and how to show them are read, never the "
    "patient’s tags. Text burned into the pixels stays visible to you. "
    "PNG, JPEG, TIFF, BMP or DICOM, at most 50 MB. The mask is machine-made: research only, not for "
    "diagnosis."
)
REPORT_INFO = (
    "A report holds what you tick, the seed and the settings. It holds your prompt only if you add it, "
    "and nothing about you."
)
SIZE_INFO = "Others than the one it was trained at look worse"
NOT_DRAWN = "Not drawn: the message says why."
STOPPED = "Stopped. What was drawn before stays."
UNREADABLE = (
    "One of the values is not of its kind: a text, a number, or a file uploaded here. Nothing was "
    "computed."
)
BLAND_ERROR = "Something went wrong on our side, and the picture was not drawn. Please try again."


def model_line(state: ModelState) -> str:
    """Version and checkpoint, or why there is none; HTML."""
    version = f"lungsynth {escape(__version__)}"
    links = (
        ' · <a href="?view=api">API</a> · <a href="gradio_api/openapi.json">OpenAPI</a>'
        ' · <a href="https://www.apache.org/licenses/LICENSE-2.0">Apache-2.0</a>'
    )
    if state.problem:
        return (
            f'<p class="ls-problem" role="alert"><strong>The model could not be loaded.</strong> '
            f"{escape(state.problem)} Pictures drawn beforehand are shown below.</p>"
            f'<p class="ls-links">{version}{links}</p>'
        )
    weights = f", weights <code>{escape(state.weights)}</code>" if state.weights else ""
    return (
        f'<p class="ls-links">{version} · model <code>{escape(state.name)}</code>{weights}'
        f"{links}</p>"
    )


def word_report(words: WordCheck) -> str:
    """Which words are known and which are not; HTML."""
    parts = []
    if words.known:
        n = len(words.known) + len(words.unknown)
        which = f"all {n}" if not words.unknown else f"{len(words.known)} of {n}"
        parts.append(f"<p>Words the model knows: {which}.</p>")
    if words.unknown:
        title = "Never seen in training, do not count on an effect"
        items = "".join(
            f'<li class="ls-unknown"><span aria-hidden="true">✗</span> {escape(word)}</li>'
            for word in words.unknown
        )
        parts.append(f'<p>{title}:</p><ul class="ls-chips" aria-label="{title}">{items}</ul>')
    if words.dropped:
        parts.append(f'<p class="ls-problem">Too long, not read: “{escape(words.dropped)}”</p>')
    if words.problem:
        parts.append(f'<p class="ls-problem">{escape(words.problem)}</p>')
    return "".join(parts) or f"<p>{EMPTY_WORDS}</p>"


def progress(now: Progress) -> str:
    """How far a drawing is, and for how long still; HTML."""
    which = f"Picture {now.picture} of {now.pictures}, step" if now.pictures > 1 else "Step"
    left = (
        f", about {max(1, round(now.seconds_left))} s left" if now.seconds_left is not None else ""
    )
    done, total = (now.picture - 1) * now.steps + now.step, now.pictures * now.steps
    return (
        f'<div class="ls-progress" role="status"><label for="ls-bar">{which} {now.step} of '
        f'{now.steps}{left}</label><progress id="ls-bar" value="{done}" max="{total}"></progress></div>'
    )


def status(message: str) -> str:
    """A line about what the page is doing; HTML."""
    return f'<div class="ls-progress" role="status">{escape(message)}</div>'


def region_table(regions: Sequence[Region], *, coarse: bool = True) -> str:
    """Legend and numbers of the classes, with the area before refinement where `coarse`; HTML.

    Trust is left out where the checkpoint can say none.
    """
    columns = {
        "Coarse area": [f"{r.coarse_area:.1%}" for r in regions] if coarse else [],
        "Area": [f"{r.area:.1%}" for r in regions],
        "Parts": [str(r.n_parts) for r in regions],
        "Stability": [f"{r.stability:.2f}" for r in regions],
        "Trust": [f"{r.trust:.2f}" for r in regions if r.trust is not None],
    }
    told = {name: cells for name, cells in columns.items() if len(cells) == len(regions)}
    rows = "".join(
        f'<tr><th scope="row"><span class="ls-swatch" style="background:rgb{r.colour}"></span>'
        f"{escape(r.name)}</th>{''.join(f'<td>{cells[n]}</td>' for cells in told.values())}</tr>"
        for n, r in enumerate(regions)
    )
    head = "".join(f'<th scope="col">{name}</th>' for name in ("Class", *told))
    return (
        '<div class="ls-scroll" tabindex="0" role="region" aria-label="Numbers of the classes">'
        f'<table class="ls-table"><thead><tr>{head}</tr></thead><tbody>{rows}</tbody></table></div>'
    )


def summary(regions: Sequence[Region], *, ignored: float = 0.0) -> str:
    """The mask in one or two plain sentences."""
    found = [r for r in regions if r.n_parts or r.area > 0]
    if not found:
        return "No class was found in the picture; the mask is empty."
    told = [
        f"{r.name} covers {r.area:.0%} of the picture in {r.n_parts} "
        f"{'part' if r.n_parts == 1 else 'parts'} (stability {r.stability:.2f}"
        f"{'' if r.trust is None else f', trust {r.trust:.2f}'})"
        for r in found
    ]
    text = "; ".join(told) + "."
    missing = [r.name for r in regions if r not in found]
    if missing:
        text += f" Not found: {', '.join(missing)}."
    if ignored:
        text += f" {ignored:.1%} of the picture is left undecided."
    return text[:1].upper() + text[1:]


def alt_text(study: Study) -> str:
    """What the X-ray shows, for those who do not see it."""
    said = summary(study.made.regions) if study.made else ""
    return f"Synthetic chest X-ray drawn from “{study.prompt}”, seed {study.seed}. {said}".strip()


def data_uri(png: bytes) -> str:
    """A PNG as an address that holds it."""
    return f"data:image/png;base64,{base64.b64encode(png).decode()}"


def unseen(settings: Sequence[str], row: str) -> str:
    """What the opened link sets that no control shows; HTML, "" for nothing."""
    told = []
    if row:
        told.append(f"This is row <code>{escape(row)}</code> of the dataset.")
    if settings:
        named = ", ".join(f"<code>{escape(one)}</code>" for one in settings)
        told.append(f"The link also sets {named}.")
    return f"<p>{' '.join(told)}</p>" if told else ""


def ratio_said(ratio: float | None) -> str:
    """The cardiothoracic ratio in a sentence; "" where there is no heart."""
    if ratio is None:
        return ""
    return f"Cardiothoracic ratio: {ratio:.2f} (widest heart ÷ widest inner chest)."


def film_notes(readings: Sequence[Reading], archive: bytes) -> str:
    """What was found in films, what was put right, and a download; HTML, nothing on disk."""
    parts = []
    for one in readings:
        notes = "".join(f'<p class="ls-problem">Warning: {escape(w)}.</p>' for w in one.warnings)
        righted = "".join(f"<p>Put right: {escape(w)}.</p>" for w in one.done)
        ratio = ratio_said(one.ratio)
        height, width = one.mask.shape
        parts.append(
            f"<h2>{escape(one.name)}</h2>{notes}{righted}"
            f"{region_table(one.regions, coarse=False)}<p>{ratio}</p>"
            f"<p>{escape(summary(one.regions))} {width} × {height} pixels.</p>"
        )
    packed = base64.b64encode(archive).decode()
    saved = (
        f'<p class="ls-links"><a download="lungsynth-films.zip" '
        f'href="data:application/zip;base64,{packed}">Save masks, overlays and records (ZIP)</a></p>'
    )
    if len(readings) == 1:
        mask = data_uri(readings[0].files["mask.png"])
        saved += (
            f'<p class="ls-links"><a download="mask.png" href="{mask}">Save mask.png alone</a></p>'
        )
    return (
        f'<div class="ls-film">{"".join(parts)}{saved}<p><strong>Machine-made masks. Research only. '
        "Not for diagnosis.</strong></p></div>"
    )


def report_sent(sent: Sent) -> str:
    """What became of a report; HTML."""
    packed = base64.b64encode(sent.data).decode()
    file = (
        f'<a download="{escape(sent.name)}" href="data:application/json;base64,{packed}">'
        f"{escape(sent.name)}</a>"
    )
    if sent.kept:
        told = f"Thank you; it was sent. The report: {file}."
    elif sent.url:
        told = f"Nothing was sent. Save the report, {file}, or hand it in:"
    else:
        told = f"Nothing was sent: this page collects no reports. Save the report: {file}."
    if sent.url:
        told += f' <a href="{escape(sent.url)}" rel="noreferrer" target="_blank">open the form</a>.'
    return f'<p class="ls-links" role="status">{told}</p>'


def history(entries: Sequence[object]) -> str:
    """Links to what this browser drew before; HTML."""
    items = "".join(
        f'<li><a href="{escape(str(one["link"]))}">{escape(str(one["prompt"]))}, seed '
        f"{escape(str(one['seed']))}</a></li>"
        for one in entries or []
        if isinstance(one, dict)
        and str(one.get("link", "")).startswith(("http://", "https://"))
        and {"prompt", "seed"} <= one.keys()
    )
    if not items:
        return "<p>What you draw is listed here, and only in this browser.</p>"
    return f'<p>Drawn here before; kept in this browser only.</p><ul class="ls-links">{items}</ul>'


def compared(pinned: Study, now: Study) -> str:
    """A pinned picture, the one drawn after it, and where they differ; HTML."""
    assert pinned.made is not None and now.made is not None
    told = [
        f"{a.name}: {a.area:.1%} and {b.area:.1%} of the picture"
        for a, b in zip(pinned.made.regions, now.made.regions, strict=False)
    ]
    pictures = [
        (
            f"{title}: {shorten(one.prompt, 80, placeholder=' …')}, seed {one.seed}",
            final_overlay(one),
        )
        for title, one in (("Pinned", pinned), ("Now", now))
    ]
    if pinned.image.shape == now.image.shape:
        change = abs(pinned.image.astype(int) - now.image.astype(int)).astype(np.uint8)
        pictures.append(("Difference: white = 255 grey levels", change))
        told.append(f"grey values differ by {change.mean():.1f} of 255 on average")
    changed = [
        f"{name}: {before} → {after}"
        for name in ("prompt", "seed", "steps", "guidance", "size")
        if (before := getattr(pinned, name)) != (after := getattr(now, name))
    ]
    if pinned.made.config != now.made.config:
        changed.append("the mask’s settings")
    what = "; ".join(changed) or "nothing but the weights"
    figures = "".join(
        f'<figure><img src="{data_uri(png_bytes(one))}" alt="{escape(title)}.">'
        f"<figcaption>{escape(title)}</figcaption></figure>"
        for title, one in pictures
    )
    return (
        f'<h2>Compared</h2><div class="ls-strip">{figures}</div>'
        f"<p>Changed: {escape(what)}.</p><p>{escape('; '.join(told))}.</p>"
    )
