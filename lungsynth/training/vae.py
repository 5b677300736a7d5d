"""Train the autoencoder from PCA upwards."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path

import numpy as np
import torch
from PIL import Image
from torch import Tensor
from torch.nn import functional as F

from lungsynth.arrays import UInt8Array
from lungsynth.errors import ConfigError
from lungsynth.masks.affinity import to_input
from lungsynth.model.autoencoder import PatchAutoencoderKL, fit_patch_pca
from lungsynth.model.tensor_files import write_folder
from lungsynth.training.common import LoopOptions, Run, torch_generator
from lungsynth.training.frames import Frames


@dataclass(frozen=True, kw_only=True)
class VaeOptions(LoopOptions):
    """Options of an autoencoder run."""

    latent_channels: int = 32  # channels of the 16-fold reduced latents
    widths: tuple[int, int, int] = (32, 128, 256)  # width at strides 2, 8, 16
    layers_per_block: int = 4  # residual blocks per decoder resolution
    encoder_layers_per_block: int = 2  # the same in the encoder
    crop: int = 128  # side of the training crops in pixels
    posterior_std: float = 0.02  # noise the decoder must bear, raw latent units
    kl_weight: float = 1e-6  # weight of mean(latents²)/2, the part of the KL term that can move
    l1_weight: float = 0.02  # weight of |error| beside the squared error
    n_pca: int = 3000  # pictures the linear codec is fitted on


def psnr(x: Tensor, y: Tensor) -> Tensor:
    """Peak signal-to-noise ratio in dB of each picture, (B, ...) in [-1, 1], clipped."""
    mse = (x.clamp(-1, 1) - y.clamp(-1, 1)).pow(2).flatten(1).mean(1)
    return 10 * torch.log10(4.0 / mse.clamp_min(1e-12))


def build(options: VaeOptions, frames: Frames) -> PatchAutoencoderKL:
    """A new autoencoder that equals PCA on `frames`."""
    torch.manual_seed(options.seed)
    pixel, fine, coarse = options.widths
    model = PatchAutoencoderKL(
        latent_channels=options.latent_channels,
        block_out_channels=(1, pixel, 16, fine, coarse),
        layers_per_block=options.layers_per_block,
        encoder_layers_per_block=options.encoder_layers_per_block,
        posterior_std=options.posterior_std,
        sample_size=int(frames.images.shape[-1]),
    )
    rng = np.random.default_rng(options.seed)
    n = min(options.n_pca, len(frames.images))
    chosen = rng.choice(len(frames.images), n, replace=False, p=frames.weights)
    model.init_from_linear(*fit_patch_pca(to_input(frames.images[chosen]), options.latent_channels))
    return model


def draw_crops(frames: Frames, options: VaeOptions, step: int) -> UInt8Array:
    """The crops of step `step`: (batch, crop, crop) uint8."""
    rng = np.random.default_rng((options.seed, step))
    chosen = rng.choice(len(frames.images), options.batch_size, p=frames.weights)
    room = frames.images.shape[-1] - options.crop
    tops, lefts = rng.integers(0, room + 1, (2, options.batch_size))
    out = np.stack(
        [
            frames.images[i, t : t + options.crop, u : u + options.crop]
            for i, t, u in zip(chosen, tops, lefts, strict=True)
        ]
    )
    flip = rng.random(options.batch_size) < 0.5  # no words here, so mirroring is harmless
    out[flip] = out[flip, :, ::-1]
    return out


def train_vae(
    frames: Frames,
    held_out: UInt8Array,
    out: Path,
    options: VaeOptions,
    *,
    quiet: bool = False,
    device: str = "cpu",
) -> bool:
    """Train (or resume) an autoencoder; the EMA weights go to `out/vae`, in diffusers layout.

    Args:
        frames: Pictures to train on.
        held_out: (N, H, W) uint8 pictures for the PSNR line of the metrics.
        out: Run folder.
        options: See `VaeOptions`.
        quiet: No progress bar.
        device: Where to train.

    Returns:
        True when the run is complete, False when it stopped at `max_minutes`.
    """
    pixels = int(frames.images.shape[-1])
    if pixels % 16 or options.crop % 16 or options.crop > pixels:
        raise ConfigError(
            f"Pictures of {pixels} pixels and crops of {options.crop}; expected multiples of 16, "
            "crops no larger than pictures. Choose another --pixels or --preset."
        )
    model = build(options, frames).to(device).to(memory_format=torch.channels_last)
    run = Run(
        out,
        model,
        options,
        {"kind": "vae", "n_frames": len(frames.images)},
        # the linear codec is near its optimum already: one step moves all 256 pixels of a patch
        lr_ratio=lambda name: 0.05 if ".linear." in name else 1.0,
    )

    def loss_fn(step: int) -> tuple[Tensor, dict[str, float]]:
        x = to_input(draw_crops(frames, options, step)).to(device)
        x = x.contiguous(memory_format=torch.channels_last)
        mean = model.encoder(x)
        noise = torch.randn(mean.shape, generator=torch_generator(options.seed, step)).to(device)
        y = model.decoder(mean + options.posterior_std * noise.to(mean.dtype)).float()
        error = y - x
        mse = error.pow(2).mean()
        power = mean.float().pow(2).mean()
        loss = mse + options.l1_weight * error.abs().mean() + options.kl_weight * power / 2
        return loss * 10, {"mse": float(mse.detach()), "power": float(power.detach())}

    def on_sample(step: int) -> dict[str, float]:
        x = to_input(held_out).to(device)
        y = torch.cat([model(part) for part in x.split(16)])
        rows = [torch.cat([a, b], -1) for a, b in zip(x[:8, 0], y[:8, 0], strict=True)]
        n = min(2, len(rows))  # pairs a row; an odd one out is left out
        sheet = torch.cat(
            [torch.cat(rows[i : i + n], -1) for i in range(0, len(rows) - n + 1, n)], 0
        )
        grey = ((sheet.clamp(-1, 1) + 1) * 127.5).round().to(torch.uint8).cpu().numpy()
        Image.fromarray(grey).save(out / f"recon_{step:07d}.png")
        return {"psnr": float(psnr(x, y).mean())}

    done = run.loop(loss_fn, on_sample=on_sample, quiet=quiet)
    run.ema.copy_to(model)
    model = model.to(memory_format=torch.contiguous_format).float().eval()
    with torch.no_grad():
        chosen = frames.images[:: max(1, len(frames.images) // 512)][:512]
        square = torch.cat(
            [
                model.encoder(p.to(device)).pow(2).flatten(1).mean(1)
                for p in to_input(chosen).split(32)
            ]
        )
    model.register_to_config(scaling_factor=round(float(square.mean().rsqrt()), 5))
    write_folder(out / "vae", model.save_pretrained)
    return done


def linear_rival(train: UInt8Array, test: UInt8Array, n_components: int, patch: int) -> Tensor:
    """PSNR (N,) in dB of PCA fitted on `train` patches, on each `test` picture."""
    mean, components, _ = fit_patch_pca(to_input(train), n_components, patch)
    x = to_input(test)
    rows = F.pixel_unshuffle(x, patch) - mean[None, :, None, None]
    code = torch.einsum("kc,bchw->bkhw", components, rows)
    back = torch.einsum("kc,bkhw->bchw", components, code) + mean[None, :, None, None]
    return psnr(x, F.pixel_shuffle(back, patch))
