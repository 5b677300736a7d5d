"""Words of the page: labels, the notice, examples, and values put into sentences and HTML."""

from __future__ import annotations

from collections.abc import Sequence
from html import escape

from lungsynth import RESEARCH_NOTICE, __version__
from space.actions import Drawing, ModelState, Region, WordCheck

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
MAPS_INFO = (
    "Where each word of the prompt, and each learnt class, acted in the picture. "
    "Bright yellow is most, no colour is least; every map has its own scale."
)
MASK_INFO = (
    "“Left” and “right” are the patient’s: the right lung is on the left of the picture. Stability "
    "is 1 when the border stays where it is as the threshold moves."
)
EMPTY_RESULT = "Nothing drawn yet."
NOT_DRAWN = "Not drawn: the message says why."
BLAND_ERROR = "Something went wrong on our side, and the picture was not drawn. Please try again."


def model_line(state: ModelState) -> str:
    """Version and checkpoint, or why there is none; HTML."""
    version = f"lungsynth {escape(__version__)}"
    if state.problem:
        return (
            f'<p class="ls-problem" role="alert"><strong>The model could not be loaded.</strong> '
            f"{escape(state.problem)}</p><p>{version}</p>"
        )
    weights = f", weights <code>{escape(state.weights)}</code>" if state.weights else ""
    return f"<p>{version} · model <code>{escape(state.name)}</code>{weights}</p>"


def word_report(words: WordCheck) -> str:
    """Which words are known and which are not; HTML."""
    parts = []
    if words.known:
        parts.append(_chips("known", "✓", "Words the model knows", words.known))
    if words.unknown:
        parts.append(_chips("unknown", "✗", "Never seen in training, do not count on an effect",
                            words.unknown))  # fmt: skip
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


def progress(step: int, steps: int) -> str:
    """How far a drawing is; HTML."""
    return (
        f'<div class="ls-progress" role="status"><label for="ls-bar">Step {step} of {steps}</label>'
        f'<progress id="ls-bar" value="{step}" max="{steps}"></progress></div>'
    )


def status(message: str) -> str:
    """A line about what the page is doing; HTML."""
    return f'<div class="ls-progress" role="status">{escape(message)}</div>'


def region_table(regions: Sequence[Region]) -> str:
    """Legend and numbers of the classes; HTML."""
    rows = "".join(
        f'<tr><th scope="row"><span class="ls-swatch" style="background:rgb{r.colour}"></span>'
        f"{escape(r.name)}</th><td>{r.coarse_area:.1%}</td><td>{r.area:.1%}</td><td>{r.n_parts}</td>"
        f"<td>{r.stability:.2f}</td></tr>"
        for r in regions
    )
    return (
        '<div class="ls-scroll"><table class="ls-table"><thead><tr><th scope="col">Class</th>'
        '<th scope="col">Coarse area</th><th scope="col">Refined area</th>'
        '<th scope="col">Parts</th><th scope="col">Stability</th></tr></thead>'
        f"<tbody>{rows}</tbody></table></div>"
    )


def summary(drawing: Drawing) -> str:
    """The masks in one or two plain sentences."""
    found = [r for r in drawing.regions if r.n_parts or r.area > 0]
    if not found:
        return "No class was found in the picture; the mask is empty."
    told = [
        f"{r.name} covers {r.area:.0%} of the picture in {r.n_parts} "
        f"{'part' if r.n_parts == 1 else 'parts'} (stability {r.stability:.2f})"
        for r in found
    ]
    text = "; ".join(told) + "."
    missing = [r.name for r in drawing.regions if r not in found]
    if missing:
        text += f" Not found: {', '.join(missing)}."
    return text[:1].upper() + text[1:]


def alt_texts(drawing: Drawing, prompt: str) -> tuple[str, str, str]:
    """What the X-ray, the coarse and the refined mask show, for those who do not see them."""
    image = f"Synthetic chest X-ray drawn from “{' '.join(prompt.split())}”, seed {drawing.seed}."
    coarse = "; ".join(f"{r.name} {r.coarse_area:.0%}" for r in drawing.regions)
    return image, f"The X-ray with the coarse mask: {coarse}.", (
        f"The X-ray with the refined mask: {summary(drawing)}"
    )  # fmt: skip
