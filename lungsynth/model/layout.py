"""What kind of checkpoint a folder or a Hub repository is, by its JSON, before any weight is read.

A Stable Diffusion 1.x/2.x pipeline has one U-Net of one input (latents), one text encoder of the
U-Net's cross-attention width, and an autoencoder of the U-Net's channels. Its relatives look alike
until they are run; each is refused here in one sentence.
"""

from __future__ import annotations

import json
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from lungsynth.errors import CheckpointError

PIPELINES = (
    "StableDiffusionPipeline",
    "StableDiffusionImg2ImgPipeline",
    "LatentConsistencyModelPipeline",
)
"""Pipelines whose parts are those of text-to-image Stable Diffusion 1.x/2.x."""

RELATIVES = {
    "StableDiffusionXL": "Stable Diffusion XL, which has two text encoders and a size embedding",
    "StableDiffusion3": "Stable Diffusion 3, which has a transformer in place of a U-Net",
    "Flux": "FLUX, which has a transformer in place of a U-Net",
    "PixArt": "PixArt, which has a transformer in place of a U-Net",
    "StableDiffusionInpaint": "an inpainting pipeline, which draws into a masked picture",
    "StableDiffusionUpscale": "an upscaler, which draws over a small picture",
    "StableDiffusionLatentUpscale": "an upscaler, which draws over a small picture",
    "StableDiffusionDepth2Img": "a depth-to-image pipeline, which draws over a depth map",
    "StableDiffusionInstructPix2Pix": "InstructPix2Pix, which edits a picture",
    "StableUnCLIP": "unCLIP, which draws from an image embedding",
    "IF": "DeepFloyd IF, which draws pixels, not latents",
    "Kandinsky": "Kandinsky, which draws from an image embedding",
    "DDPM": "an unconditional pipeline, which reads no text",
    "LDMTextToImage": "a latent diffusion model of the time before Stable Diffusion",
}
"""Beginning of a pipeline's class name -> what it is."""

EXTRA_CHANNELS = {
    9: "inpainting weights (latents, a mask and a masked picture)",
    8: "weights that edit a picture (latents of two pictures)",
    7: "an upscaler (latents and a small picture)",
    5: "depth-to-image weights (latents and a depth map)",
}
"""Input channels of a U-Net that draws four -> what it is."""

WANTED = "expected a text-to-image Stable Diffusion 1.x/2.x checkpoint"


@dataclass(frozen=True)
class Layout:
    """The JSON of a checkpoint's parts; a part that is not there is empty."""

    index: dict[str, Any]  # model_index.json
    unet: dict[str, Any] = field(default_factory=dict)  # unet/config.json
    vae: dict[str, Any] = field(default_factory=dict)
    text_encoder: dict[str, Any] = field(default_factory=dict)


def read_layout(where: str) -> Layout:
    """The JSON of a folder, or of a Hub repository, whose weights are left where they are.

    Raises:
        CheckpointError: a file is broken, or the Hub cannot be asked.
    """
    try:
        index = _read(where, "model_index.json")
        parts = [part for part in ("unet", "vae", "text_encoder") if _has(index, part)]
        return Layout(index, **{part: _read(where, f"{part}/config.json") for part in parts})
    except (OSError, ValueError, TypeError) as error:
        first = str(error).strip().splitlines()[0] if str(error).strip() else ""
        raise CheckpointError(
            f"{where}: cannot be loaded ({type(error).__name__}: {first})."
        ) from error


def _read(where: str, name: str) -> dict[str, Any]:
    """A JSON file of a folder, {} where it is not there; or of a Hub repository, through its cache."""
    path = Path(where) / name
    if not Path(where).is_dir():
        from transformers.utils import cached_file  # deferred: slow, and only a Hub id needs it

        path = Path(str(cached_file(where, name)))
    return dict(json.loads(path.read_text(encoding="utf-8"))) if path.is_file() else {}


def _has(index: dict[str, Any], part: str) -> bool:
    entry = index.get(part)
    return isinstance(entry, list | tuple) and len(entry) == 2 and entry[1] is not None


def check_layout(where: str, layout: Layout) -> None:
    """Refuse what is not text-to-image Stable Diffusion 1.x/2.x.

    Raises:
        CheckpointError: what it is, and what was expected, in one sentence.
    """
    for found in (_wrong_pipeline, _wrong_network, _wrong_input, _wrong_text):
        why = found(layout)
        if why:
            raise CheckpointError(f"{where}: {why}; {WANTED}.")


def _wrong_pipeline(layout: Layout) -> str:
    kind = str(layout.index.get("_class_name", ""))
    if kind not in PIPELINES:
        names = sorted(RELATIVES, key=len, reverse=True)  # the longest beginning says most
        about = next((RELATIVES[name] for name in names if kind.startswith(name)), "")
        return (
            f"{kind or 'no pipeline'} is {about}" if about else f"its pipeline is {kind or 'none'}"
        )
    for part, name in (("unet", "U-Net"), ("vae", "autoencoder"), ("text_encoder", "text encoder")):
        if not _has(layout.index, part):
            there = ", ".join(key for key in layout.index if _has(layout.index, key))
            return f"it has no {name} (its parts: {there or 'none'})"
    return ""


def _wrong_network(layout: Layout) -> str:
    unet = layout.unet
    kind = str(unet.get("_class_name", "UNet2DConditionModel"))
    if kind != "UNet2DConditionModel":
        return f"its network is a {kind}, not a UNet2DConditionModel"
    blocks = [*unet.get("down_block_types", ()), *unet.get("up_block_types", ())]
    if blocks and not any("CrossAttn" in str(block) for block in blocks):
        return "its U-Net has no cross-attention, so no word has a map"
    embedding = unet.get("addition_embed_type")
    if embedding == "text_time":
        return "its U-Net takes sizes and pooled text as Stable Diffusion XL's does"
    if embedding not in (None, "text"):
        return f"its U-Net takes an additional embedding ({embedding})"
    if unet.get("class_embed_type") or unet.get("num_class_embeds"):
        return "its U-Net takes class labels, as upscalers and unCLIP do"
    if unet.get("encoder_hid_dim_type"):
        return f"its U-Net projects its text ({unet['encoder_hid_dim_type']})"
    return ""


def _wrong_input(layout: Layout) -> str:
    n_in, n_out = layout.unet.get("in_channels", 4), layout.unet.get("out_channels", 4)
    if n_in != n_out:
        about = EXTRA_CHANNELS.get(n_in, "") if n_out == 4 else ""
        return f"its U-Net takes {n_in} channels and gives {n_out}" + (
            f": {about}" if about else ""
        )
    n_latent = layout.vae.get("latent_channels", n_in)
    if n_latent != n_in:
        return f"its autoencoder has {n_latent} latent channels, its U-Net {n_in}"
    return ""


def _wrong_text(layout: Layout) -> str:
    if not layout.unet:
        return ""  # not there; its weights will be missed
    kind = str(layout.index["text_encoder"][1])
    if kind.endswith("WithProjection"):
        return f"its text encoder is a {kind}, which gives one vector a prompt"
    widths = layout.unet.get("cross_attention_dim", 1280)
    widths = set(widths) if isinstance(widths, list | tuple) else {widths}
    told = layout.text_encoder
    width = told.get("hidden_size", told.get("d_model"))
    if width is not None and widths != {width}:
        wanted = " and ".join(str(one) for one in sorted(widths))
        return f"its text encoder is {width} wide, its U-Net's cross-attention {wanted}"
    return ""
