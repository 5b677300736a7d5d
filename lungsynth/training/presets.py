"""Named option sets. What each reached is in docs/RESULTS.md."""

from __future__ import annotations

from dataclasses import replace

from lungsynth.training.diffusion.parts import DiffusionOptions
from lungsynth.training.vae import VaeOptions

VAE_PRESETS: dict[str, VaeOptions] = {
    # two CPU cores, about half an hour
    "cpu": VaeOptions(steps=5000, batch_size=32, lr=4e-4, sample_every=1000),
    # one GPU, a few minutes
    "gpu": VaeOptions(
        steps=40_000,
        batch_size=128,
        lr=4e-4,
        widths=(64, 256, 512),
        layers_per_block=6,
        encoder_layers_per_block=4,
        sample_every=5000,
    ),
    # seconds: for tests
    "tiny": VaeOptions(
        steps=6,
        batch_size=4,
        widths=(8, 16, 16),
        layers_per_block=1,
        latent_channels=4,
        encoder_layers_per_block=1,
        crop=32,
        n_pca=16,
        warmup_steps=2,
    ),
}

TEXT_TOO = ("words", "words-long", "words-end")
"""Presets that train the text encoder of the checkpoint they start from; others leave it frozen."""

WORDS = DiffusionOptions(
    steps=900,
    batch_size=64,
    lr=3e-4,
    warmup_steps=40,
    optimizer="muon",
    ema_decay=0.995,
    per_adult=5,
    per_child=1,
    per_healthy=2,
    pooled_text=True,
    text_lr_ratio=0.5,
    weight_floor=0.3,
    balance="facts",
    grounding=0.05,
    facts=0.005,
    caption_dropout=0.12,
    train_text_encoder=True,
)

DIFFUSION_PRESETS: dict[str, DiffusionOptions] = {
    # two CPU cores, about an hour and a half
    "cpu": DiffusionOptions(
        steps=3600,
        batch_size=32,
        lr=5e-4,
        warmup_steps=300,
        sample_every=1000,
        block_out_channels=(160, 256, 256),
        layers_per_block=1,
        n_heads=(5, 8, 8),
        per_adult=6,
        per_child=1,
    ),
    # one GPU, tens of minutes; on latents of the "gpu" autoencoder
    "gpu": DiffusionOptions(
        steps=60_000,
        batch_size=256,
        lr=3e-4,
        warmup_steps=1000,
        ema_decay=0.9995,
        block_out_channels=(256, 512, 768),
        n_heads=(8,),
        per_child=6,
        per_adult=24,
        sample_every=5000,
    ),
    # words that act, from weights that draw chests already
    "words": WORDS,
    # the same for as many hours as there are: constant rate, and the judge's voice fades; what it
    # leaves is ended by a short run of "words" with --init-from
    "words-long": replace(
        WORDS,
        steps=13_000,
        warmup_steps=100,
        decay="constant",
        ema_decay=0.999,
        facts=0.006,
        facts_until=0.08,
    ),
    # the falling learning rate that ends a `words-long`, from its averaged weights
    "words-end": replace(WORDS, steps=360, lr=2e-4, warmup_steps=20, ema_decay=0.98, facts=0.0),
    # an existing Stable Diffusion 1.x/2.x checkpoint
    "finetune": DiffusionOptions(
        steps=5000,
        batch_size=16,
        lr=1e-5,
        warmup_steps=200,
        min_snr=5.0,
        per_child=1,
        per_adult=3,
        train_text_encoder=False,
        sample_every=1000,
    ),
    # seconds: for tests
    "tiny": DiffusionOptions(
        steps=4,
        batch_size=2,
        lr=1e-3,
        warmup_steps=1,
        block_out_channels=(32, 32),
        n_heads=(2,),
        layers_per_block=1,
        text_width=32,
        text_layers=1,
        max_length=32,
        per_child=1,
        per_adult=1,
        n_vocabulary=200,
        precision="fp32",
    ),
}
