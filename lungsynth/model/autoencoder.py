"""An autoencoder for grey radiographs that starts at the best linear codec and learns the rest.

    image (B, 1, H, W) in [-1, 1]  ->  latents (B, C, H/16, W/16)  ->  image

Principal components of 16x16 patches are the best *linear* code of an image at this rate. Both
halves of this network are that linear map plus a residual network whose last layer starts at zero,
so training begins at the quality of PCA instead of at noise, and every step goes beyond it. No layer
normalises over the image: a crop and a whole film are coded alike.

The class has the interface `diffusers.StableDiffusionPipeline` expects of a VAE.
"""

from __future__ import annotations

import math
from typing import Any

import torch
from diffusers.configuration_utils import ConfigMixin, register_to_config
from diffusers.models.autoencoders.vae import DecoderOutput, DiagonalGaussianDistribution
from diffusers.models.modeling_outputs import AutoencoderKLOutput
from diffusers.models.modeling_utils import ModelMixin
from diffusers.pipelines.pipeline_loading_utils import LOADABLE_CLASSES
from torch import Tensor, nn
from torch.nn import functional as F

# diffusers saves and loads a component only of a library it knows the base class of
LOADABLE_CLASSES.setdefault("lungsynth", {"ModelMixin": ["save_pretrained", "from_pretrained"]})


class ResidualConvBlock(nn.Module):
    """`x + conv(silu(conv(x)))` with the second convolution starting at zero; (B, C, H, W) kept."""

    def __init__(self, channels: int) -> None:
        super().__init__()
        self.conv1 = nn.Conv2d(channels, channels, 3, padding=1)
        self.conv2 = nn.Conv2d(channels, channels, 3, padding=1)
        _zeroed(self.conv2)

    def forward(self, x: Tensor) -> Tensor:
        return x + self.conv2(F.silu(self.conv1(x)))


def _blocks(channels: int, n: int) -> nn.Sequential:
    return nn.Sequential(*(ResidualConvBlock(channels) for _ in range(n)))


def _zeroed(conv: nn.Conv2d) -> nn.Conv2d:
    for parameter in conv.parameters():
        nn.init.zeros_(parameter)
    return conv


class PatchEncoder(nn.Module):
    """Image (B, c, H, W) -> mean of the latents (B, C, H/16, W/16)."""

    def __init__(
        self, in_channels: int, latent_channels: int, widths: tuple[int, int], n_blocks: int
    ) -> None:
        super().__init__()
        fine, coarse = widths
        self.linear = nn.Conv2d(in_channels * 256, latent_channels, 1)
        self.stem = nn.Conv2d(in_channels * 64, fine, 3, padding=1)
        self.fine = _blocks(fine, n_blocks)
        self.down = nn.Conv2d(fine * 4, coarse, 1)
        self.coarse = _blocks(coarse, n_blocks)
        self.head = _zeroed(nn.Conv2d(coarse, latent_channels, 3, padding=1))

    def forward(self, x: Tensor) -> Tensor:
        h = self.fine(self.stem(F.pixel_unshuffle(x, 8)))
        h = self.coarse(self.down(F.pixel_unshuffle(h, 2)))
        return self.linear(F.pixel_unshuffle(x, 16)) + self.head(F.silu(h))


class PatchDecoder(nn.Module):
    """Latents (B, C, h, w) -> image (B, c, 16h, 16w)."""

    def __init__(
        self, out_channels: int, latent_channels: int, widths: tuple[int, int, int], n_blocks: int
    ) -> None:
        super().__init__()
        pixel, fine, coarse = widths
        self.linear = nn.Conv2d(latent_channels, out_channels * 256, 1)
        self.stem = nn.Conv2d(latent_channels, coarse, 3, padding=1)
        self.coarse = _blocks(coarse, n_blocks)
        self.up1 = nn.Conv2d(coarse, fine * 4, 1)
        self.fine = _blocks(fine, n_blocks)
        self.up2 = nn.Conv2d(fine, pixel * 16, 1)
        self.from_linear = nn.Conv2d(out_channels * 4, pixel, 3, padding=1)
        self.pixel = _blocks(pixel, 2)
        self.head = _zeroed(nn.Conv2d(pixel, out_channels * 4, 3, padding=1))

    def forward(self, z: Tensor) -> Tensor:
        base = F.pixel_shuffle(self.linear(z), 16)
        h = self.coarse(self.stem(z))
        h = self.fine(F.pixel_shuffle(self.up1(h), 2))
        h = F.pixel_shuffle(self.up2(F.silu(h)), 4) + self.from_linear(F.pixel_unshuffle(base, 2))
        h = self.pixel(h)
        return base + F.pixel_shuffle(self.head(F.silu(h)), 2)


class PatchAutoencoderKL(ModelMixin, ConfigMixin):  # type: ignore[misc]  # diffusers is untyped
    """Grey-image autoencoder with 16-fold spatial reduction.

    The posterior is a Gaussian whose mean is learnt and whose standard deviation is the constant
    `posterior_std`: noise of a known size that the decoder is trained to bear, so that small errors
    of a diffusion model in the latents do not show.

    Args:
        in_channels, out_channels: Colour channels of the image (1 for radiographs).
        latent_channels: Channels C of the latents.
        block_out_channels: Width at strides 1, 2, 4, 8 and 16. Strides 2, 8 and 16 carry residual
            networks; 1 and 4 are only passed through. diffusers derives the stride from its length.
        layers_per_block: Residual blocks per resolution.
        posterior_std: Standard deviation of the posterior, in units of raw latents.
        scaling_factor: Multiplies raw latents to give diffusion latents of unit mean square.
        sample_size: Image side the weights were trained for, in pixels.
    """

    __module__ = "lungsynth"  # the import path a saved pipeline names; see lungsynth.__getattr__
    _supports_gradient_checkpointing = False

    @register_to_config  # type: ignore[untyped-decorator]
    def __init__(
        self,
        in_channels: int = 1,
        out_channels: int = 1,
        latent_channels: int = 16,
        block_out_channels: tuple[int, ...] = (1, 32, 16, 128, 256),
        layers_per_block: int = 4,
        encoder_layers_per_block: int = 2,
        posterior_std: float = 0.02,
        scaling_factor: float = 1.0,
        sample_size: int = 256,
        force_upcast: bool = False,
    ) -> None:
        super().__init__()
        if len(block_out_channels) != 5:
            raise ValueError(
                f"`block_out_channels` has {len(block_out_channels)} widths, expected 5 (strides 1-16)."
            )
        _, pixel, _, fine, coarse = block_out_channels
        self.encoder = PatchEncoder(
            in_channels, latent_channels, (fine, coarse), encoder_layers_per_block
        )
        self.decoder = PatchDecoder(
            out_channels, latent_channels, (pixel, fine, coarse), layers_per_block
        )

    def encode(
        self, x: Tensor, return_dict: bool = True
    ) -> AutoencoderKLOutput | tuple[DiagonalGaussianDistribution]:
        """Image (B, c, H, W) in [-1, 1], sides divisible by 16 -> posterior over raw latents."""
        mean = self.encoder(x)
        logvar = torch.full_like(mean, 2.0 * math.log(self.config.posterior_std))
        posterior = DiagonalGaussianDistribution(torch.cat([mean, logvar], dim=1))
        return AutoencoderKLOutput(latent_dist=posterior) if return_dict else (posterior,)

    def decode(
        self, z: Tensor, return_dict: bool = True, generator: torch.Generator | None = None
    ) -> DecoderOutput | tuple[Tensor]:
        """Raw latents (B, C, h, w) -> image (B, c, 16h, 16w), about [-1, 1], not clipped."""
        del generator  # decoding is deterministic; diffusers passes one to every VAE
        image = self.decoder(z)
        return DecoderOutput(sample=image) if return_dict else (image,)

    def forward(self, x: Tensor, **_: Any) -> Tensor:
        """Reconstruct `x` from the mean of its posterior."""
        return self.decoder(self.encoder(x))

    @torch.no_grad()
    def init_from_linear(self, mean: Tensor, components: Tensor, std: Tensor) -> None:
        """Start at a linear codec: PCA of 16x16 patches, each component divided by √std.

        Dividing by the square root of a component's standard deviation is the rate-optimal
        allocation for a Gaussian source coded under noise of fixed size: large components stay
        larger, small ones are raised above the noise.

        Args:
            mean: (256 c,) mean patch, in the order of `pixel_unshuffle`.
            components: (C, 256 c) orthonormal rows, largest variance first.
            std: (C,) standard deviation of each component.
        """
        gain = std.clamp_min(1e-6).rsqrt()
        analysis = components * gain[:, None]
        synthesis = components / gain[:, None]
        assert self.encoder.linear.bias is not None and self.decoder.linear.bias is not None
        self.encoder.linear.weight.copy_(analysis[:, :, None, None])
        self.encoder.linear.bias.copy_(-(analysis @ mean))
        self.decoder.linear.weight.copy_(synthesis.T[:, :, None, None])
        self.decoder.linear.bias.copy_(mean)


def fit_patch_pca(
    images: Tensor, n_components: int, patch: int = 16
) -> tuple[Tensor, Tensor, Tensor]:
    """Principal components of non-overlapping patches.

    Args:
        images: (N, c, H, W) float32, sides divisible by `patch`.
        n_components: How many components to keep.
        patch: Side of a patch in pixels.

    Returns:
        `mean` (c·patch²,), `components` (n_components, c·patch²) with orthonormal rows, `std`
        (n_components,), all float32; patches in the order of `pixel_unshuffle`.
    """
    rows = F.pixel_unshuffle(images, patch).permute(0, 2, 3, 1).flatten(0, 2).double()
    mean = rows.mean(0)
    centred = rows - mean
    values, vectors = torch.linalg.eigh(centred.T @ centred / len(rows))
    order = values.argsort(descending=True)[:n_components]
    return (
        mean.float(),
        vectors[:, order].T.contiguous().float(),
        values[order].clamp_min(0).sqrt().float(),
    )
