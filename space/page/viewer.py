"""The viewer: one large picture that is scrubbed from noise to mask, drawn in the browser.

What it is given is small and true to the numbers: grey pictures, class numbers, and maps on one fixed
scale; colours come from one table. Its script is `viewer.js`.
"""

from __future__ import annotations

import base64
import io
from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

import gradio as gr
import numpy as np
from PIL import Image

from lungsynth.arrays import FloatArray, UInt8Array
from lungsynth.images import QUICK_LEVEL, WORD_COLOURS, class_colour, png_bytes
from lungsynth.model.measured import Measured
from space.draw import heat
from space.draw.model import measured
from space.page import text

if TYPE_CHECKING:
    from space.draw.actions import Progress
    from space.draw.study import Study
    from space.draw.upload import Reading

SCRIPT = (Path(__file__).parent / "viewer.js").read_text(encoding="utf-8")
TEMPLATE = """
<div class="lv">
 <div class="lv-stage"><canvas role="img" aria-label="No picture yet"></canvas>
 <canvas role="img" aria-label="No second picture" hidden></canvas></div>
 <div class="lv-bar"><button type="button" class="lv-play">▶ Play</button>
 <label><span class="lv-hide">From noise to mask</span>
 <input type="range" class="lv-scrub" min="0" max="0" value="0" step="1"></label></div>
 <div class="lv-stops" role="group" aria-label="Stages"></div>
 <div class="lv-note" aria-live="polite"></div>
 <div class="lv-words" role="group" aria-label="Words of the prompt: where each looks"></div>
 <div class="lv-legend"></div>
 <div class="lv-pair"><label><input type="checkbox" class="lv-both"> Two words side by side</label>
 </div><label class="lv-strength">Opacity <input type="range" class="lv-opacity" min="0" max="1"
 step="0.05" value="0.6"></label>
 <details class="lv-rules" hidden><summary>Refinements side by side</summary>
 <div class="lv-rules-row"></div></details>
 <div class="lv-thumbs" role="group" aria-label="Pictures" hidden></div>
</div>"""
LONGEST = 1024
"""Longer side of a film's picture at most: it is there to be looked at."""


def viewer(elem_id: str, value: Any = None) -> gr.HTML:
    """The component; its value is `shown`'s."""
    return gr.HTML(
        value,
        html_template=TEMPLATE,
        js_on_load=SCRIPT,
        apply_default_css=False,
        padding=False,
        elem_id=elem_id,
    )


def shown(items: Sequence[dict[str, Any]], key: str, at: int | None = None) -> dict[str, Any]:
    """A value of the viewer: `study_item`, `film_item` or `forming_item`, and which to look at;
    None stays.

    With the key of before the viewer stays at its stage.
    """
    return {"items": list(items), "key": key} | ({} if at is None else {"at": at})


def shown_studies(
    studies: Sequence[Study],
    *,
    rules: Sequence[tuple[str, UInt8Array]] = (),
    which: int = 0,
) -> dict[str, Any]:
    """Drawn pictures as a value of the viewer, that looks at `which`; `rules` are its other
    refinements.
    """
    known = measured()
    items = [
        study_item(one, known, rules=rules if n == which else ()) for n, one in enumerate(studies)
    ]
    first = studies[0]
    return shown(items, f"{first.seed} {first.record['model_hash']} {id(first)}", which)


def forming_item(now: Progress, prompt: str) -> dict[str, Any]:
    """A picture on its way: as far as it is, and where each word looks in this step."""
    names, levels = list(now.words), now.levels
    height, width = now.preview.shape
    frame: dict[str, Any] = {
        "group": "Drawing",
        "title": f"Step {now.step} of {now.steps}",
        "note": "The picture as it forms.",
        "image": _lossy(now.preview),
    }
    if levels is not None:
        frame |= {"sheet": _png(levels.reshape(-1, levels.shape[2])), "place": _placed(levels)}
    return {
        "size": [width, height],
        "image": frame["image"],
        "alt": f"The X-ray of “{prompt}” as it forms, step {now.step} of {now.steps}.",
        "frames": [frame],
        "words": [_word(name, now.classes, "") for name in names],
        "word": heat.telling(names),
        "classes": [],
        "start": 0,
        "caption": "",
    }


def study_item(
    study: Study, measured: Measured, *, rules: Sequence[tuple[str, UInt8Array]] = ()
) -> dict[str, Any]:
    """A drawn picture: from its noise to its mask; a dict of the viewer."""
    assert study.made is not None
    formation, classes = study.formation, _classes(study.specs)
    names = list(formation.words) if formation else []
    frames = _drawing_frames(study)
    looks, placed = len(frames), list[str]()
    if formation is not None:
        found = formation.differences()
        placed = [name for name, one in zip(names, found, strict=True) if heat.has_place(one)]
        frames.append(
            _look(
                found, "Words", "Where the words look", "The finished picture, all steps together."
            )
        )
    frames += _mask_frames(study)
    word = heat.telling(placed) or heat.telling(names)
    height, width = study.image.shape
    return {
        "size": [width, height],
        "image": _png(study.image),
        "alt": text.alt_text(study),
        "frames": frames,
        "words": [_word(name, study.specs, _truth(study, measured, name)) for name in names],
        "word": word,
        "classes": classes,
        "start": looks if word in heat.TELLING else len(frames) - 1,
        "caption": f"Seed {study.seed}",
        "rules": [{"name": name, "label": _png(mask)} for name, mask in rules],
    }


def film_item(reading: Reading) -> dict[str, Any]:
    """A visitor's film: the film, and the stages of its mask."""
    classes = [
        {"id": one.id, "name": one.name, "colour": list(one.colour)} for one in reading.regions
    ]
    height, width = reading.image.shape
    scale = min(1.0, LONGEST / max(height, width))
    size = (max(1, round(width * scale)), max(1, round(height * scale)))
    frames = [{"group": "Film", "title": "Your film", "note": "As it was read."}]
    frames += [
        {"group": name, "title": name, "note": note, "label": _small(mask, size)}
        for name, note, mask in reading.stages
    ]
    said = text.summary(reading.regions)
    return {
        "size": list(size),
        "image": _small(reading.image, size, Image.Resampling.LANCZOS),
        "alt": f"Your film. {said}",
        "frames": frames,
        "words": [],
        "word": "",
        "classes": classes,
        "start": len(frames) - 1,
        "caption": reading.name,
        "rules": [{"name": name, "label": _small(mask, size)} for name, mask in reading.rules]
        or None,
    }


def _drawing_frames(study: Study) -> list[dict[str, Any]]:
    """The noise, and the steps whose picture was kept."""
    formation, frames = study.formation, []
    if formation is None:
        return []
    for step, picture in sorted(formation.pictures.items()):
        first = step == 1
        title = "Noise" if first else f"Step {step} of {study.steps}"
        note = "What the drawing starts from, after one step." if first else "As it forms."
        frame = _look(formation.differences(step), "Noise" if first else "Drawing", title, note)
        frames.append(frame | {"image": _lossy(picture), "alt": f"Seed {study.seed} on its way."})
    return frames


def _look(found: FloatArray, group: str, title: str, note: str) -> dict[str, Any]:
    """A frame with where the words look; `found` is (words, H, W) of `heat.differences`."""
    levels = heat.level(found)
    return {
        "group": group,
        "title": title,
        "note": note,
        "sheet": _png(levels.reshape(-1, levels.shape[2])),
        "place": [heat.has_place(one) for one in found],
    }


def _mask_frames(study: Study) -> list[dict[str, Any]]:
    """What the mask is read from, and the stages in use."""
    assert study.made is not None
    soft = study.probability[1:]
    step = max(1, soft.shape[1] // 128)
    levels = heat.level(soft[:, ::step, ::step])
    read = {
        "group": "Reading",
        "title": "Reading",
        "note": "How probable each class is by attention alone, before anything is refined.",
        "sheet": _png(levels.reshape(-1, levels.shape[2])),
        "soft": True,
        "place": [],
    }
    stages = [
        {"group": name, "title": name, "note": note, "label": _png(mask)}
        for name, note, mask in study.made.stages
    ]
    return [read, *stages]


def _classes(specs: Sequence[Any]) -> list[dict[str, Any]]:
    return [{"id": one.id, "name": one.name, "colour": list(class_colour(one.id))} for one in specs]


def word_colour(word: str, specs: Sequence[Any]) -> tuple[int, int, int]:
    """Of the class a word names, else one that no class has."""
    own = [class_colour(one.id) for one in specs if one.name == word]
    return own[0] if own else WORD_COLOURS[0]


def _word(name: str, specs: Sequence[Any], told: str) -> dict[str, Any]:
    return {"word": name, "told": told, "colour": list(word_colour(name, specs))}


def _truth(study: Study, measured: Measured, word: str) -> str:
    """What is known of a word's map."""
    unknown = study.record.get("unknown_words", ())
    return text.UNKNOWN_WORD.format(word) if word in unknown else measured.sentence(word)


def _placed(levels: UInt8Array) -> list[bool]:
    return [heat.has_place(one / np.float32(255) * np.float32(heat.FULL)) for one in levels]


def _png(picture: UInt8Array) -> str:
    return text.data_uri(png_bytes(picture, level=QUICK_LEVEL))


def _small(
    picture: UInt8Array,
    size: tuple[int, int],
    how: Image.Resampling = Image.Resampling.NEAREST,
) -> str:
    return text.data_uri(
        png_bytes(np.asarray(Image.fromarray(picture).resize(size, how)), synthetic=False)
    )


def _lossy(picture: UInt8Array) -> str:
    """A picture that is only passed on the way, as WebP."""
    buffer = io.BytesIO()
    Image.fromarray(picture).save(buffer, "WEBP", quality=70)
    return f"data:image/webp;base64,{base64.b64encode(buffer.getvalue()).decode()}"
