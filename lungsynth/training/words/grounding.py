"""A loss that makes words look at their place (after TokenCompose, Wang et al., CVPR 2024).

For a phrase of the caption whose region is known ("left lung", "heart", a finding with a box), two
things are asked of its attention, the mean over heads and over the layers of a resolution:

- the share of it that lies inside the region is near 1;
- divided by its mean inside, it is near 1 inside and near 0 outside.

It is computed on the probabilities the plain processor computes anyway.
"""

from __future__ import annotations

import re
import threading
from collections.abc import Sequence
from dataclasses import dataclass, field
from typing import Any

import torch
from torch import Tensor
from torch.nn import functional as F

from lungsynth.model.attention import is_cross_attention
from lungsynth.training.words.regions import PLANES

PHRASES: tuple[tuple[str, tuple[str, ...]], ...] = (
    (r"\bleft lung\b", ("left lung",)),
    (r"\bright lung\b", ("right lung",)),
    (r"\b(?:both )?lungs\b", ("left lung", "right lung")),
    (r"\bheart\b", ("heart",)),
    (
        r"\b(?:pneumonia|opacity|opacities|consolidation|infiltrates?|infiltration)\b",
        ("finding",),
    ),
)
"""Pattern in a caption -> planes of the region map whose union is its place."""

NEGATED = re.compile(r"\b(?:no|without|clear of)\s+(?:\w+\s+)?$")
"""What stands before a phrase that the film does not show."""

COARSEST = 64  # layers with fewer positions are left out
MIN_SHARE = 0.004  # regions smaller than this share of the grid are left out


@dataclass(frozen=True, slots=True)
class Grounded:
    """One phrase of one caption with its place."""

    example: int  # index in the batch
    tokens: tuple[int, ...]
    region: Tensor  # (GRID, GRID) in [0, 1]


def find_phrases(
    captions: Sequence[str], offsets: Sequence[Sequence[tuple[int, int]]], regions: Tensor
) -> list[Grounded]:
    """Phrases of captions whose place is known.

    Args:
        captions: B captions.
        offsets: Of each caption's tokens, as (start, end) in characters; (0, 0) for added tokens.
        regions: (B, len(PLANES), GRID, GRID) in [0, 1].
    """
    found = []
    for index, (text, spans) in enumerate(zip(captions, offsets, strict=True)):
        lower = text.lower()
        for pattern, planes in PHRASES:
            region = regions[index, [PLANES.index(p) for p in planes]].sum(0).clamp_max(1)
            if float(region.mean()) < MIN_SHARE:
                continue
            for match in re.finditer(pattern, lower):
                if NEGATED.search(lower[: match.start()]):
                    continue
                tokens = tuple(
                    k
                    for k, (start, end) in enumerate(spans)
                    if end > start and start < match.end() and end > match.start()
                )
                if tokens:
                    found.append(Grounded(index, tokens, region))
    return found


@dataclass
class AttentionTap(threading.local):
    """Where the processors leave the attention of a training step, by number of positions.

    Each thread has its own, and a copy is empty: what is held belongs to a graph.
    """

    # N -> (B, N, tokens), mean of heads
    maps: dict[int, list[Tensor]] = field(default_factory=dict)
    wanted: bool = True

    def __reduce__(self) -> tuple[type[AttentionTap], tuple[()]]:
        return AttentionTap, ()

    def take(self, probabilities: Tensor) -> None:
        """Keep (B, heads, N, tokens)."""
        if self.wanted:
            mean = probabilities.mean(1)
            self.maps.setdefault(mean.shape[1], []).append(mean)

    def clear(self) -> None:
        """Forget the last step."""
        self.maps = {}


class TappedProcessor:
    """Plain attention, as diffusers' `AttnProcessor` on a U-Net, that shows its probabilities."""

    def __init__(self, tap: AttentionTap | None) -> None:
        self.tap = tap

    def __call__(
        self,
        attn: Any,
        hidden_states: Tensor,
        encoder_hidden_states: Tensor | None = None,
        *args: Any,
        **kwargs: Any,
    ) -> Tensor:
        """See the class; hidden states are (B, N, width), as `BasicTransformerBlock` gives them."""
        context = hidden_states if encoder_hidden_states is None else encoder_hidden_states
        q, k, v = attn.to_q(hidden_states), attn.to_k(context), attn.to_v(context)
        q, k, v = (x.unflatten(-1, (attn.heads, -1)).transpose(1, 2) for x in (q, k, v))
        probabilities = ((q * attn.scale) @ k.transpose(-1, -2)).softmax(-1)
        if self.tap is not None:
            self.tap.take(probabilities)
        out = (probabilities @ v).transpose(1, 2).flatten(2)
        return attn.to_out[1](attn.to_out[0](out))


def tap_attention(unet: Any) -> AttentionTap:
    """Put plain processors into a U-Net; those of cross-attention fill the tap that is returned."""
    tap = AttentionTap()
    unet.set_attn_processor(
        {
            name: TappedProcessor(tap if is_cross_attention(name) else None)
            for name in unet.attn_processors
        }
    )
    return tap


def grounding_loss(tap: AttentionTap, phrases: Sequence[Grounded]) -> Tensor:
    """Mean over a batch's phrases and resolutions of both terms above; one pass filled the tap."""
    total = torch.zeros(())
    chosen = torch.tensor([p.example for p in phrases])
    regions = torch.stack([p.region for p in phrases])[:, None]
    used = 0
    for positions, maps in tap.maps.items():
        if positions < COARSEST:
            continue
        mean = torch.stack(maps).float().mean(0)  # (B, N, tokens)
        pick = torch.zeros(len(phrases), mean.shape[2], device=mean.device)
        for row, phrase in enumerate(phrases):
            pick[row, list(phrase.tokens)] = 1 / len(phrase.tokens)
        heat = torch.einsum("pnt,pt->pn", mean[chosen], pick)
        side = round(positions**0.5)
        place = F.adaptive_avg_pool2d(regions, side).flatten(1).to(heat)
        inside = (heat * place).sum(1)
        share = inside / heat.sum(1).clamp_min(1e-8)
        level = inside / place.sum(1).clamp_min(1e-6)
        flat = (heat / level[:, None].clamp_min(1e-6)).clamp_max(4)
        wrong = (flat - place).square()
        within = (wrong * place).sum(1) / place.sum(1).clamp_min(1e-6)
        without = (wrong * (1 - place)).sum(1) / (1 - place).sum(1).clamp_min(1e-6)
        total = total + ((1 - share).square() + 0.5 * (within + without)).mean()
        used += 1
    return total / max(used, 1)
