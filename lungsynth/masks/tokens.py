"""Class tokens: vectors that stand where a word's embedding would, learnt from annotated films.

In a corpus of chest films every picture has lungs, so the *word* "lungs" need not learn where they
are; but the U-Net's queries know. A class token is one vector per cross-attention layer and one
weight per head, matched against the queries of a frozen model:

    logit = b + Σ_l upsample( mean_h (1 + w_lh) · q_lh · (W_k,l e_l)_h / √d )

It generalises OVAM's optimised token (Marcos-Manchón et al., CVPR 2024: one vector for all layers)
by a vector per layer, so that coarse and fine layers may look for different things.
"""

from __future__ import annotations

import json
import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import torch
from torch import Tensor
from torch.nn import functional as F

from lungsynth.errors import CheckpointError, ShapeError
from lungsynth.model.backbone import key_weights, network, read_queries, reading_noise, stride
from lungsynth.model.precision import rounded_network
from lungsynth.model.tensor_files import read_tensors, save_tensors


@dataclass
class ClassToken:
    """A learnt token of one class."""

    name: str  # the class, such as "lung"
    vectors: dict[str, Tensor]  # layer -> (text width,) float32
    heads: dict[str, Tensor]  # layer -> (heads,) float32, added to 1
    bias: Tensor  # () float32
    info: dict[str, str] = field(default_factory=dict)  # convention, shots, timesteps, licence …

    def save(self, path: Path) -> None:
        """Write a safetensors file."""
        tensors = {"bias": self.bias}
        tensors |= {f"vectors.{k}": v for k, v in self.vectors.items()}
        tensors |= {f"heads.{k}": v for k, v in self.heads.items()}
        save_tensors(tensors, path, {"token": json.dumps({"name": self.name, **self.info})})

    @staticmethod
    def load(path: Path) -> ClassToken:
        """Read a safetensors file written by `save`.

        Raises:
            CheckpointError: missing, or not a class token.
        """
        tensors, metadata = read_tensors(path)
        try:
            about = json.loads(metadata.get("token", ""))
        except json.JSONDecodeError:
            about = {}
        if "name" not in about or "bias" not in tensors:
            raise CheckpointError(
                f"{path}: not a class token (`lungsynth learn-token` writes them)."
            )
        return ClassToken(
            name=about.pop("name"),
            vectors={k[8:]: v.float() for k, v in tensors.items() if k.startswith("vectors.")},
            heads={k[6:]: v.float() for k, v in tensors.items() if k.startswith("heads.")},
            bias=tensors["bias"].float(),
            info=about,
        )

    def check(self, unet: Any) -> None:
        """Refuse a token of another model.

        Raises:
            CheckpointError: layers or widths differ from `unet`'s.
        """
        keys = key_weights(unet)
        theirs = {k: v.shape[0] for k, v in self.vectors.items()}
        ours = {k: v.shape[1] for k, v in keys.items()}
        if theirs != ours:
            raise CheckpointError(
                f"Class token {self.name!r} was learnt on another model: it has {len(theirs)} layers "
                f"of width {sorted(set(theirs.values()))}, this U-Net has {len(ours)} of "
                f"{sorted(set(ours.values()))}. Learn it again with `lungsynth learn-token`."
            )


def token_logits(
    queries: Mapping[str, Tensor],
    keys: Mapping[str, Tensor],
    token: ClassToken,
    *,
    height: int,
    width: int,
) -> Tensor:
    """Logit map (B, height, width) float32 of a token; see the module's equation.

    Args:
        queries: Layer -> (B, heads, h, w, d), as `AttentionCapture(queries=True)` reads them.
        keys: Layer -> W_k, from `key_weights`.
        token: The class token.
        height: Of the result.
        width: Likewise.
    """
    by_grid: dict[tuple[int, int], Tensor] = {}
    for layer, q in queries.items():
        n_heads, d = q.shape[1], q.shape[-1]
        key = (keys[layer] @ token.vectors[layer]).unflatten(0, (n_heads, d))
        gain = (1 + token.heads[layer]) / (n_heads * math.sqrt(d))
        score = torch.einsum("bhyxd,hd->byx", q, key * gain[:, None])
        grid = (q.shape[2], q.shape[3])
        by_grid[grid] = by_grid[grid] + score if grid in by_grid else score
    total: Tensor | None = None
    for score in by_grid.values():
        up = F.interpolate(score[:, None], (height, width), mode="bicubic", align_corners=False)
        total = up[:, 0] if total is None else total + up[:, 0]
    if total is None:
        raise ShapeError(
            "No queries were captured; run the U-Net inside AttentionCapture(queries=True)."
        )
    return total + token.bias


def parse_timesteps(token: ClassToken) -> tuple[int, ...]:
    """The timesteps a token was learnt at."""
    return tuple(int(t) for t in (token.info.get("timesteps") or "50,150,300").split(","))


def read_tokens(
    pipe: Any,
    scheduler: Any,
    keys: Mapping[str, Tensor],
    tokens: Mapping[int, ClassToken],
    latents: Tensor,
    embeddings: Tensor,
    seeds: Sequence[int],
    *,
    precision: str = "fp32",
) -> list[dict[int, Tensor]]:
    """Logits of class tokens at each of their timesteps, in ascending order.

    The latents are noised to the timestep, with noise of each picture's own seed, and passed once
    through the U-Net.

    Args:
        pipe: A Stable Diffusion pipeline.
        scheduler: Its own, which knows the noise of a timestep.
        keys: Layer -> W_k, from `key_weights`.
        tokens: Class id -> token.
        latents: (B, C, h, w) scaled x_0, on the pipeline's device.
        embeddings: (B, tokens, width) of the prompts read with, likewise.
        seeds: Of the noise, one a picture.
        precision: See `lungsynth.model.precision`.

    Returns:
        A timestep after the other: class id -> (B, H, W), on the CPU.
    """
    height, width = (n * stride(pipe) for n in latents.shape[-2:])
    times = sorted({t for token in tokens.values() for t in parse_timesteps(token)})
    seen = []
    with torch.inference_mode():
        with rounded_network(network(pipe), precision):
            for t in times:
                noise = torch.stack(
                    [torch.randn(latents.shape[1:], generator=reading_noise(s, t)) for s in seeds]
                ).to(latents.device)
                seen.append(
                    read_queries(network(pipe), scheduler, latents, embeddings, t=t, noise=noise)
                )
        return [
            {
                k: token_logits(queries, keys, token, height=height, width=width).cpu()
                for k, token in tokens.items()
            }
            for queries in seen
        ]


def learn_token(
    name: str,
    draws: Sequence[tuple[dict[str, Tensor], Tensor]],
    keys: Mapping[str, Tensor],
    *,
    n_iters: int = 300,
    lr: float = 2e-2,
    seed: int = 0,
    info: Mapping[str, str] | None = None,
) -> ClassToken:
    """Learn a class token on captured queries, by binary cross-entropy plus soft Dice.

    Args:
        name: The class.
        draws: Pairs (queries of a batch, target (B, H, W) with 1 = class, 0 = not, 255 = ignored).
            Different draws hold different noise and timesteps; one is used per iteration, in turn.
        keys: Layer -> W_k, from `key_weights`.
        n_iters: AdamW iterations.
        lr: Learning rate, with cosine decay.
        seed: Initial vectors.
        info: Free facts kept with the token.
    """
    generator = torch.Generator().manual_seed(seed)
    vectors = {
        k: (torch.randn(v.shape[1], generator=generator) * 0.02).requires_grad_()
        for k, v in keys.items()
    }
    heads = {k: torch.zeros(q.shape[1], requires_grad=True) for k, q in draws[0][0].items()}
    bias = torch.zeros((), requires_grad=True)
    token = ClassToken(name, vectors, heads, bias, dict(info or {}))
    parameters = [*vectors.values(), *heads.values(), bias]
    optimizer = torch.optim.AdamW(parameters, lr=lr, weight_decay=1e-3)  # few shots need it
    schedule = torch.optim.lr_scheduler.CosineAnnealingLR(optimizer, n_iters)
    for step in range(n_iters):
        queries, target = draws[step % len(draws)]
        height, width = target.shape[-2:]
        logits = token_logits(queries, keys, token, height=height, width=width)
        valid = (target != 255).float()
        truth = (target == 1).float()
        bce = (F.binary_cross_entropy_with_logits(logits, truth, reduction="none") * valid).mean()
        soft = logits.sigmoid() * valid
        dice = 1 - (2 * (soft * truth).sum((1, 2)) + 1) / (
            soft.sum((1, 2)) + (truth * valid).sum((1, 2)) + 1
        )
        loss = bce + dice.mean()
        optimizer.zero_grad()
        loss.backward()
        optimizer.step()
        schedule.step()
    for parameter in parameters:
        parameter.requires_grad_(False)
    return token
