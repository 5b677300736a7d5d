"""Words of the page: labels, the notice, examples, and values put into sentences and HTML."""

from __future__ import annotations

import base64
from collections.abc import Iterable, Mapping, Sequence
from html import escape
from typing import TYPE_CHECKING

from lungsynth import RESEARCH_NOTICE, __version__

if TYPE_CHECKING:
    from space.draw.actions import ModelState, Progress, WordCheck
    from space.draw.study import Region, Study
    from space.draw.upload import Reading
    from space.share.reports import Sent

TITLE = "lungsynth"
SUBTITLE = (
    "Draws a synthetic chest X-ray from a sentence, shows where each word acted, and marks the "
    "lungs."
)
BANNER = (
    f"<strong>{RESEARCH_NOTICE}</strong> "
    "<span>No patient is shown. Masks are machine-made and unread by a radiologist.</span>"
)
EXAMPLES = (
    "Frontal AP chest X-ray of a young child with bacterial pneumonia",
    "Frontal PA chest X-ray of a 60-year-old man, no finding",
    "PA view, 45-year-old woman, tuberculosis",
    "Normal chest radiograph of a young child, both lungs visible",
)
PROMPT_LABEL = "Describe the X-ray"
PROMPT_HINT = "View, patient, finding. Leave out anything that could name a real patient."
EMPTY_WORDS = "Words the model knows, and words it has never seen, are listed here."
SEED_INFO = "Same seed, same picture"
STEPS_INFO = "More is slower"
GUIDANCE_INFO = "How strictly the prompt is followed; 1 = off"
PICTURES_INFO = "Each with the next seed"
WORDS_INFO = (
    "One word: purple, orange, yellow show where it acted more than in the middling pixel of its map, up "
    "to its maximum. Several: one colour each."
)
MASK_INFO = (
    "“Left” and “right” are the patient’s: the right lung is on the left of the picture. Stability "
    "is 1 when the border stays where it is as the threshold moves; trust is that, times how little "
    "refinement had to change. Hatched grey is left undecided by the ignore band."
)
NO_NETWORK = (
    "This checkpoint has no affinity network, so there is no walk, and the two fusions "
    "(sequential and cross) cannot be compared."
)
UPLOAD_NOTICE = (
    "**Only de-identified pictures, please.** The file is read in memory, deleted at once, and neither "
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
STEP_INFO = "0 = all steps together"
EMPTY_RESULT = "Nothing drawn yet."
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
            f"{escape(state.problem)} Pictures drawn beforehand are under Gallery.</p>"
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
        parts.append(_chips("known", "✓", "Words the model knows", words.known))
    if words.unknown:
        parts.append(
            _chips(
                "unknown", "✗", "Never seen in training, do not count on an effect", words.unknown
            )
        )
    if words.dropped:
        parts.append(f'<p class="ls-problem">Too long, not read: “{escape(words.dropped)}”</p>')
    if words.problem:
        parts.append(f'<p class="ls-problem">{escape(words.problem)}</p>')
    return "".join(parts) or f"<p>{EMPTY_WORDS}</p>"


def _chips(kind: str, mark: str, title: str, words: Sequence[str]) -> str:
    items = "".join(
        f'<li class="ls-{kind}"><span aria-hidden="true">{mark}</span> {escape(word)}</li>'
        for word in words
    )
    return f'<p>{title}:</p><ul class="ls-chips" aria-label="{title}">{items}</ul>'


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
    """Legend and numbers of the classes; HTML.

    Args:
        regions: One a row.
        coarse: With the area before refinement.
    """
    rows = "".join(
        f'<tr><th scope="row"><span class="ls-swatch" style="background:rgb{r.colour}"></span>'
        f"{escape(r.name)}</th>{f'<td>{r.coarse_area:.1%}</td>' if coarse else ''}"
        f"<td>{r.area:.1%}</td><td>{r.n_parts}</td><td>{r.stability:.2f}</td><td>{r.trust:.2f}</td></tr>"
        for r in regions
    )
    heads = ["Class", *(["Coarse area"] if coarse else []), "Area", "Parts", "Stability", "Trust"]
    head = "".join(f'<th scope="col">{name}</th>' for name in heads)
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
        f"{'part' if r.n_parts == 1 else 'parts'} (stability {r.stability:.2f}, trust {r.trust:.2f})"
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


def quoted(words: Iterable[str]) -> str:
    """Words in quotation marks: “lung” and “heart”."""
    return " and ".join(f"“{word}”" for word in words)


def moment(study: Study, step: int, resolution: str) -> str:
    """Which step and resolution a map is of, to follow what it shows; "" for all of them."""
    formation = study.formation
    if formation is None or not (step or resolution):
        return ""
    told = f", in the layers of {resolution} alone" if resolution else ""
    if step:
        frame = formation.frame_at(step)
        first = formation.steps[frame - 1] + 1 if frame else 1
        last = formation.steps[frame]
        which = f"step {last}" if first == last else f"steps {first} to {last}"
        told += f", {which} of {study.steps} (noise level t = {formation.timesteps[frame]})"
        before = formation.picture_at(step)
        if step < study.steps:
            told += f", over the picture foreseen after step {before[0]}" if before else ""
    return told


def data_uri(png: bytes) -> str:
    """A PNG as an address that holds it."""
    return f"data:image/png;base64,{base64.b64encode(png).decode()}"


def strip(pictures: Sequence[tuple[str, bytes]], *, about: str = "") -> str:
    """Pictures in a row, each with its title; HTML.

    Args:
        pictures: Title and PNG.
        about: Said of each in its alternative text.
    """
    figures = "".join(
        f'<figure><img src="{data_uri(png)}" alt="{escape(f"{title}. {about}".strip())}">'
        f"<figcaption>{escape(title)}</figcaption></figure>"
        for title, png in pictures
    )
    return f'<div class="ls-strip">{figures}</div>'


def unseen(settings: Sequence[str], row: str) -> str:
    """What the opened link sets that no control shows; HTML, "" for nothing."""
    told = []
    if row:
        told.append(f"This is row <code>{escape(row)}</code> of the dataset.")
    if settings:
        named = ", ".join(f"<code>{escape(one)}</code>" for one in settings)
        told.append(f"The link also sets {named}.")
    return f"<p>{' '.join(told)}</p>" if told else ""


def fusions(gamma: float, method: str) -> str:
    """What the two pictures of the slider are; HTML."""
    return (
        "<p>Left of the handle <code>sequential</code>: the affinity walk, then the CRF. Right "
        f"<code>cross</code>: of the CRF’s candidates, γ = {gamma:g}, which agrees best with the walk. "
        f"The final mask above is made by <code>{escape(method)}</code>; change it under “Change how the "
        "mask is made”.</p>"
    )


def legend(colours: Mapping[str, tuple[int, int, int]]) -> str:
    """Which colour is which word; HTML."""
    items = "".join(
        f'<span><span class="ls-swatch" style="background:rgb{colour}"></span>{escape(word)}</span>'
        for word, colour in colours.items()
    )
    return f'<p class="ls-legend">{items}</p>'


def film(reading: Reading) -> str:
    """A visitor's film with its mask, numbers, warnings and a download; HTML, nothing on disk."""
    notes = "".join(
        f'<p class="ls-problem">Warning: {escape(one)}.</p>' for one in reading.warnings
    )
    said = summary(reading.regions)
    packed = base64.b64encode(reading.archive).decode()
    mask = data_uri(reading.mask)
    return (
        f'<div class="ls-film">{notes}<figure><img src="{data_uri(reading.overlay)}" '
        f'alt="Your picture with the mask over it. {escape(said)}"></figure>'
        f"{region_table(reading.regions, coarse=False)}<p>{escape(said)}</p>"
        f"<p>{reading.width} × {reading.height} pixels. "
        f'<a download="lungsynth-film.zip" href="data:application/zip;base64,{packed}">'
        f'Save mask, overlay and record (ZIP)</a> · <a download="mask.png" href="{mask}">'
        "Save mask.png alone</a></p><p><strong>Machine-made mask of your picture. Research only. Not for "
        "diagnosis.</strong></p></div>"
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


def difference(one: Study, two: Study) -> str:
    """What two drawings share and where their masks differ, in a sentence each; HTML."""
    assert one.made is not None and two.made is not None
    lines = []
    for a, b in zip(one.made.regions, two.made.regions, strict=False):
        lines.append(f"{a.name}: {a.area:.1%} and {b.area:.1%} of the picture")
    if one.image.shape == two.image.shape:
        change = abs(one.image.astype(float) - two.image.astype(float)).mean()
        lines.append(f"grey values differ by {change:.1f} of 255 on average")
    return f"<p>{escape('; '.join(lines))}.</p>"
