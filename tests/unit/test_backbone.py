"""The one door to the denoising network, and a network of another make behind it."""

from __future__ import annotations

from types import SimpleNamespace

import numpy as np
import pytest
import torch
from diffusers.models.attention_processor import Attention
from torch import Tensor, nn

from lungsynth.errors import ShapeError
from lungsynth.masks.tokens import ClassToken, token_logits
from lungsynth.model.attention import AttentionCapture, word_map
from lungsynth.model.backbone import (
    add_noise,
    encode_images,
    is_guided,
    key_weights,
    latent_shape,
    network,
    noised_queries,
    read_queries,
    side_pixels,
    side_step,
    stride,
)

TEXT = 6


class Foreign(nn.Module):
    """Not a U-Net: one cross-attention layer at full resolution between two 1×1 convolutions."""

    def __init__(self) -> None:
        super().__init__()
        self.config = SimpleNamespace(
            sample_size=8, in_channels=3, block_out_channels=(8,), time_cond_proj_dim=None
        )
        self.into, self.out = nn.Conv2d(3, 8, 1), nn.Conv2d(8, 3, 1)
        self.attn2 = Attention(query_dim=8, cross_attention_dim=TEXT, heads=2, dim_head=4)

    @property
    def device(self) -> torch.device:
        return self.into.weight.device

    @property
    def attn_processors(self) -> dict[str, object]:
        return {"attn2.processor": self.attn2.processor}

    def forward(self, sample: Tensor, timestep: int, *, encoder_hidden_states: Tensor) -> object:
        h = self.into(sample)
        flat = h.flatten(2).transpose(1, 2)
        flat = flat + self.attn2(flat, encoder_hidden_states=encoder_hidden_states)
        return SimpleNamespace(sample=self.out(flat.transpose(1, 2).unflatten(2, h.shape[2:])))


@pytest.fixture
def foreign() -> SimpleNamespace:
    torch.manual_seed(0)
    scheduler = SimpleNamespace(alphas_cumprod=torch.linspace(0.99, 0.01, 1000))
    return SimpleNamespace(unet=Foreign(), vae_scale_factor=4, scheduler=scheduler)


def test_sides_of_a_foreign_network(foreign):
    assert network(foreign) is foreign.unet
    assert (stride(foreign), side_pixels(foreign), side_step(foreign)) == (4, 32, 4)
    assert latent_shape(foreign, 32, 48) == (3, 8, 12)
    assert is_guided(foreign, 1.5) and not is_guided(foreign, 1.0)
    foreign.unet.config.time_cond_proj_dim = 256  # a distilled model takes the scale as an input
    assert not is_guided(foreign, 1.5)


def test_a_class_token_reads_a_foreign_network(foreign):
    keys = key_weights(network(foreign))
    assert {layer: tuple(k.shape) for layer, k in keys.items()} == {"attn2.processor": (8, TEXT)}
    token = ClassToken(
        "lung",
        {"attn2.processor": torch.randn(TEXT)},
        {"attn2.processor": torch.zeros(2)},
        torch.tensor(0.5),
    )
    token.check(network(foreign))
    latents, text = torch.randn(2, 3, 8, 8), torch.randn(2, 5, TEXT)
    noise = torch.zeros_like(latents)
    queries = read_queries(network(foreign), foreign.scheduler, latents, text, t=0, noise=noise)
    assert queries["attn2.processor"].shape == (2, 2, 8, 8, 4)
    logits = token_logits(queries, keys, token, height=8, width=8)
    # by hand: mean over heads of q · (W_k e) / √d, plus the bias
    h = foreign.unet.into(latents * 0.99**0.5).permute(0, 2, 3, 1)
    q = foreign.unet.attn2.to_q(h).unflatten(-1, (2, 4))
    k = (keys["attn2.processor"] @ token.vectors["attn2.processor"]).unflatten(0, (2, 4))
    expected = (q * k).sum(-1).mean(-1) / 2 + 0.5
    torch.testing.assert_close(logits, expected, atol=1e-4, rtol=1e-3)


def test_words_of_a_prompt_are_read_from_a_foreign_network(foreign):
    capture = AttentionCapture(network(foreign), height=8, width=8, guided=False)
    before = foreign.unet.attn2.processor
    with torch.no_grad(), capture as captured:
        network(foreign)(torch.randn(1, 3, 8, 8), 0, encoder_hidden_states=torch.randn(1, 5, TEXT))
    assert foreign.unet.attn2.processor is before
    heat = word_map(captured, 0, (1, 2), height=32, width=32)
    assert heat.shape == (32, 32) and 0 <= float(heat.min()) and float(heat.max()) <= 1
    torch.testing.assert_close(
        captured.sums[(8, 8)].sum(-1), torch.ones(1, 8, 8), atol=1e-5, rtol=1e-5
    )


def test_noise_at_both_ends(foreign):
    x, noise = torch.randn(1, 3, 4, 4), torch.randn(1, 3, 4, 4)
    clean = SimpleNamespace(alphas_cumprod=torch.tensor([1.0, 0.0]))
    torch.testing.assert_close(add_noise(clean, x, noise, 0), x)
    torch.testing.assert_close(add_noise(clean, x, noise, 1), noise)


def test_a_film_that_does_not_fit_the_stride(foreign):
    with pytest.raises(ShapeError, match="divisible by 4"):
        encode_images(foreign, np.zeros((1, 30, 32), np.uint8))
    with pytest.raises(ShapeError, match=r"expected \(B, H, W\)"):
        noised_queries(foreign, np.zeros((8, 8), np.uint8), ["", ""], t=1, seed=0)
