"""Does the network hear the prompt? Its loss on unseen real films under right and wrong captions.

    film, noised at t -> loss under the right caption, loss under one wrong in a single fact

The noise is the same for both, so nothing differs but the fact. A network that does not hear it wins
half of the films. This is far more sensitive than looking at samples, and takes minutes.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, replace
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor
from tqdm import tqdm

from lungsynth.errors import DataError
from lungsynth.evaluation.common import ImageSet, Interval, resample_clusters
from lungsynth.evaluation.tables import aligned, percent, shown
from lungsynth.evaluation.words.facts import FACTS, FactPair, choose_pairs
from lungsynth.films.framing import whole
from lungsynth.model.backbone import (
    add_noise,
    embed_prompts,
    encode_images,
    network,
    predict,
    prediction_target,
    side_pixels,
)
from lungsynth.model.precision import resolve_precision, rounded

TIMESTEPS = (400, 600, 750, 900)
"""Where films are noised: from the shape of a chest being seen to it hardly being seen."""

N_SEEDS = 2


@dataclass(frozen=True, slots=True, kw_only=True)
class Passes:
    """How real films are shown to the network: noised to some timesteps, one pass each."""

    timesteps: tuple[int, ...]  # where films are noised
    n_seeds: int = 1  # noises a film and timestep
    seed: int = 0  # of the noise
    precision: str = "auto"  # of the network, see `lungsynth.model.precision`
    batch: int = 8  # passes at a time
    quiet: bool = True  # no progress bar


PASSES = Passes(timesteps=TIMESTEPS, n_seeds=N_SEEDS, batch=32)
PER_FACT = 60
N_RESAMPLES = 1000


@dataclass(frozen=True, slots=True)
class Asked:
    """A film, one of its pairs, and both losses."""

    pair: FactPair
    patient: str
    right: NDArray[np.float64]  # (T,) loss at each timestep, mean over noise
    wrong: NDArray[np.float64]  # (T,)

    def wins(self) -> float:
        """1 where the right caption has the lower mean loss, ½ where both are the same."""
        right, wrong = float(self.right.mean()), float(self.wrong.mean())
        return 0.5 if right == wrong else float(right < wrong)


@torch.inference_mode()
def caption_losses(
    pipe: Any, latents: Tensor, captions: Sequence[Sequence[str]], how: Passes = PASSES
) -> list[NDArray[np.float64]]:
    """Mean squared error of the prediction for films under several captions each, same noise for all.

    Returns:
        Of each of N clean, scaled latents (N, C, h, w) an array (captions, timesteps), mean over noises.
    """
    device = latents.device
    texts = sorted({text for told in captions for text in told})
    where = {text: index for index, text in enumerate(texts)}
    embedded = torch.cat(
        [embed_prompts(pipe, texts[i : i + 64]).cpu() for i in range(0, len(texts), 64)]
    )
    units = [
        (film, c, k, s)
        for film, told in enumerate(captions)
        for c in range(len(told))
        for k in range(len(how.timesteps))
        for s in range(how.n_seeds)
    ]
    sums = [np.zeros((len(told), len(how.timesteps))) for told in captions]
    steps = torch.tensor(list(how.timesteps), device=device)
    starts = range(0, len(units), how.batch)
    for start in tqdm(starts, desc="listening", unit="batch", disable=how.quiet, mininterval=2):
        part = units[start : start + how.batch]
        x = latents[[film for film, *_ in part]]
        noise = torch.stack([_noise(latents, how.seed, film, k, s) for film, _, k, s in part])
        t = steps[[k for _, _, k, _ in part]]
        states = embedded[[where[captions[film][c]] for film, c, *_ in part]].to(device)
        with rounded(device, how.precision):
            guess = predict(pipe, add_noise(pipe.scheduler, x, noise, t), t, states)
        error = (guess.float() - prediction_target(pipe.scheduler, x, noise, t)).square()
        for (film, c, k, _), value in zip(part, error.flatten(1).mean(1).tolist(), strict=True):
            sums[film][c, k] += value / how.n_seeds
    return sums


def _noise(latents: Tensor, seed: int, film: int, k: int, s: int) -> Tensor:
    """Standard normal of one film, timestep and repetition, whatever the batch."""
    generator = torch.Generator().manual_seed(((seed * 1009 + s) * 1013 + k) * 100_003 + film)
    return torch.randn(latents.shape[1:], generator=generator).to(latents)


def listen(
    pipe: Any, films: ImageSet, chosen: Sequence[tuple[int, FactPair]], how: Passes
) -> list[Asked]:
    """Both losses of every pair of `choose_pairs`; a right caption that facts share is read once."""
    used = sorted({index for index, _ in chosen})
    captions: dict[int, dict[str, int]] = {index: {} for index in used}
    for index, pair in chosen:
        for text in (pair.right, pair.wrong):
            captions[index].setdefault(text, len(captions[index]))
    side, device = side_pixels(pipe), network(pipe).device
    images = np.stack([whole(films.images[i], pixels=side) for i in used])
    latents = torch.cat([encode_images(pipe, images[i : i + 8]) for i in range(0, len(images), 8)])
    losses = caption_losses(pipe, latents.to(device), [list(captions[i]) for i in used], how)
    rows, patients = dict(zip(used, losses, strict=True)), films.clusters()
    return [
        Asked(
            pair,
            patients[index],
            rows[index][captions[index][pair.right]],
            rows[index][captions[index][pair.wrong]],
        )
        for index, pair in chosen
    ]


def balanced_share(
    truths: Sequence[str], wins: Sequence[float], patients: Sequence[str], seed: int
) -> Interval:
    """Share of films won, the mean over both truths, so that a liking for one caption wins nothing.

    Films of a patient are bootstrapped together.
    """
    sides, side = np.unique(truths, return_inverse=True)
    people, owner = np.unique(patients, return_inverse=True)
    sums = np.zeros((len(people), len(sides), 2))
    np.add.at(sums, (owner, side), np.stack([wins, np.ones(len(wins))], 1))

    def share(total: NDArray[np.float64]) -> NDArray[np.float64]:
        there = total[..., 1] > 0
        each = np.where(there, total[..., 0] / np.maximum(total[..., 1], 1.0), 0.0)
        return each.sum(-1) / np.maximum(there.sum(-1), 1)

    draws = resample_clusters(sums, np.random.default_rng(seed), N_RESAMPLES)
    return Interval.of(float(share(sums.sum(0))), share(draws))


def _report_fact(asked: Sequence[Asked], seed: int) -> dict[str, Any]:
    truths, patients = [a.pair.truth for a in asked], [a.patient for a in asked]
    wins = np.array([a.wins() for a in asked])
    gaps = np.array([100 * (a.wrong.mean() / a.right.mean() - 1) for a in asked])
    people, owner = np.unique(patients, return_inverse=True)
    sums = np.zeros((len(people), 2))
    np.add.at(sums, owner, np.stack([gaps, np.ones(len(gaps))], 1))
    draws = resample_clusters(sums, np.random.default_rng(seed), N_RESAMPLES)
    of_truth = {truth: wins[[one == truth for one in truths]] for truth in sorted(set(truths))}
    return {
        "share": balanced_share(truths, wins.tolist(), patients, seed).report(),
        "n": len(asked),
        "n_patients": len(people),
        "truths": {
            truth: {"share": round(float(own.mean()), 4), "n": len(own)}
            for truth, own in of_truth.items()
        },
        "gap_percent": Interval.of(float(gaps.mean()), draws[:, 0] / draws[:, 1]).report(),
    }


def hearing(
    pipe: Any, films: ImageSet, how: Passes = PASSES, *, per_fact: int | None = PER_FACT
) -> dict[str, Any]:
    """Share of real films whose right caption has a lower loss than one wrong in a single fact.

    Args:
        pipe: A Stable Diffusion pipeline.
        films: Real films that it was not trained on.
        how: Films are shown to it; its seed also chooses the films, and resamples.
        per_fact: At most so many films a fact, half of either truth; None takes all.

    Returns:
        JSON: fact -> `share` (balanced over both truths, 95 % interval by patient), `n`, the share by
        truth, `gap_percent` (by how much the wrong caption's loss is higher).

    Raises:
        DataError: no film tells a fact that its source shows both sides of.
        ConfigError: the scheduler's prediction type or the precision is unknown.
    """
    how = replace(how, precision=resolve_precision(how.precision, network(pipe).device))
    chosen = choose_pairs(films.fields, per_fact, how.seed)
    if not chosen:
        raise DataError(
            f"None of {len(films)} films tells a fact to be wrong in. Expected columns `view`, `age`, "
            "`sex`, `findings` or `label`, and sources that show both sides of one."
        )
    asked = listen(pipe, films, chosen, how)
    facts = {
        fact: _report_fact([a for a in asked if a.pair.fact == fact], how.seed + 1)
        for fact in FACTS
        if any(a.pair.fact == fact for a in asked)
    }
    return {
        "facts": facts,
        "n_films": len({index for index, _ in chosen}),
        "timesteps": list(how.timesteps),
        "n_seeds": how.n_seeds,
        "seed": how.seed,
        "precision": how.precision,
    }


def hearing_table(report: dict[str, Any]) -> str:
    """Text: each fact's share, by truth, and by how much the wrong caption's loss is higher."""
    rows = [
        [
            fact,
            told["n"],
            percent(told["share"]),
            ", ".join(f"{k} {100 * v['share']:.0f} of {v['n']}" for k, v in told["truths"].items()),
            shown(told["gap_percent"], 2, sign=True),
        ]
        for fact, told in report["facts"].items()
    ]
    head = ["fact", "films", "right caption wins %", "of each truth %", "wrong costs % of the loss"]
    end = (
        f"Chance is 50 %. {report['n_films']} films noised at t = "
        f"{', '.join(map(str, report['timesteps']))}, {report['n_seeds']} noises each."
    )
    return "\n".join([*aligned(head, rows), end])
