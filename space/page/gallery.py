"""Pictures drawn beforehand, so that the page shows every stage at once, even without its model.

    python -m space.page.gallery          # draws them again with the present checkpoint

Files lie in `space/precomputed`: a folder a picture, and `index.json`, which names the checkpoint.
"""

from __future__ import annotations

import json
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import click

from lungsynth.errors import LungSynthError
from lungsynth.images import png_bytes, slug

FOLDER = Path(__file__).parents[1] / "precomputed"
INDEX = "index.json"
CHOSEN = (
    ("Frontal AP chest X-ray of a young child with bacterial pneumonia", 7, "pneumonia"),
    ("Frontal PA chest X-ray of a 60-year-old man, no finding", 3, "chest"),
    ("PA view, 45-year-old woman, tuberculosis in the right lung", 5, "right lung"),
)
"""Prompt, seed, and the word whose map is shown."""


@dataclass(frozen=True, slots=True)
class Shown:
    """A picture of the gallery."""

    prompt: str
    seed: int
    steps: int
    guidance: float
    weights: str  # of the checkpoint it was drawn with
    summary: str
    pictures: tuple[tuple[str, bytes], ...]  # title, PNG: the X-ray, a map, the stages of the mask


def build(out: Path = FOLDER, *, steps: int = 20, guidance: float = 1.5) -> list[Path]:
    """Draw the gallery.

    Args:
        out: Where to; a picture's folder is written whole or not at all.
        steps: Denoising steps.
        guidance: Of the prompt.

    Returns:
        The folders, and the index last.

    Raises:
        LungSynthError: the checkpoint cannot draw, or the place cannot be written.
    """
    from lungsynth.files import write_files
    from space.draw import actions
    from space.draw.heat import heat_overlay
    from space.page import text
    from space.share.archive import record_of

    entries: list[dict[str, Any]] = []
    written = []
    for prompt, seed, word in CHOSEN:
        drawing = next(
            event
            for event in actions.draw(prompt, seed, steps, guidance, previews=False)
            if isinstance(event, actions.Drawing)
        )
        study = drawing.study
        assert study.made is not None
        used = word if word in study.maps else next(iter(study.maps))
        pictures = [
            ("X-ray", study.image),
            (f"Map of “{used}”", heat_overlay(study, [used], 0.6)),
            *study.made.stages,
        ]
        name = f"{slug(prompt)}-{seed}"
        files = {f"{n}.png": png_bytes(picture) for n, (_, picture) in enumerate(pictures)}
        record = json.dumps(record_of(study), indent=2, ensure_ascii=False) + "\n"
        write_files({**files, "record.json": record.encode()}, out / name)
        written.append(out / name)
        entries.append(
            {
                "folder": name,
                "prompt": study.prompt,
                "seed": seed,
                "steps": steps,
                "guidance": guidance,
                "weights": actions.synthesizer().model_hash,
                "summary": text.summary(study.made.regions),
                "titles": [title for title, _ in pictures],
            }
        )
    index = out / INDEX
    index.write_text(json.dumps(entries, indent=2, ensure_ascii=False) + "\n", encoding="utf-8")
    return [*written, index]


def load(folder: Path = FOLDER) -> list[Shown]:
    """The pictures there are; [] when none was built, and without those that are not whole."""
    try:
        entries = json.loads((folder / INDEX).read_text(encoding="utf-8"))
    except (OSError, ValueError):
        return []
    shown = []
    for entry in entries:
        place = folder / Path(str(entry["folder"])).name
        try:
            pictures = tuple(
                (title, (place / f"{n}.png").read_bytes())
                for n, title in enumerate(entry["titles"])
            )
        except OSError:
            continue
        shown.append(
            Shown(
                entry["prompt"],
                entry["seed"],
                entry["steps"],
                entry["guidance"],
                entry["weights"],
                entry["summary"],
                pictures,
            )
        )
    return shown


@click.command(context_settings={"help_option_names": ["-h", "--help"]})
@click.option(
    "--out", type=click.Path(path_type=Path), default=FOLDER, help="[default: the page's]"
)
@click.option("--steps", type=click.IntRange(1, 100), default=20, show_default=True)
def main(out: Path, steps: int) -> None:
    """Draw the page's gallery again. Synthetic X-rays; research only; not for diagnosis."""
    try:
        for path in build(out, steps=steps):
            click.echo(path)
    except LungSynthError as error:
        raise click.ClickException(str(error)) from None


if __name__ == "__main__":
    main()
