"""Fit trust: films with expert masks, the same films moved and inverted, and pictures that are none.

A sample is one class of one picture: what can be had of its mask without the truth, and its IoU with
the expert's. A moved film's truth moves along; a picture that is no film has IoU 0. Shapes are learnt
from expert masks and from the masks of training films without any.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass, replace
from typing import Any

import numpy as np
from numpy.typing import NDArray
from sklearn.isotonic import IsotonicRegression
from sklearn.linear_model import LogisticRegression
from tqdm import tqdm

from lungsynth.arrays import BoolArray, UInt8Array
from lungsynth.errors import DataError
from lungsynth.films.data import Record
from lungsynth.films.framing import whole
from lungsynth.masks.chain import run
from lungsynth.masks.classes import ClassSpec
from lungsynth.masks.reading import no_word, organs, read
from lungsynth.masks.refine import RefineConfig
from lungsynth.masks.student import student_maps
from lungsynth.model.backbone import embed_prompts, encode_images
from lungsynth.pipeline import Synthesizer
from lungsynth.segment import class_prompt, to_square
from lungsynth.training.film_check.no_films import DRAWN, packaged_pictures, split_pictures
from lungsynth.trust.score import (
    FEATURES,
    Seen,
    TrustModel,
    features,
    film_scores,
    plausibilities,
    shape_key,
    timestep_agreement,
)
from lungsynth.trust.shape import MIN_MASKS, ShapeModel, fit_shapes

FILM, INVERTED, UPSIDE_DOWN, TURNED, NO_FILM = (
    "film",
    "inverted",
    "upside down",
    "turned",
    "no film",
)
BATCH = 16


@dataclass(frozen=True, slots=True)
class Picture:
    """A square picture and the truth of each class, by output: 1 class, 0 not, 255 not counted."""

    image: UInt8Array  # (P, P)
    truth: Mapping[str, UInt8Array]  # empty: there is none, every IoU is 0
    kind: str
    source: str


@dataclass(frozen=True, slots=True)
class Sample:
    """One class of one picture."""

    source: str
    kind: str
    output: str  # "convention/class"
    iou: float
    values: dict[str, float]  # `FEATURES` that could be had
    picture: int = 0  # number of its picture: classes of one picture share it
    empty: bool = False  # nothing of the class was found: trust is 0 without asking


def broken(pictures: Sequence[Picture], n: int) -> list[Picture]:
    """The first `n` films inverted, and likewise upside down and turned by a quarter."""
    out = []
    for one in pictures[:n]:
        moves: dict[str, Any] = {UPSIDE_DOWN: lambda a: a[::-1], TURNED: np.rot90}
        out.append(replace(one, image=255 - one.image, kind=INVERTED))
        for kind, move in moves.items():
            truth = {k: np.ascontiguousarray(move(v)) for k, v in one.truth.items()}
            image = np.ascontiguousarray(move(one.image))
            out.append(replace(one, image=image, truth=truth, kind=kind))
    return out


def no_films(n: int, pixels: int, *, seed: int, held_out: bool = False) -> list[Picture]:
    """Pictures that are no films: noise, black, drawn shapes, and those installed packages ship.

    Args:
        n: How many, half of them drawn.
        pixels: Side.
        seed: Of the choice.
        held_out: Those the film check was not trained on.
    """
    rng = np.random.default_rng((seed, int(held_out)))
    kept, held = split_pictures(packaged_pictures())
    found = list(held.values()) if held_out else kept
    images = [np.zeros((pixels, pixels), np.uint8)]
    images.append(rng.integers(0, 256, (pixels, pixels), dtype=np.uint8))
    for k in range(n // 2):
        images.append(DRAWN[k % len(DRAWN)](rng))
    for index in rng.permutation(len(found))[: n - len(images)]:
        images.append(found[index])
    return [
        Picture(to_square(np.ascontiguousarray(one), pixels=pixels), {}, NO_FILM, NO_FILM)
        for one in images[:n]
    ]


def film_pictures(
    records: Sequence[Record],
    regions: Sequence[Sequence[UInt8Array]],
    specs: Sequence[ClassSpec],
    *,
    pixels: int,
    source: str,
) -> list[Picture]:
    """Films with expert masks, see `lungsynth.training.mask_films.read_annotated`."""
    return [
        Picture(
            whole(record.image, pixels=pixels),
            {spec.output: region for spec, region in zip(specs, one, strict=True)},
            FILM,
            source,
        )
        for record, one in zip(records, regions, strict=True)
    ]


def true_iou(mask: BoolArray, truth: UInt8Array | None) -> float:
    """IoU over what is counted; 0 without a truth, or where both are empty."""
    if truth is None:
        return 0.0
    counted = truth != 255
    mine, theirs = mask & counted, truth == 1
    union = int((mine | theirs).sum())
    return float((mine & theirs).sum() / union) if union else 0.0


def gather_samples(
    synthesizer: Synthesizer,
    pictures: Sequence[Picture],
    specs: Sequence[ClassSpec],
    shapes: Mapping[str, ShapeModel],
    *,
    config: RefineConfig | None = None,
    seed: int = 0,
    quiet: bool = False,
) -> list[Sample]:
    """Segment pictures as the shipped chain does; one sample a class.

    Args:
        synthesizer: A checkpoint with class tokens.
        pictures: Of the checkpoint's side.
        specs: The classes.
        shapes: Of `fit_all_shapes`.
        config: How masks are made; None for the defaults.
        seed: Of the reading's noise.
        quiet: No progress bar.
    """
    config = config or RefineConfig()
    pipe: Any = synthesizer.pipe
    out: list[Sample] = []
    before, synthesizer.classes = synthesizer.classes, list(specs)
    try:
        for start in tqdm(range(0, len(pictures), BATCH), desc="judging", disable=quiet):
            some = pictures[start : start + BATCH]
            images = np.stack([one.image for one in some])
            each: list[Any] = []
            prompts = embed_prompts(pipe, [class_prompt(synthesizer)] * len(some))
            logits = synthesizer.read_tokens(
                encode_images(pipe, images), prompts, [seed] * len(some), each=each
            )
            films = film_scores([one.image for one in some])
            for index, one in enumerate(some):
                seen = Seen(timestep_agreement(specs, each, index), films[index])
                reading = read(specs, logits, index, no_word, config)
                aids = synthesizer.aids(one.image, config)
                made = run(reading, one.image, specs, config, aids)
                usual = plausibilities(shapes, specs, made.mask, one.image)
                found = features(reading, specs, made, aids.student, seen, usual)
                for spec in specs:
                    if one.truth and spec.output not in one.truth:
                        continue
                    value = true_iou(made.mask == spec.id, one.truth.get(spec.output))
                    out.append(
                        Sample(
                            one.source,
                            one.kind,
                            spec.output,
                            value,
                            found[spec.name],
                            start + index,
                            not (made.mask == spec.id).any(),
                        )
                    )
    finally:
        synthesizer.classes = before
    return out


def fit_all_shapes(
    synthesizer: Synthesizer,
    annotated: Mapping[str, Sequence[Picture]],
    films: Sequence[UInt8Array],
    sets: Mapping[str, Sequence[ClassSpec]],
    *,
    quiet: bool = False,
) -> dict[str, ShapeModel]:
    """Shapes of every organ: from expert masks, and from the student's masks of other films.

    Args:
        synthesizer: Its student labels `films`, for the organs it knows.
        annotated: Set of classes -> films with expert masks of it.
        films: Training films (P, P) without masks.
        sets: Set of classes -> its classes.
        quiet: No progress bar.
    """
    masks: dict[str, list[list[BoolArray]]] = {}
    images: dict[str, list[UInt8Array]] = {}
    classes: dict[str, list[str]] = {}
    wanted: dict[str, list[ClassSpec]] = {}
    for specs in sets.values():
        for rows in organs(specs).values():
            mine = [specs[row] for row in rows]
            wanted.setdefault(shape_key(mine[0]), mine)
    for key, mine in wanted.items():
        outputs = classes[key] = [spec.output for spec in mine]
        seen: set[int] = set()
        for pictures in annotated.values():
            for one in pictures:
                if set(outputs) <= set(one.truth) and id(one) not in seen:
                    seen.add(id(one))
                    masks.setdefault(key, []).append([one.truth[o] == 1 for o in outputs])
                    images.setdefault(key, []).append(one.image)
    student = synthesizer.student
    for film in tqdm(films if student else [], desc="shapes", disable=quiet):
        assert student is not None
        told = student_maps(student, film)
        for key, outputs in classes.items():
            p = told.probability(outputs)
            if p is not None:
                best = p.argmax(0)
                masks.setdefault(key, []).append([best == 1 + k for k in range(len(outputs))])
                images.setdefault(key, []).append(film)
    return {
        key: fit_shapes(classes[key], found, images[key])
        for key, found in masks.items()
        if len(found) >= MIN_MASKS
    }


def _matrix(samples: Sequence[Sample], names: Sequence[str]) -> NDArray[np.float64]:
    return np.array([[one.values.get(k, np.nan) for k in names] for one in samples], np.float64)


def fit_trust(
    samples: Sequence[Sample],
    shapes: Mapping[str, ShapeModel],
    *,
    broken_share: float = 0.3,
    info: Mapping[str, Any] | None = None,
) -> TrustModel:
    """Fit the logistic regression and its calibration.

    Args:
        samples: From `gather_samples`.
        shapes: Kept with the model.
        broken_share: What all samples that are no sound films weigh, of the whole.
        info: Facts kept with the model.

    Raises:
        DataError: too few samples, or none of sound films.
    """
    samples = [one for one in samples if not one.empty]
    sound = np.array([one.kind == FILM for one in samples])
    if sound.sum() < 20:
        raise DataError(
            f"{int(sound.sum())} classes of films with expert masks; trust needs at least 20."
        )
    x, y = _matrix(samples, FEATURES), np.array([one.iou for one in samples])
    names = [
        k for k, column in zip(FEATURES, x.T, strict=True) if np.isfinite(column[sound]).sum() >= 20
    ]
    x = _matrix(samples, names)
    middle, scale = np.nanmean(x[sound], 0), np.nanstd(x, 0) + 1e-6
    z = (np.where(np.isfinite(x), x, middle) - middle) / scale
    weight = np.where(sound, 1 / sound.sum(), 0.0)
    if (~sound).any():
        weight = (1 - broken_share) * weight + broken_share * (~sound) / (~sound).sum()
    # a fractional target is one case of each kind, weighed by it
    model = LogisticRegression(C=3.0, max_iter=2000)
    n = len(y)
    model.fit(
        np.concatenate([z, z]),
        np.concatenate([np.ones(n), np.zeros(n)]),
        sample_weight=n * np.concatenate([weight * y, weight * (1 - y)]),
    )
    bias, w = float(model.intercept_[0]), model.coef_[0]
    raw = bias + z @ w
    steps = IsotonicRegression(y_min=0.0, y_max=1.0).fit(raw, y, sample_weight=weight)
    return TrustModel(
        {k: round(float(v), 6) for k, v in zip(names, w, strict=True)},
        {k: round(float(v), 6) for k, v in zip(names, middle, strict=True)},
        {k: round(float(v), 6) for k, v in zip(names, scale, strict=True)},
        round(bias, 6),
        _knots(raw, np.asarray(steps.predict(raw)), weight),
        dict(shapes),
        {"n_samples": n, "n_sound": int(sound.sum()), **(info or {})},
    )


def _knots(
    raw: NDArray[np.float64], fitted: NDArray[np.float64], weight: NDArray[np.float64]
) -> tuple[tuple[float, ...], tuple[float, ...]]:
    """The middle of every step of an isotonic fit: lines between them rise where steps would not."""
    at, value = [], []
    for level in np.unique(fitted.round(6)):
        inside = np.abs(fitted - level) < 1e-6
        if not inside.any():
            continue
        at.append(float(np.average(raw[inside], weights=weight[inside] + 1e-12)))
        value.append(float(level))
    order = np.argsort(at)
    low, high = float(raw.min()), float(raw.max())
    xs = [low - 1.0, *(at[i] for i in order), high + 1.0]
    ys = [value[order[0]] * 0.5, *(value[i] for i in order), min(1.0, value[order[-1]] + 0.005)]
    return tuple(round(v, 6) for v in xs), tuple(round(v, 6) for v in ys)


def sample_rows(samples: Sequence[Sample]) -> list[dict[str, Any]]:
    """For a JSON file."""
    return [asdict(one) for one in samples]


def read_samples(rows: Sequence[Mapping[str, Any]]) -> list[Sample]:
    """From a JSON file of `sample_rows`."""
    return [Sample(**one) for one in rows]
