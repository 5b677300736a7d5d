"""The denoising network behind one door: its sides, its layers, and reading a film with it.

Nothing else asks a pipeline for its network or computes a side from a stride, so another network
goes in here. It must answer what `Network` says; its pipeline has an autoencoder and a scheduler.

A real film is read as a generated picture is: encode, noise, one pass, match tokens.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any, Protocol

import numpy as np
import torch
from torch import Tensor

from lungsynth.arrays import UInt8Array
from lungsynth.errors import ConfigError, ShapeError
from lungsynth.model.attention import AttentionCapture, is_cross_attention


class Network(Protocol):
    """What a denoising network must answer, as diffusers' `UNet2DConditionModel` does."""

    config: Any  # sample_size, in_channels, block_out_channels, time_cond_proj_dim
    device: torch.device
    attn_processors: dict[str, Any]  # layer -> processor, cross-attention ends in attn2.processor

    def get_submodule(self, target: str) -> Any:
        """An attention layer, as diffusers' `Attention`: its `to_k`, and a processor to replace."""

    def __call__(self, sample: Tensor, timestep: Any, *, encoder_hidden_states: Tensor) -> Any:
        """Noised latents (B, C, h, w) -> prediction."""


def network(pipe: Any) -> Any:
    """The denoising network of a pipeline; see `Network`."""
    return pipe.unet


def stride(pipe: Any) -> int:
    """Pixels a latent, along a side."""
    return int(pipe.vae_scale_factor)


def side_pixels(pipe: Any) -> int:
    """P, the side of the square the network was trained at, in pixels."""
    return int(network(pipe).config.sample_size) * stride(pipe)


def side_step(pipe: Any) -> int:
    """Sides of a picture are multiples of this many pixels: each level halves the latents."""
    return stride(pipe) * int(2 ** (len(network(pipe).config.block_out_channels) - 1))


def latent_shape(pipe: Any, height: int, width: int) -> tuple[int, int, int]:
    """(C, h, w) of the latents of a picture of (height, width) pixels."""
    channels = int(network(pipe).config.in_channels)
    return channels, height // stride(pipe), width // stride(pipe)


def is_guided(pipe: Any, guidance: float) -> bool:
    """True where each step runs with and without the prompt (classifier-free guidance).

    As diffusers decides it: a model that was distilled takes the scale as an input instead.
    """
    return guidance > 1.0 and network(pipe).config.time_cond_proj_dim is None


def add_noise(scheduler: Any, latents: Tensor, noise: Tensor, t: int | Tensor) -> Tensor:
    """x_t = √ᾱ_t x_0 + √(1 − ᾱ_t) ε, all (B, C, h, w); `t` one timestep or (B,) of them."""
    alpha = _alphas(scheduler, latents, t)
    return alpha.sqrt() * latents + (1 - alpha).sqrt() * noise


def _alphas(scheduler: Any, latents: Tensor, t: int | Tensor) -> Tensor:
    alphas: Tensor = scheduler.alphas_cumprod.to(latents)
    return alphas[t].reshape(-1, 1, 1, 1)


def predict(pipe: Any, noised: Tensor, t: Tensor, embeddings: Tensor) -> Tensor:
    """One pass of the network without guidance: (B, C, h, w), (B,), (B, tokens, width) -> (B, C, h, w)."""
    return torch.as_tensor(network(pipe)(noised, t, encoder_hidden_states=embeddings).sample)


def prediction_target(scheduler: Any, latents: Tensor, noise: Tensor, t: int | Tensor) -> Tensor:
    """What the network is trained to predict at timestep `t`: ε or v, (B, C, h, w).

    Raises:
        ConfigError: the scheduler asks for something else.
    """
    kind = scheduler.config.prediction_type
    if kind == "epsilon":
        return noise
    if kind == "v_prediction":
        alpha = _alphas(scheduler, latents, t)
        return alpha.sqrt() * noise - (1 - alpha).sqrt() * latents
    raise ConfigError(f"prediction_type is {kind!r}; expected epsilon or v_prediction.")


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
    step = stride(pipe)
    if images.ndim != 3 or images.shape[1] % step or images.shape[2] % step:
        raise ShapeError(
            f"`images` is {images.shape}; expected (B, H, W) with sides divisible by {step}."
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
            network(pipe),
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
    noised = add_noise(scheduler, latents, noise, t)
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
