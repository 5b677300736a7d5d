"""Pictures drawn beforehand: the page opens with them, and shows every stage without its model.

    python -m space.page.gallery          # draws them again with the present checkpoint

In `space/precomputed` lie a value of the viewer for each, `index.json`, which names the checkpoint, and
`card.jpg`, which link previews show.
"""

from __future__ import annotations

import io
import json
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

import click
import numpy as np
from PIL import Image

from lungsynth.errors import LungSynthError
from lungsynth.files import write_files
from lungsynth.images import slug
from lungsynth.model.options import SampleOptions
from lungsynth.permalink import Permalink
from space.draw import actions, heat, model, upload
from space.draw.model import measured, synthesizer
from space.draw.study import Study, by_rule, final_overlay
from space.draw.tuning import Tuning
from space.page import text, viewer

FOLDER = Path(__file__).parents[1] / "precomputed"
INDEX = "index.json"
CARD = "card.jpg"
CHOSEN = (
    ("Frontal PA chest X-ray of a 45-year-old woman with tuberculosis in the right lung", 1),
    ("Frontal PA chest X-ray of a 60-year-old man, no finding", 3),
    ("Frontal AP chest X-ray of a young child with bacterial pneumonia", 7),
)
"""Prompt and seed. The first has a word whose map was measured to be right: the page opens with it."""


@dataclass(frozen=True, slots=True)
class Shown:
    """A picture of the gallery."""

    file: str
    prompt: str
    seed: int
    steps: int
    guidance: float
    weights: str  # of the checkpoint it was drawn with
    summary: str


def build(
    out: Path = FOLDER,
    *,
    steps: int = SampleOptions.steps,
    guidance: float = SampleOptions.guidance,
) -> Path:
    """Draw the gallery; the folder is written whole or not at all.

    Raises:
        LungSynthError: the checkpoint cannot draw, or the place cannot be written.
    """
    entries: list[Shown] = []
    files: dict[str, bytes] = {}
    for prompt, seed in CHOSEN:
        *_, drawing = actions.draw(Permalink(prompt, seed, steps, guidance, precision="auto"))
        assert isinstance(drawing, actions.Drawing)
        study = drawing.study
        assert study.made is not None
        methods = [one for one in upload.COMPARED if model.usable(one, study.field is not None)]
        item = viewer.study_item(study, measured(), rules=by_rule(study, Tuning(), methods))
        item["caption"] = study.prompt
        name = f"{slug(prompt)}-{seed}.json"
        files[name] = json.dumps(item, ensure_ascii=False, separators=(",", ":")).encode()
        files.setdefault(CARD, _card(study))
        weights, said = synthesizer().model_hash, text.summary(study.made.regions)
        entries.append(Shown(name, study.prompt, seed, steps, guidance, weights, said))
    index = json.dumps([asdict(one) for one in entries], indent=2, ensure_ascii=False)
    write_files(files | {INDEX: (index + "\n").encode()}, out)
    return out


def _card(study: Study) -> bytes:
    """JPEG of 1200 × 630 for link previews: the X-ray, where a word looks, the mask."""
    tiles = [np.repeat(study.image[..., None], 3, 2), final_overlay(study)]
    formation = study.formation
    if formation is not None:
        word = heat.telling(formation.words)
        found = formation.differences()[formation.words.index(word)]
        tiles.insert(1, heat.lay_over(study.image, found, viewer.word_colour(word, study.specs)))
    card = Image.new("RGB", (1200, 630), (12, 14, 18))
    for n, tile in enumerate(tiles):
        card.paste(Image.fromarray(tile).resize((380, 380)), (20 + 390 * n, 125))
    buffer = io.BytesIO()
    card.save(buffer, "JPEG", quality=85)
    return buffer.getvalue()


def load(folder: Path = FOLDER) -> list[Shown]:
    """The pictures there are; [] when none was built."""
    try:
        entries = json.loads((folder / INDEX).read_text(encoding="utf-8"))
        return [Shown(**one) for one in entries if (folder / Path(one["file"]).name).is_file()]
    except (OSError, ValueError, TypeError, KeyError):
        return []


def value(folder: Path = FOLDER) -> dict[str, Any] | None:
    """The gallery as a value of the viewer; None when none was built."""
    items = [json.loads((folder / one.file).read_text(encoding="utf-8")) for one in load(folder)]
    return {"items": items, "key": "gallery", "at": 0} if items else None


@click.command(context_settings={"help_option_names": ["-h", "--help"]})
@click.option(
    "--out", type=click.Path(path_type=Path), default=FOLDER, help="[default: the page's]"
)
@click.option(
    "--steps", type=click.IntRange(1, 100), default=SampleOptions.steps, show_default=True
)
def main(out: Path, steps: int) -> None:
    """Draw the page's gallery again. Synthetic X-rays; research only; not for diagnosis."""
    try:
        click.echo(build(out, steps=steps))
    except LungSynthError as error:
        raise click.ClickException(str(error)) from None


if __name__ == "__main__":
    main()
