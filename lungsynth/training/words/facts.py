"""A small judge of latents, and the loss that asks a denoised latent to show what its caption says.

The mean squared error hardly notices a sex or an opacity: they are small beside the pose of a chest.
So a network learns, on clean latents, to tell the facts that captions state; frozen, it looks at the
estimate of the clean latent at each training step, and its cross-entropy for the stated facts is
added to the loss. It sees latents only, and is neither the judge nor the verifier of pictures.
"""

from __future__ import annotations

import re
from collections.abc import Mapping, Sequence

import numpy as np
import torch
from torch import Tensor, nn
from torch.nn import functional as F
from tqdm import tqdm

from lungsynth.arrays import Float64Array, IntArray
from lungsynth.model.precision import AUTO, rounded
from lungsynth.training.words.balance import group_of

UNKNOWN = -1
BATCH, RATE = 128, 2e-3  # latents a step and peak learning rate of the judge's training
AGES = (18, 35, 50, 65)
"""Upper borders, in years, of all age classes but the last."""

FACTS: dict[str, tuple[str, ...]] = {
    "sex": ("M", "F"),
    "view": ("PA", "AP"),
    "age": ("child", "18-34", "35-49", "50-64", "65+"),
    "finding": ("healthy", "pneumonia", "tuberculosis", "covid"),
    "child": ("normal", "bacterial", "viral"),
}
"""Facts and their classes; a label is an index, or `UNKNOWN`."""

Labels = IntArray


def fact_labels(fields: Sequence[Mapping[str, str]]) -> Labels:
    """(N, len(FACTS)) labels of films; a child's sex, view and adult finding are unknown."""
    rows = []
    for film in fields:
        group = group_of(film)
        age = film.get("age", "").strip()
        if group.startswith("child"):
            rows.append((UNKNOWN, UNKNOWN, 0, UNKNOWN, FACTS["child"].index(group.split()[1])))
            continue
        years = sum(int(age) >= border for border in AGES) if age.isdigit() else UNKNOWN
        finding = "pneumonia" if group == "boxed" else group
        rows.append(
            (
                _index("sex", film.get("sex", "")),
                _index("view", film.get("view", "")),
                years,
                FACTS["finding"].index(finding),
                UNKNOWN,
            )
        )
    return np.array(rows, dtype=np.int64).reshape(-1, len(FACTS))


def _index(fact: str, value: str) -> int:
    classes = FACTS[fact]
    return classes.index(value.upper()) if value.upper() in classes else UNKNOWN


STATED = (
    re.compile(r"\b(?:fe)?male\b|\b(?:wo)?man\b|\bboy\b|\bgirl\b"),
    re.compile(r"\b(?:ap|pa)\b"),
    re.compile(r"\d|\bchild\b|toddler|p(?:a)?ediatric|young adult|middle-aged|elderly"),
)
"""Words that state sex, view and age; findings are all but always stated."""


def stated(captions: Sequence[str], labels: Labels) -> Labels:
    """True labels (B, len(FACTS)), `UNKNOWN` where the caption does not state the fact."""
    out = labels.copy()
    for row, text in zip(out, captions, strict=True):
        if not text:
            row[:] = UNKNOWN
            continue
        lower = text.lower()
        for column, pattern in enumerate(STATED):
            if not pattern.search(lower):
                row[column] = UNKNOWN
    return out


class LatentJudge(nn.Module):
    """Scaled latents (B, C, h, w) -> one row of logits a fact."""

    def __init__(self, channels: int, widths: tuple[int, int, int] = (64, 128, 192)) -> None:
        super().__init__()
        layers: list[nn.Module] = []
        before = channels
        for index, width in enumerate(widths):
            for stride in (1 if index == 0 else 2, 1):
                layers += [
                    nn.Conv2d(before, width, 3, stride, 1, bias=False),
                    nn.GroupNorm(16, width),
                    nn.SiLU(),
                ]
                before = width
        self.body = nn.Sequential(*layers)
        self.drop = nn.Dropout(0.3)
        self.heads = nn.ModuleList(nn.Linear(before, len(c)) for c in FACTS.values())

    def forward(self, latents: Tensor) -> list[Tensor]:
        """See the class."""
        pooled = self.drop(self.body(latents).mean((2, 3)))
        return [head(pooled) for head in self.heads]


def _over_facts(losses: Sequence[Tensor], labels: Tensor, of: Tensor | None = None) -> Tensor:
    """Sum over facts of the mean of (B,) losses where the fact is known; 0 where none is.

    With `of`, labels of the batch these are a part of: the part's share of the batch's.
    """
    total = torch.zeros((), device=labels.device)
    counts = ((labels if of is None else of) != UNKNOWN).float().sum(0).clamp_min(1.0)
    for column, loss in enumerate(losses):
        known = (labels[:, column] != UNKNOWN).float()
        total = total + (loss * known).sum() / counts[column]
    return total


def _entropies(logits: Sequence[Tensor], labels: Tensor) -> list[Tensor]:
    """(B,) cross-entropy of each fact; of an unknown one it means nothing."""
    return [
        F.cross_entropy(scores.float(), labels[:, column].clamp_min(0), reduction="none")
        for column, scores in enumerate(logits)
    ]


def fact_loss(logits: Sequence[Tensor], labels: Tensor) -> Tensor:
    """Mean cross-entropy of (B, classes) a fact over known labels (B, len(FACTS)); 0 of none."""
    return _over_facts(_entropies(logits, labels), labels)


def fact_excess(
    guess: Sequence[Tensor],
    truth: Sequence[Tensor],
    labels: Tensor,
    signal: Tensor | None = None,
    *,
    of: Tensor | None = None,
) -> Tensor:
    """How much less sure the judge is of the facts on estimates than on the real latents.

    The excess of the cross-entropy, cut at 0: an estimate that shows a fact as plainly as the film
    does is pushed no further. Without the cut the pictures become caricatures of their words.

    Args:
        guess: One (B, classes) a fact, of estimates of the clean latents.
        truth: Likewise, of the clean latents.
        labels: (B, len(FACTS)) int64.
        signal: (B,) weights in [0, 1], the signal of the noisy latents: an estimate made from noise
            alone is the mean of all films of its words, and cannot look like one of them.
        of: Labels of the batch that these are a part of; None where they are all of it.
    """
    pairs = zip(_entropies(guess, labels), _entropies(truth, labels), strict=True)
    excess = [(one - other).clamp_min(0) for one, other in pairs]
    return _over_facts(excess if signal is None else [e * signal for e in excess], labels, of)


def blurred(latents: Tensor, generator: torch.Generator) -> Tensor:
    """Latents as an unfinished denoiser leaves them: smoothed, faded and noisy by random shares."""
    n = len(latents)

    def draw(low: float, high: float) -> Tensor:
        return torch.rand(n, 1, 1, 1, generator=generator) * (high - low) + low

    soft = F.avg_pool2d(latents, 3, 1, 1, count_include_pad=False)
    x = latents.lerp(soft, draw(0, 1)) * draw(0.6, 1.05)
    return x + torch.randn(x.shape, generator=generator) * draw(0, 0.25) * latents.std()


def train_latent_judge(
    latents: Tensor,
    labels: Labels,
    weights: Float64Array,
    groups: Sequence[str],
    *,
    steps: int = 1200,
    seed: int = 0,
    quiet: bool = False,
) -> tuple[LatentJudge, dict[str, float]]:
    """Train on nine tenths of the patients.

    Args:
        latents: (N, C, h, w).
        labels: (N, len(FACTS)).
        weights: (N,) how often each is drawn.
        groups: (N,) patients; a tenth of them is kept for the test.
        steps: AdamW steps of `BATCH` latents; the learning rate falls from `RATE` to 0 as a cosine.
        seed: Of weights and draws.
        quiet: No progress bar.

    Returns:
        The judge, frozen, and its accuracy on the kept patients by fact.
    """
    torch.manual_seed(seed)
    rng = np.random.default_rng((seed, 11))
    names = sorted(set(groups))
    kept = set(rng.permutation(names)[: len(names) // 10].tolist())
    test = np.array([g in kept for g in groups])
    chance = np.where(test, 0.0, weights)
    chance /= chance.sum()
    judge = LatentJudge(latents.shape[1])
    optimizer = torch.optim.AdamW(judge.parameters(), lr=RATE, weight_decay=0.05)
    truth = torch.from_numpy(labels)
    for step in tqdm(range(steps), desc="latent judge", disable=quiet, mininterval=2):
        chosen = torch.from_numpy(rng.choice(len(latents), BATCH, p=chance))
        generator = torch.Generator().manual_seed(seed * 1_000_003 + step)
        x = blurred(latents[chosen].float(), generator)
        with rounded("cpu", AUTO):
            loss = fact_loss(judge(x), truth[chosen])
        for group in optimizer.param_groups:
            group["lr"] = RATE * 0.5 * (1 + np.cos(np.pi * step / steps))
        optimizer.zero_grad()
        loss.backward()
        optimizer.step()
    judge.eval().requires_grad_(False)
    return judge, _accuracy(judge, latents[torch.from_numpy(np.flatnonzero(test))], labels[test])


def _accuracy(judge: LatentJudge, latents: Tensor, labels: Labels) -> dict[str, float]:
    with torch.inference_mode():
        parts = [[s.argmax(1) for s in judge(x.float())] for x in latents.split(256)]
    found = {}
    for column, (fact, classes) in enumerate(FACTS.items()):
        judged = torch.cat([p[column] for p in parts]).numpy()
        recalls = [
            float((judged[rows] == k).mean())
            for k in range(len(classes))
            if (rows := labels[:, column] == k).any()
        ]
        found[fact] = float(np.mean(recalls)) if recalls else float("nan")
    return found
