"""Reading cross-attention while a U-Net runs, through diffusers' public processor API.

Two things can be read at every cross-attention layer:

- the probabilities `softmax(Q Kᵀ / √d)` of the prompt's tokens, summed per resolution as they come,
  so memory does not grow with the number of steps (DAAM, Tang et al., ACL 2023);
- the queries `Q` themselves, which a learnt class token (`lungsynth.masks.tokens`) is matched against
  (after OVAM, Marcos-Manchón et al., CVPR 2024).

The processors found before are put back on exit, whatever happened.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from types import TracebackType
from typing import Any

import torch
from torch import Tensor

from lungsynth.errors import CaptureError


def is_cross_attention(name: str) -> bool:
    """True for the processor key of a cross-attention layer of `UNet2DConditionModel`."""
    return name.endswith("attn2.processor")


def grid_of(n_positions: int, height: int, width: int) -> tuple[int, int]:
    """(h, w) of a layer with `n_positions` queries in a U-Net run on (height, width) latents.

    Each down block halves a side, rounding up.

    Raises:
        CaptureError: no level of the U-Net has so many positions.
    """
    h, w = height, width
    while True:
        if h * w == n_positions:
            return h, w
        if h == 1 and w == 1:
            raise CaptureError(
                f"A layer has {n_positions} positions, which is no level of a U-Net on "
                f"{height}x{width} latents."
            )
        h, w = math.ceil(h / 2), math.ceil(w / 2)


@dataclass
class Captured:
    """What was read; batch entry b is the b-th conditional example."""

    sums: dict[tuple[int, int], Tensor] = field(default_factory=dict)
    """(h, w) -> (B, h, w, tokens) float32: probabilities summed over calls, layers, heads."""
    counts: dict[tuple[int, int], int] = field(default_factory=dict)
    """(h, w) -> how many maps each sum holds."""
    steps: list[dict[tuple[int, int], Tensor]] = field(default_factory=list)
    """With `keep_steps`: per U-Net call, (h, w) -> (B, h, w, tokens) float16, mean of its layers."""
    queries: dict[str, Tensor] = field(default_factory=dict)
    """With `queries`: layer -> (B, heads, h, w, d) float32 of the last call."""

    def mean(self, resolution: tuple[int, int]) -> Tensor:
        """(B, h, w, tokens) float32: mean probability at a resolution; sums to 1 over tokens."""
        return self.sums[resolution] / self.counts[resolution]

    @property
    def resolutions(self) -> list[tuple[int, int]]:
        """Resolutions read, finest first."""
        return sorted(self.sums, reverse=True)


class _CaptureProcessor:
    """Attention as diffusers' `AttnProcessor` computes it, with its probabilities shown."""

    def __init__(self, owner: AttentionCapture, name: str) -> None:
        self.owner, self.name = owner, name

    def __call__(
        self,
        attn: Any,
        hidden_states: Tensor,
        encoder_hidden_states: Tensor | tuple[Tensor, Any] | None = None,
        attention_mask: Tensor | None = None,
        temb: Tensor | None = None,
        *args: Any,
        **kwargs: Any,
    ) -> Tensor:
        if isinstance(encoder_hidden_states, tuple):  # an IP-Adapter's: the text, and its pictures
            encoder_hidden_states = encoder_hidden_states[0]
        residual = hidden_states
        if attn.spatial_norm is not None:
            hidden_states = attn.spatial_norm(hidden_states, temb)
        if attn.group_norm is not None:
            hidden_states = attn.group_norm(hidden_states.transpose(1, 2)).transpose(1, 2)
        batch, n_positions, _ = hidden_states.shape
        context = hidden_states if encoder_hidden_states is None else encoder_hidden_states
        if attention_mask is not None:
            attention_mask = attn.prepare_attention_mask(attention_mask, context.shape[1], batch)
            attention_mask = attention_mask.view(batch, attn.heads, -1, attention_mask.shape[-1])
        if encoder_hidden_states is not None and attn.norm_cross:
            context = attn.norm_encoder_hidden_states(context)
        q, k, v = attn.to_q(hidden_states), attn.to_k(context), attn.to_v(context)
        q, k, v = (x.unflatten(-1, (attn.heads, -1)).transpose(1, 2) for x in (q, k, v))
        if getattr(attn, "norm_q", None) is not None:
            q = attn.norm_q(q)
        if getattr(attn, "norm_k", None) is not None:
            k = attn.norm_k(k)
        if getattr(attn, "upcast_attention", False):  # Stable Diffusion 2.1 in half precision
            q, k = q.float(), k.float()
        scores = (q @ k.transpose(-1, -2)) * attn.scale
        if attention_mask is not None:
            scores = scores + attention_mask
        probabilities = scores.softmax(-1, dtype=torch.float32)
        self.owner.take(self.name, q, probabilities, n_positions)
        out = (probabilities.to(v.dtype) @ v).transpose(1, 2).flatten(2)
        out = attn.to_out[1](attn.to_out[0](out))
        if attn.residual_connection:
            out = out + residual
        return out / attn.rescale_output_factor


class AttentionCapture:
    """Context manager: inside it, a network's cross-attention is recorded.

    `lungsynth.maps.capture_of` makes one for a pipeline.

    Args:
        network: See `lungsynth.model.backbone.Network`; such as a `UNet2DConditionModel`.
        height: Of the latents the U-Net is run on.
        width: Likewise.
        guided: True when each call holds an unconditional half first (classifier-free guidance);
            only the conditional half is then read. A function is asked at each call.
        probabilities: Sum the probabilities of the prompt's tokens.
        keep_steps: Also keep every call's maps (float16).
        queries: Keep the queries of the last call.

    Raises:
        CaptureError: on entry, when the U-Net has no cross-attention; on exit, when nothing ran.
    """

    def __init__(
        self,
        network: Any,
        *,
        height: int | None = None,
        width: int | None = None,
        guided: bool | Callable[[], bool],
        probabilities: bool = True,
        keep_steps: bool = False,
        queries: bool = False,
    ) -> None:
        self.network, self.height, self.width, self.guided = network, height, width, guided
        self.want_probabilities, self.want_queries = probabilities, queries
        self.keep_steps = keep_steps
        self.captured = Captured()
        self._before: list[tuple[Any, Any]] = []  # (cross-attention layer, its own processor)
        self._seen_in_call: set[str] = set()
        self._step: dict[tuple[int, int], list[Tensor]] = {}
        self._hook: Any = None

    def __enter__(self) -> Captured:
        names = list(getattr(self.network, "attn_processors", {}))
        cross = [name for name in names if is_cross_attention(name)]
        if not cross:
            raise CaptureError(
                f"No cross-attention layer among the {len(names)} attention layers of "
                f"{type(self.network).__name__}; expected a UNet2DConditionModel (Stable Diffusion "
                "1.x/2.x)."
            )
        self._before = []
        for name in cross:  # layer by layer: the network's `set_attn_processor` takes 5 ms
            layer = self.network.get_submodule(name.removesuffix(".processor"))
            self._before.append((layer, layer.processor))
            layer.set_processor(_CaptureProcessor(self, name))
        if self.height is None or self.width is None:
            self._hook = self.network.register_forward_pre_hook(self._measure, with_kwargs=True)
        return self.captured

    def _measure(self, _: Any, args: tuple[Any, ...], kwargs: dict[str, Any]) -> None:
        sample = kwargs["sample"] if "sample" in kwargs else args[0]
        self.height, self.width = int(sample.shape[-2]), int(sample.shape[-1])

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        self._close_step()
        for layer, processor in self._before:
            layer.set_processor(processor)
        if self._hook is not None:
            self._hook.remove()
        if kind is None and not (self.captured.sums or self.captured.queries):
            raise CaptureError("The U-Net did not run inside the capture, so there is no map.")

    def take(self, name: str, q: Tensor, probabilities: Tensor, n_positions: int) -> None:
        """Called by each layer: q (B, heads, N, d), probabilities (B, heads, N, tokens)."""
        if name in self._seen_in_call:  # a layer seen again: the next call of the U-Net has begun
            self._close_step()
        self._seen_in_call.add(name)
        assert self.height is not None and self.width is not None
        grid = grid_of(n_positions, self.height, self.width)
        if self.guided() if callable(self.guided) else self.guided:
            q, probabilities = q[q.shape[0] // 2 :], probabilities[probabilities.shape[0] // 2 :]
        if self.want_queries:
            self.captured.queries[name] = q.detach().float().unflatten(2, grid)
        if self.want_probabilities:
            mean = probabilities.detach().mean(1).unflatten(1, grid)
            if grid in self.captured.sums:
                self.captured.sums[grid] += mean
            else:
                self.captured.sums[grid] = mean.clone()
            self.captured.counts[grid] = self.captured.counts.get(grid, 0) + 1
            if self.keep_steps:
                self._step.setdefault(grid, []).append(mean)

    def _close_step(self) -> None:
        if self._step:
            self.captured.steps.append(
                {grid: torch.stack(maps).mean(0).half() for grid, maps in self._step.items()}
            )
        self._step = {}
        self._seen_in_call = set()


def word_map(
    captured: Captured,
    batch_index: int,
    tokens: tuple[int, ...],
    *,
    height: int,
    width: int,
) -> Tensor:
    """Heat map of a word at image size; see `word_maps`."""
    return word_maps(captured, batch_index, [tokens], height=height, width=width)[0]


def word_maps(
    captured: Captured,
    batch_index: int,
    words: Sequence[tuple[int, ...]],
    *,
    height: int,
    width: int,
) -> Tensor:
    """Heat maps of words at image size.

    Per resolution the tokens' mean map is upsampled bicubically and divided by its own maximum; the
    resolutions, those at least a quarter as fine as the finest, are then averaged (DiffuMask, Wu et
    al. 2023, as published).

    Args:
        captured: What `AttentionCapture` read.
        batch_index: Which image.
        words: Token positions of each word (`lungsynth.prompts.word_tokens`).
        height: Of the result, in pixels.
        width: Likewise.

    Returns:
        (words, height, width) float32 in [0, 1]; each's maximum is 1 unless the map is flat.
    """
    total = torch.zeros(len(words), height, width)
    if not words:
        return total
    finest = captured.resolutions[0]
    chosen = [g for g in captured.resolutions if g[0] * 4 >= finest[0]]
    for grid in chosen:
        one = (captured.sums[grid][batch_index] / captured.counts[grid]).cpu()
        heat = torch.stack([one[..., list(tokens)].mean(-1) for tokens in words])
        heat = torch.nn.functional.interpolate(
            heat[None], (height, width), mode="bicubic", align_corners=False
        )[0].clamp_min(0)
        total += heat / heat.amax((1, 2), keepdim=True).clamp_min(1e-12)
    total /= len(chosen)
    return total / total.amax((1, 2), keepdim=True).clamp_min(1e-12)
