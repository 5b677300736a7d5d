"""Rivals that read the same film from the same checkpoint in the ways others have published.

The film is noised with the same noise to the same timesteps as for the class tokens; what is read of
the U-Net differs: the word's probabilities (DAAM), or those spread by self-attention (Dataset
Diffusion).
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from typing import Any

import numpy as np
import torch
from torch import Tensor
from torch.nn import functional as F

from lungsynth.arrays import FloatArray
from lungsynth.errors import CaptureError, WordError
from lungsynth.evaluation.masks.reading import Batch, Rival, RivalContext, class_timesteps
from lungsynth.model.attention import AttentionCapture, Captured, grid_of, is_cross_attention
from lungsynth.model.backbone import add_noise, embed_prompts, network, reading_noise
from lungsynth.prompts import word_tokens

MAX_POSITIONS = 1024
"""Self-attention is read at the finest grid of at most so many positions (32×32, as published)."""

POWER = 4
"""Exponent of the self-attention (Dataset Diffusion)."""


class _SelfAttention:
    """Computes attention as before and adds its probabilities, mean over heads, to a sum."""

    def __init__(self, inner: Any, grid_sums: dict[int, Tensor], counts: dict[int, int]) -> None:
        self.inner, self.sums, self.counts = inner, grid_sums, counts

    def __call__(
        self,
        attn: Any,
        hidden_states: Tensor,
        encoder_hidden_states: Tensor | None = None,
        attention_mask: Tensor | None = None,
        temb: Tensor | None = None,
        *args: Any,
        **kwargs: Any,
    ) -> Tensor:
        n = hidden_states.shape[1] if hidden_states.ndim == 3 else 0
        if 0 < n <= MAX_POSITIONS:
            q, k = (
                part(hidden_states).unflatten(-1, (attn.heads, -1)).transpose(1, 2).float()
                for part in (attn.to_q, attn.to_k)
            )
            seen = (q @ k.transpose(-1, -2) * attn.scale).softmax(-1).mean(1)
            self.sums[n] = self.sums[n] + seen if n in self.sums else seen
            self.counts[n] = self.counts.get(n, 0) + 1
        return self.inner(
            attn, hidden_states, encoder_hidden_states, attention_mask, temb, *args, **kwargs
        )


@contextmanager
def self_attention(unet: Any) -> Iterator[Callable[[], Tensor]]:
    """Inside it, `unet`'s self-attention is read, through diffusers' public processors.

    Yields:
        A function that returns the mean (B, N, N) float32 over heads, layers and calls at the finest
        grid of at most `MAX_POSITIONS` positions; rows sum to 1.

    Raises:
        CaptureError: from that function, when nothing was read.
    """
    before = dict(unet.attn_processors)
    sums: dict[int, Tensor] = {}
    counts: dict[int, int] = {}
    unet.set_attn_processor(
        {
            name: p if is_cross_attention(name) else _SelfAttention(p, sums, counts)
            for name, p in before.items()
        }
    )

    def mean() -> Tensor:
        if not sums:
            raise CaptureError(f"No self-attention of at most {MAX_POSITIONS} positions was read.")
        finest = max(sums)
        return torch.as_tensor(sums[finest] / counts[finest])

    try:
        yield mean
    finally:
        unet.set_attn_processor(before)


def spread_by_self_attention(cross: Tensor, attention: Tensor, *, power: int = POWER) -> Tensor:
    """A_self^power · A_cross: (B, N) heat, (B, N, N) attention whose rows sum to 1 -> (B, N)."""
    heat = cross[..., None]
    for _ in range(power):
        heat = attention @ heat
    return heat[..., 0]


def word_heat(
    captured: Captured, tokens: Sequence[Sequence[int]], height: int, width: int
) -> Tensor:
    """DAAM: maps of each film's tokens of all layers and heads, enlarged bicubically and averaged.

    Returns:
        (B, height, width) at least 0.
    """
    total = torch.zeros(len(tokens), height, width)
    for grid in captured.resolutions:
        heat = torch.stack(
            [captured.sums[grid][b][..., list(one)].mean(-1).cpu() for b, one in enumerate(tokens)]
        )
        total += F.interpolate(heat[:, None], (height, width), mode="bicubic")[:, 0].clamp_min(0)
    return total / sum(captured.counts.values())


def word_prompt(text: str, word: str, tokenizer: Any) -> tuple[str, tuple[int, ...]]:
    """A film's text with the word in it, and the word's tokens; the word alone where it does not fit.

    Raises:
        WordError: no word, or the model cannot read it.
    """
    if not word.strip():
        raise WordError("The word rivals need a word for the class; name it with --word.")
    for prompt in (text, f"{text} {word}".strip(), word):
        try:
            return prompt, word_tokens(prompt, word, tokenizer)
        except WordError:
            if prompt == word:
                raise
    raise AssertionError("unreachable")


def unit(maps: Tensor) -> FloatArray:
    """(B, H, W) -> float32 in [0, 1]: each film's map over its span; a flat one is 0."""
    low, high = maps.amin((1, 2), keepdim=True), maps.amax((1, 2), keepdim=True)
    scaled = (maps - low) / (high - low).clamp_min(1e-12)
    return np.asarray(torch.where(high - low > 1e-9, scaled, 0.0).float().numpy())


def read_word(context: RivalContext, batch: Batch) -> tuple[FloatArray, FloatArray]:
    """(DAAM map, self-attention spread map) of a batch, each (B, P, P) in [0, 1]; read once a batch."""
    if "word" in batch.memo:
        daam, spread = batch.memo["word"]
        return daam, spread
    pipe: Any = context.synthesizer.pipe
    found = [word_prompt(text, context.word, pipe.tokenizer) for text in batch.texts]
    embeddings = embed_prompts(pipe, [prompt for prompt, _ in found]).to(network(pipe).device)
    tokens = [one for _, one in found]
    height, width = batch.latents.shape[-2:]
    capture = AttentionCapture(network(pipe), height=height, width=width, guided=False)
    with torch.inference_mode(), self_attention(network(pipe)) as mean, capture as captured:
        for t in class_timesteps(context.synthesizer):
            noise = torch.randn(batch.latents.shape[1:], generator=reading_noise(batch.seed, t))
            noised = add_noise(pipe.scheduler, batch.latents, noise.to(batch.latents), t)
            network(pipe)(noised.to(network(pipe).device), t, encoder_hidden_states=embeddings)
        attention = mean().cpu()
    side = context.pixels
    grid = grid_of(attention.shape[-1], height, width)
    coarse = word_heat(captured, tokens, *grid).flatten(1)
    heat = spread_by_self_attention(coarse, attention).unflatten(1, grid)
    enlarged = F.interpolate(heat[:, None], (side, side), mode="bicubic")[:, 0]
    batch.memo["word"] = unit(word_heat(captured, tokens, side, side)), unit(enlarged)
    return batch.memo["word"]


def _word_rival(context: RivalContext, which: int) -> Rival:
    pipe: Any = context.synthesizer.pipe
    word_prompt("", context.word, pipe.tokenizer)  # a word the model cannot read is known now
    context.facts["word"] = context.word
    return lambda batch: read_word(context, batch)[which]


def daam(context: RivalContext) -> Rival:
    """The word's own map."""
    return _word_rival(context, 0)


def self4(context: RivalContext) -> Rival:
    """The word's map spread by self-attention."""
    return _word_rival(context, 1)
