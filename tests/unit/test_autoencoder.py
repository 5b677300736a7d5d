"""The autoencoder: PCA at first, and a component any diffusers pipeline loads."""

from __future__ import annotations

import os
from dataclasses import replace
from pathlib import Path

import pytest
import torch
from tiny import tiny_frames
from warm import start

from lungsynth.masks.affinity import to_input
from lungsynth.model.autoencoder import PatchAutoencoderKL, fit_patch_pca
from lungsynth.training.presets import VAE_PRESETS
from lungsynth.training.vae import build, linear_rival, psnr

TINY = VAE_PRESETS["tiny"]


def scrambled(model: PatchAutoencoderKL) -> PatchAutoencoderKL:
    """The same network with every weight random, so that its residual parts speak."""
    generator = torch.Generator().manual_seed(0)
    for parameter in model.parameters():
        spread = 1 / max(1, parameter[0].numel()) ** 0.5
        parameter.data = torch.randn(parameter.shape, generator=generator) * spread
    return model


def test_training_starts_at_pca() -> None:
    frames, test = tiny_frames(), tiny_frames(4).images
    model = build(replace(TINY, n_pca=len(frames.images)), frames).eval()
    with torch.no_grad():
        ours = psnr(to_input(test), model(to_input(test)))
    rival = linear_rival(frames.images, test, TINY.latent_channels, 16)
    assert torch.allclose(ours, rival, atol=1e-3)
    assert rival.min() > 15


def test_more_components_are_better() -> None:
    frames = tiny_frames()
    few, many = (linear_rival(frames.images, frames.images, k, 16).mean() for k in (2, 16))
    assert many > few + 1


def test_components_are_orthonormal_and_ordered() -> None:
    mean, components, std = fit_patch_pca(to_input(tiny_frames().images), 8)
    assert mean.shape == (256,) and components.shape == (8, 256)
    assert torch.allclose(components @ components.T, torch.eye(8), atol=1e-5)
    assert (std[:-1] >= std[1:]).all() and std[-1] >= 0


def test_a_crop_is_coded_like_the_whole_film() -> None:
    """Away from borders; the networks reach no further than 80 pixels."""
    model = scrambled(build(TINY, tiny_frames())).eval()
    x = torch.randn(1, 1, 320, 352, generator=torch.Generator().manual_seed(0))
    with torch.no_grad():
        whole, part = model.encoder(x), model.encoder(x[..., 32:288, 48:304])
        assert torch.allclose(whole[..., 7:13, 8:14], part[..., 5:11, 5:11], atol=1e-4)
        assert not torch.allclose(whole[..., 2:18, 3:19], part, atol=1e-2)
        z = torch.randn(1, TINY.latent_channels, 20, 22, generator=torch.Generator().manual_seed(1))
        whole, part = model.decoder(z), model.decoder(z[..., 2:18, 3:19])
        inner = slice(80, 176)
        shifted = whole[..., 80 + 32 : 176 + 32, 80 + 48 : 176 + 48]
        assert torch.allclose(shifted, part[..., inner, inner], atol=1e-4)


def test_shapes_and_posterior() -> None:
    model = build(TINY, tiny_frames()).eval()
    x = to_input(tiny_frames(2).images)[..., :48]
    with torch.no_grad():
        posterior = model.encode(x).latent_dist
        assert posterior.mean.shape == (2, TINY.latent_channels, 4, 3)
        assert torch.allclose(posterior.std, torch.tensor(TINY.posterior_std), atol=1e-6)
        assert torch.equal(model.encode(x, return_dict=False)[0].mean, posterior.mean)
        y = model.decode(posterior.mean).sample
        assert y.shape == x.shape
        assert torch.equal(model.decode(posterior.mean, return_dict=False)[0], y)


def test_round_trip_on_disk(tmp_path: Path) -> None:
    model = scrambled(build(TINY, tiny_frames())).eval()
    model.register_to_config(scaling_factor=1.25)
    model.save_pretrained(tmp_path)
    loaded = PatchAutoencoderKL.from_pretrained(tmp_path, use_safetensors=True)
    assert loaded.config.scaling_factor == 1.25
    x = to_input(tiny_frames(2).images)
    with torch.no_grad():
        assert torch.equal(model(x), loaded(x))


def test_the_number_of_widths_is_checked() -> None:
    with pytest.raises(ValueError, match="3 widths, expected 5"):
        PatchAutoencoderKL(block_out_channels=(1, 2, 3))


def test_a_plain_diffusers_pipeline_loads_and_draws(checkpoint: Path, tmp_path: Path) -> None:
    """In a process that imports lungsynth and nothing of it."""
    program = f"""
import lungsynth, torch
from diffusers import StableDiffusionPipeline
pipe = StableDiffusionPipeline.from_pretrained({str(checkpoint)!r}, dtype=torch.float32)
assert type(pipe.vae).__name__ == "PatchAutoencoderKL", type(pipe.vae)
picture = pipe("both lungs", num_inference_steps=2, output_type="np").images[0]
print(picture.shape, bool((picture >= 0).all()), float(picture.std()) > 0)
"""
    environment = os.environ | {"PYTHONPATH": str(Path(__file__).parents[2])}
    done = start(["-c", program], cwd=tmp_path, env=environment).wait()
    assert done.returncode == 0, done.stderr[-2000:]
    assert done.stdout.split() in (
        ["(64,", "64,", "1)", "True", "True"],
        ["(64,", "64)", "True", "True"],
    )
