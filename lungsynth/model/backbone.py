"""Reading a real film the way a generated picture is read: encode, noise, one pass, match tokens."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import numpy as np
import torch
from torch import Tensor

from lungsynth.arrays import UInt8Array
from lungsynth.errors import ShapeError
from lungsynth.model.attention import AttentionCapture, is_cross_attention


def encode_images(pipe: Any, images: UInt8Array) -> Tensor:
    """Grey pictures -> scaled latents x_0, the mode of the posterior.

    Args:
        pipe: A Stable Diffusion pipeline.
        images: (B, H, W) uint8, sides divisible by the autoencoder's stride.

    Returns:
        (B, C, h, w) float32.

    Raises:
        ShapeError: a side is not divisible.
    """
    stride = int(pipe.vae_scale_factor)
    if images.ndim != 3 or images.shape[1] % stride or images.shape[2] % stride:
        raise ShapeError(
            f"`images` is {images.shape}; expected (B, H, W) with sides divisible by {stride}."
        )
    x = torch.from_numpy(np.ascontiguousarray(images)).float().div(127.5).sub(1)[:, None]
    x = x.expand(-1, int(pipe.vae.config.in_channels), -1, -1).to(pipe.vae.device)
    with torch.inference_mode():
        mode = pipe.vae.encode(x).latent_dist.mode()
    return mode.float() * float(pipe.vae.config.scaling_factor)


def embed_prompts(pipe: Any, prompts: Sequence[str]) -> Tensor:
    """Prompts -> (B, tokens, width) float32 text embeddings; "" is allowed."""
    tokens = pipe.tokenizer(
        list(prompts),
        padding="max_length",
        truncation=True,
        return_tensors="pt",
        max_length=pipe.tokenizer.model_max_length,
    )
    with torch.inference_mode():
        return torch.as_tensor(
            pipe.text_encoder(tokens.input_ids.to(pipe.text_encoder.device))[0].float()
        )


def noised_queries(
    pipe: Any,
    images: UInt8Array,
    prompts: Sequence[str],
    *,
    t: int,
    seed: int,
    batch: int = 8,
) -> dict[str, Tensor]:
    """Queries of every cross-attention layer for films noised to timestep `t`.

    Args:
        pipe: A Stable Diffusion pipeline.
        images: (B, H, W) uint8.
        prompts: One a film.
        t: Timestep.
        seed: Of the noise.
        batch: Films a pass.

    Returns:
        Layer -> (B, heads, h, w, d) float32, on the CPU.
    """
    generator = reading_noise(seed, t)
    parts: dict[str, list[Tensor]] = {}
    for start in range(0, len(images), batch):
        latents = encode_images(pipe, images[start : start + batch])
        noise = torch.randn(latents.shape, generator=generator).to(latents)
        queries = read_queries(
            pipe.unet,
            pipe.scheduler,
            latents,
            embed_prompts(pipe, prompts[start : start + batch]),
            t=t,
            noise=noise,
        )
        for layer, value in queries.items():
            parts.setdefault(layer, []).append(value.cpu())
    return {layer: torch.cat(values) for layer, values in parts.items()}


def key_weights(unet: Any) -> dict[str, Tensor]:
    """Layer -> W_k (inner width, text width) of every cross-attention layer."""
    return {
        name: unet.get_submodule(name.removesuffix(".processor")).to_k.weight.detach().float()
        for name in unet.attn_processors
        if is_cross_attention(name)
    }


def reading_noise(seed: int, t: int) -> torch.Generator:
    """The generator of the noise a picture of `seed` is read under at timestep `t`."""
    return torch.Generator().manual_seed((int(seed) * 1000003 + t) & 0x7FFF_FFFF_FFFF_FFFF)


@torch.no_grad()
def read_queries(
    unet: Any, scheduler: Any, latents: Tensor, embeddings: Tensor, *, t: int, noise: Tensor
) -> dict[str, Tensor]:
    """Queries of every cross-attention layer for latents noised to timestep `t`.

    Args:
        unet: The U-Net.
        scheduler: Its scheduler (for the noise schedule).
        latents: (B, C, h, w) scaled, clean latents x_0.
        embeddings: (B, tokens, width) text embeddings.
        t: Timestep.
        noise: (B, C, h, w) standard normal.

    Returns:
        Layer -> (B, heads, h_l, w_l, d) float32.
    """
    alpha = scheduler.alphas_cumprod[t].to(latents)
    noised = alpha.sqrt() * latents + (1 - alpha).sqrt() * noise
    capture = AttentionCapture(
        unet,
        height=latents.shape[-2],
        width=latents.shape[-1],
        guided=False,
        probabilities=False,
        queries=True,
    )
    with capture as captured:
        unet(noised, t, encoder_hidden_states=embeddings)
    return captured.queries
