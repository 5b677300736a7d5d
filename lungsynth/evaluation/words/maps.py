"""Do words look where they should? Their maps against experts' masks, boxes, and the masks of samples."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass, field, replace
from pathlib import Path
from typing import Any

import numpy as np
from PIL import Image
from tqdm import tqdm

from lungsynth.arrays import UInt8Array
from lungsynth.errors import DataError
from lungsynth.evaluation.drawing import balanced_prompts
from lungsynth.evaluation.tables import aligned, shown
from lungsynth.evaluation.words.facts import read_fields
from lungsynth.evaluation.words.hearing import Passes
from lungsynth.evaluation.words.map_figures import WordMap, compare, correlations, grey
from lungsynth.evaluation.words.map_reading import (
    PIXELS,
    PlacedFilm,
    boxed_films,
    film_caption,
    film_maps,
    masked_films,
    outlined_films,
)
from lungsynth.model.backbone import side_pixels
from lungsynth.model.sampling import SampleOptions
from lungsynth.pipeline import Synthesizer

ENDINGS = {
    "Left lung, heart and right lung": ("left lung", "right lung", "heart"),
    "The heart between the two lungs": ("lungs",),
}
"""What is put after a film's caption so that it holds the words; both are captions of training."""

TOLD = ("pneumonia", "tuberculosis")  # words a sick film's caption is known by
ANATOMY, FILLER = "right lung", "of"  # of the correlations


@dataclass(frozen=True, kw_only=True)
class WordsOptions:
    """What is measured; see the help of `evaluate words`."""

    sources: Sequence[str]
    split: str | None = "test"
    image_column: str = "image"
    boxes: str | None = None  # Parquet of findings' boxes
    outlines: Path | None = None  # folder of annotations
    limit: int | None = 100  # films of a convention
    # where films are noised: the middle of the drawing, where places are decided
    timesteps: Sequence[int] = (300, 500, 700)
    finding_words: Sequence[str] = ("pneumonia", "opacity", "consolidation", "infiltration")
    n_samples: int = 24
    drawing: SampleOptions = field(default_factory=SampleOptions)
    seed: int = 0
    batch: int = 8
    quiet: bool = True


def _finding_word(caption: str) -> str:
    return next((word for word in TOLD if word in caption.lower()), "")


def _film_maps(
    pipe: Any, films: Sequence[PlacedFilm], prompts: Sequence[str], words: Any, how: WordsOptions
) -> list[dict[str, UInt8Array]]:
    passes = Passes(
        timesteps=tuple(how.timesteps),
        seed=how.seed,
        precision=how.drawing.precision,
        batch=how.batch,
        quiet=how.quiet,
    )
    return film_maps(pipe, [film.image for film in films], prompts, words, passes)


def on_films(
    pipe: Any, films: Sequence[PlacedFilm], how: WordsOptions
) -> tuple[dict[str, Any], list[dict[str, UInt8Array]], list[str]]:
    """Anatomy words of films with regions.

    Returns:
        Word -> figures (JSON); and, of sick films, the maps of an anatomy word, a finding word and a
        filler word, with each film's patient.
    """
    words: dict[str, Any] = {}
    triples: list[dict[str, UInt8Array]] = []
    patients: list[str] = []
    for ending, anatomy in ENDINGS.items():
        prompts = [film_caption(film, ending) for film in films]
        extra = [_finding_word(prompt) if ANATOMY in anatomy else "" for prompt in prompts]
        asked = [[*anatomy, *([told, FILLER] if told else [])] for told in extra]
        maps = _film_maps(pipe, films, prompts, asked, how)
        for word in anatomy:
            placed = [
                WordMap(found[word], film.regions[word], film.valid, film.patient)
                for film, found in zip(films, maps, strict=True)
                if word in film.regions
            ]
            told = compare(placed, how.seed + 1) if placed else None
            if told is not None:
                words[word] = told
        for film, found, finding in zip(films, maps, extra, strict=True):
            if finding:
                triples.append(
                    {"anatomy": found[ANATOMY], "finding": found[finding], "filler": found[FILLER]}
                )
                patients.append(film.patient)
    return words, triples, patients


def on_boxes(pipe: Any, films: Sequence[PlacedFilm], how: WordsOptions) -> dict[str, Any]:
    """Finding words of films with boxes: word -> figures (JSON)."""
    words = {}
    for word in how.finding_words:
        prompts = [replace(read_fields(film.fields), finding=word).caption() for film in films]
        maps = _film_maps(pipe, films, prompts, [[word]] * len(films), how)
        placed = [
            WordMap(found[word], film.regions["finding"], film.valid, film.patient)
            for film, found in zip(films, maps, strict=True)
        ]
        words[word] = compare(placed, how.seed + 1)
    return words


def shrunk(plane: Any) -> Any:
    """(H, W) -> (P, P): floats are averaged, bool and uint8 taken from the nearest pixel."""
    picture = Image.fromarray(plane)
    how = Image.Resampling.BOX if plane.dtype.kind == "f" else Image.Resampling.NEAREST
    return np.asarray(picture.resize((PIXELS, PIXELS), how))


def on_samples(synthesizer: Synthesizer, how: WordsOptions) -> dict[str, Any]:
    """Anatomy words of pictures drawn by prompt, against the masks of the same pictures: JSON.

    Raises:
        DataError: the checkpoint has no class of an anatomy word.
    """
    ending, anatomy = next(iter(ENDINGS.items()))
    classes = {spec.name: spec.id for spec in synthesizer.classes if spec.name in anatomy}
    if not classes:
        raise DataError(
            f"Checkpoint {synthesizer.name!r} has no class of {', '.join(anatomy)} to compare its "
            "words with. Pass --samples 0 to leave samples out."
        )
    placed: dict[str, list[WordMap]] = {word: [] for word in classes}
    triples = []
    asked = balanced_prompts(how.n_samples)
    for k, one in enumerate(tqdm(asked, desc="drawing", unit="image", disable=how.quiet)):
        prompt = f"{one.prompt.rstrip('.')}. {ending}"
        finding = _finding_word(prompt)
        words = [*classes, *([FILLER, finding] if finding else [])]
        words += [ANATOMY] if ANATOMY not in words else []
        result = next(
            iter(synthesizer.generate([prompt], [how.seed + k], options=how.drawing, words=words))
        )
        maps = {word: grey(shrunk(result.maps[word])) for word in words}
        mask = shrunk(result.mask)
        for word, value in classes.items():
            placed[word].append(WordMap(maps[word], mask == value, mask != 255, f"#{k}"))
        if finding:
            triples.append(
                {"anatomy": maps[ANATOMY], "finding": maps[finding], "filler": maps[FILLER]}
            )
    names = [f"#{k}" for k in range(len(triples))]
    told = {word: compare(maps, how.seed + 1) for word, maps in placed.items()}
    return {
        "n": len(asked),
        "words": {word: figures for word, figures in told.items() if figures is not None},
        "correlation": correlations(triples, names, how.seed + 2) if triples else None,
    }


def evaluate_words(synthesizer: Synthesizer, how: WordsOptions) -> dict[str, Any]:
    """Everything `evaluate words` tells: films by convention, outlines, boxes, samples, correlations.

    Raises:
        DataError: no film with a mask, a box or an outline, and no sample.
    """
    pipe: Any = synthesizer.pipe
    side = side_pixels(pipe)
    groups: dict[str, list[PlacedFilm]] = {}
    if how.sources:
        groups = masked_films(
            how.sources,
            side,
            split=how.split,
            limit=how.limit,
            seed=how.seed,
            image_column=how.image_column,
        )
    if how.outlines is not None:
        groups["outlines"] = outlined_films(
            how.outlines, how.sources, side, image_column=how.image_column
        )
    films: dict[str, Any] = {}
    triples: list[Mapping[str, UInt8Array]] = []
    patients: list[str] = []
    for name, group in groups.items():
        films[name], found, who = on_films(pipe, group, how)
        triples, patients = [*triples, *found], [*patients, *who]
    boxes = None
    if how.boxes is not None:
        boxes = on_boxes(pipe, boxed_films(how.boxes, side, split=how.split), how)
    samples = on_samples(synthesizer, how) if how.n_samples else None
    if not films and boxes is None and samples is None:
        raise DataError(
            f"{', '.join(how.sources) or 'No --data'}: no film with a mask, no --boxes, no --outlines "
            "and no samples; there is nothing to compare maps with."
        )
    known = synthesizer.vocabulary
    asked = [*(w for words in ENDINGS.values() for w in words), *how.finding_words]
    return {
        "films": films,
        "boxes": boxes,
        "samples": samples,
        "correlation": correlations(triples, patients, how.seed + 2) if triples else None,
        "timesteps": list(how.timesteps),
        "unknown_words": [w for w in asked if known is not None and known.unknown(w)],
        "drawing": asdict(how.drawing),
        "pixels": PIXELS,
        "seed": how.seed,
    }


def words_table(report: Mapping[str, Any]) -> str:
    """Text: a line a word, and one for each of its rivals."""

    def line(name: str, n: object, told: Mapping[str, Any]) -> list[object]:
        return [name, n, *(shown(told[k]) for k in ("auc", "iou", "energy", "pointing"))]

    groups = {f"films, {name}": words for name, words in report["films"].items()}
    groups |= {"boxes of findings": report["boxes"]} if report["boxes"] else {}
    groups |= {"samples": report["samples"]["words"]} if report["samples"] else {}
    rows: list[list[object]] = []
    for group, words in groups.items():
        rows.append([f"-- {group}"])
        for word, told in words.items():
            if told is None:
                continue
            rows.append(line(word, told["n"], told["map"]))
            rows += [line(f"  {name}", "", each) for name, each in told["rivals"].items()]
    head = ["map", "n", "AUC", "IoU at best level", "energy ÷ area", "pointing"]
    lines = aligned(head, rows)
    for name, told in (
        ("films", report["correlation"]),
        ("samples", (report["samples"] or {}).get("correlation")),
    ):
        if told:
            pairs = ", ".join(f"{k} {shown(v)}" for k, v in told.items() if k != "n")
            lines.append(f"correlation of maps, median, {told['n']} {name}: {pairs}")
    lines.append(
        f"Films noised at t = {', '.join(map(str, report['timesteps']))}, one pass each. Never seen in "
        f"training: {', '.join(report['unknown_words']) or 'none of the words'}."
    )
    return "\n".join(lines)
