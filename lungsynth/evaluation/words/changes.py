"""Same seed, one word changed: can the encoder tell the two pictures apart, and by the right head?

    prompt, and the same prompt with one word changed, one seed -> two pictures -> AUC between the two

A network that does not hear the word draws the same picture twice: AUC 0.5. What the encoder reaches
on real test films stands beside it, as what could be reached.
"""

from __future__ import annotations

from collections.abc import Mapping, MutableMapping
from dataclasses import asdict, dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray
from tqdm import tqdm

from lungsynth.evaluation.common import ImageSet, Interval
from lungsynth.evaluation.drawing import draw_images
from lungsynth.evaluation.tables import aligned, shown
from lungsynth.evaluation.words.labels import HEAD_NAMES, UNKNOWN, film_labels
from lungsynth.model.encoder import Encoder, embed
from lungsynth.model.sampling import SampleOptions

N_PAIRS = 24
N_RESAMPLES = 1000


@dataclass(frozen=True, slots=True)
class Change:
    """A word that is changed; {age}, {sex}, {view} are the same in both prompts."""

    name: str
    head: str  # of the encoder, which judges
    template: str  # with {word}
    words: tuple[str, str]  # of the head's first and second class
    group: int | None  # age group of the films it is compared with: 0 adults, 1 children


CHANGES = (
    Change(
        "man / woman",
        "sex",
        "Frontal {view} chest X-ray of a {age}-year-old {word}. Normal.",
        ("man", "woman"),
        0,
    ),
    Change(
        "normal / pneumonia, adults",
        "finding",
        "Frontal {view} chest X-ray of a {age}-year-old {sex}. {word}.",
        ("Normal", "Pneumonia"),
        0,
    ),
    Change(
        "normal / pneumonia, children",
        "finding",
        "Frontal AP chest X-ray of a {child}. {word}.",
        ("Normal", "Pneumonia"),
        1,
    ),
    Change(
        "PA / AP",
        "view",
        "Frontal {word} chest X-ray of a {age}-year-old {sex}. Normal.",
        ("PA", "AP"),
        0,
    ),
)
CHILDREN = ("young child", "3-year-old child", "small child", "5-year-old child")


def pair_prompts(change: Change, n: int) -> list[tuple[str, str]]:
    """`n` pairs of prompts, the first m of n being those of m; ages, sexes and views go round."""
    out = []
    for k in range(n):
        told = {
            "age": 20 + (k * 13) % 65,
            "sex": ("man", "woman")[k % 2],
            "view": ("PA", "AP")[k // 2 % 2],
            "child": CHILDREN[k % len(CHILDREN)],
        }
        first, second = (change.template.format(word=word, **told) for word in change.words)
        out.append((first, second))
    return out


def auc(first: NDArray[np.float64], second: NDArray[np.float64]) -> float:
    """Share of pairs (one of each) in which `second` is higher; ties count half."""
    difference = second[None, :] - first[:, None]
    return float((difference > 0).mean() + (difference == 0).mean() / 2)


def auc_interval(
    first: NDArray[np.float64], second: NDArray[np.float64], seed: int, *, paired: bool
) -> Interval:
    """AUC with its bootstrap interval; with `paired`, pair k of both is drawn together."""
    rng = np.random.default_rng(seed)
    draws = []
    for _ in range(N_RESAMPLES):
        one = rng.integers(0, len(first), len(first))
        two = one if paired else rng.integers(0, len(second), len(second))
        draws.append(auc(first[one], second[two]))
    return Interval.of(auc(first, second), np.array(draws))


def _on_films(films: ImageSet, encoder: Encoder, seed: int) -> dict[str, dict[str, Any]]:
    """Change -> AUC of its head on real films of the same age group."""
    labels, seen = film_labels(films.fields), embed(encoder, films.images)
    out = {}
    for change in CHANGES:
        column = labels[:, HEAD_NAMES.index(change.head)]
        rows = (column != UNKNOWN) & (labels[:, 0] == change.group)
        chances = seen.probabilities[change.head]
        first, second = (chances[rows & (column == value)] for value in (0, 1))
        if len(first) and len(second):
            told = auc_interval(first, second, seed, paired=False)
            out[change.name] = {"auc": told.report(), "n": int(rows.sum())}
    return out


@dataclass(frozen=True, slots=True, kw_only=True)
class Pairs:
    """How the pairs are drawn."""

    options: SampleOptions
    n: int = N_PAIRS  # of each change
    seed: int = 0  # pair k is drawn with seed + k
    batch: int = 8  # pictures drawn together
    quiet: bool = True  # no progress bar


def evaluate_changes(
    pipe: Any,
    encoder: Encoder,
    how: Pairs,
    *,
    films: ImageSet | None = None,
    kept: MutableMapping[str, Any] | None = None,
) -> dict[str, Any]:
    """Draw every change's pairs and judge them.

    Args:
        pipe: A Stable Diffusion pipeline.
        encoder: The judge.
        how: How the pairs are drawn.
        films: Real test films for what the judge reaches there.
        kept: Change -> what was judged before, which is not drawn again; each that is finished is put
            into it.

    Returns:
        JSON: change -> `auc` with interval, `right_order` (share of pairs whose picture of the second
        word has the higher chance), `grey_levels` (mean absolute difference of a pair), `real`.
    """
    real = {} if films is None else _on_films(films, encoder, how.seed + 1)
    changes: dict[str, Any] = {}
    n = how.n
    with tqdm(total=2 * n * len(CHANGES), unit="image", disable=how.quiet) as bar:
        for change in CHANGES:
            if kept is not None and change.name in kept:
                changes[change.name] = dict(kept[change.name])
                bar.update(2 * n)
                continue
            prompts = [text for pair in pair_prompts(change, n) for text in pair]
            seeds = [how.seed + k for k in range(n) for _ in range(2)]
            images = []
            for image in draw_images(pipe, prompts, seeds, how.options, how.batch):
                images.append(image)
                bar.update()
            changes[change.name] = _judge(change, np.stack(images), encoder, how.seed)
            if change.name in real:
                changes[change.name]["real"] = real[change.name]
            if kept is not None:
                kept[change.name] = changes[change.name]
    return {"changes": changes, "n_pairs": n, "seed": how.seed, "drawing": asdict(how.options)}


def _judge(
    change: Change, images: NDArray[np.uint8], encoder: Encoder, seed: int
) -> dict[str, Any]:
    chances = embed(encoder, images).probabilities[change.head]
    first, second = chances[0::2], chances[1::2]
    grey = np.abs(images[0::2].astype(np.float64) - images[1::2])
    order = (second > first).astype(np.float64) + (second == first) / 2
    times = np.random.default_rng(seed).integers(0, len(order), (N_RESAMPLES, len(order)))
    return {
        "auc": auc_interval(first, second, seed, paired=True).report(),
        "right_order": Interval.of(float(order.mean()), order[times].mean(1)).report(),
        "grey_levels": float(f"{grey.mean():.4g}"),
        "words": list(change.words),
    }


def changes_table(report: Mapping[str, Any]) -> str:
    """Text: a line a change."""
    rows = [
        [
            name,
            shown(told["auc"]),
            shown(told["right_order"]),
            f"{told['grey_levels']:.2f}",
            f"{shown(told['real']['auc'])}, n = {told['real']['n']}" if "real" in told else "-",
        ]
        for name, told in report["changes"].items()
    ]
    head = ["word changed", "AUC", "pairs in order", "grey levels", "AUC on real films"]
    end = f"{report['n_pairs']} pairs each, drawn with one seed; chance is 0.5."
    return "\n".join([*aligned(head, rows), end])
