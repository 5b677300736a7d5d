"""Checkpoints of other kinds, as their publishers write the JSON; without weights, which are not read."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

CLIP = ["transformers", "CLIPTextModel"]
INDEX = {
    "_class_name": "StableDiffusionPipeline",
    "_diffusers_version": "0.21.0",
    "feature_extractor": ["transformers", "CLIPImageProcessor"],
    "requires_safety_checker": True,
    "safety_checker": ["stable_diffusion", "StableDiffusionSafetyChecker"],
    "scheduler": ["diffusers", "PNDMScheduler"],
    "text_encoder": CLIP,
    "tokenizer": ["transformers", "CLIPTokenizer"],
    "unet": ["diffusers", "UNet2DConditionModel"],
    "vae": ["diffusers", "AutoencoderKL"],
}
UNET = {
    "_class_name": "UNet2DConditionModel",
    "in_channels": 4,
    "out_channels": 4,
    "cross_attention_dim": 768,
    "down_block_types": ["CrossAttnDownBlock2D"] * 3 + ["DownBlock2D"],
    "up_block_types": ["UpBlock2D"] + ["CrossAttnUpBlock2D"] * 3,
    "block_out_channels": [320, 640, 1280, 1280],
    "sample_size": 64,
}
VAE = {"_class_name": "AutoencoderKL", "latent_channels": 4, "block_out_channels": [128] * 4}
TEXT = {"architectures": ["CLIPTextModel"], "hidden_size": 768, "vocab_size": 49408}
TRANSFORMER = {"transformer": ["diffusers", "SD3Transformer2DModel"], "unet": None}
XL = {
    "text_encoder_2": ["transformers", "CLIPTextModelWithProjection"],
    "tokenizer_2": ["transformers", "CLIPTokenizer"],
    "force_zeros_for_empty_prompt": True,
}
UPSCALE = {"low_res_scheduler": ["diffusers", "DDPMScheduler"]}

Change = dict[str, Any]
WRONG: dict[str, tuple[str, Change, Change, Change, Change]] = {
    # name -> what is said, and what differs in model_index, unet, vae, text encoder
    "sdxl": (
        r"StableDiffusionXLPipeline is Stable Diffusion XL",
        {"_class_name": "StableDiffusionXLPipeline", **XL},
        {"cross_attention_dim": 2048, "addition_embed_type": "text_time"},
        {},
        {},
    ),
    "sdxl-relabelled": (
        r"takes sizes and pooled text as Stable Diffusion XL's does",
        {},
        {"cross_attention_dim": 2048, "addition_embed_type": "text_time"},
        {},
        {},
    ),
    "sd3": (
        r"StableDiffusion3Pipeline is Stable Diffusion 3, which has a transformer",
        {"_class_name": "StableDiffusion3Pipeline", **TRANSFORMER},
        {},
        {"latent_channels": 16},
        {},
    ),
    "transformer-relabelled": (
        r"it has no U-Net \(its parts: .*transformer",
        TRANSFORMER,
        {},
        {},
        {},
    ),
    "inpainting": (
        r"StableDiffusionInpaintPipeline is an inpainting pipeline",
        {"_class_name": "StableDiffusionInpaintPipeline"},
        {"in_channels": 9},
        {},
        {},
    ),
    "inpainting-relabelled": (
        r"takes 9 channels and gives 4: inpainting weights",
        {},
        {"in_channels": 9},
        {},
        {},
    ),
    "upscaler": (
        r"StableDiffusionUpscalePipeline is an upscaler",
        {"_class_name": "StableDiffusionUpscalePipeline", **UPSCALE},
        {"in_channels": 7, "cross_attention_dim": 1024, "num_class_embeds": 1000},
        {},
        {"hidden_size": 1024},
    ),
    "upscaler-relabelled": (
        r"takes class labels",
        {},
        {"in_channels": 7, "cross_attention_dim": 1024, "num_class_embeds": 1000},
        {},
        {"hidden_size": 1024},
    ),
    "instruct-pix2pix": (
        r"InstructPix2Pix, which edits",
        {"_class_name": "StableDiffusionInstructPix2PixPipeline"},
        {"in_channels": 8},
        {},
        {},
    ),
    "depth": (
        r"takes 5 channels and gives 4: depth-to-image",
        {},
        {"in_channels": 5, "cross_attention_dim": 1024},
        {},
        {"hidden_size": 1024},
    ),
    "text-too-wide": (
        r"text encoder is 1024 wide, its U-Net's cross-attention 768",
        {},
        {},
        {},
        {"hidden_size": 1024},
    ),
    "text-of-one-vector": (
        r"CLIPTextModelWithProjection, which gives one vector a prompt",
        {"text_encoder": ["transformers", "CLIPTextModelWithProjection"]},
        {},
        {},
        {},
    ),
    "autoencoder-too-deep": (
        r"autoencoder has 16 latent channels, its U-Net 4",
        {},
        {},
        {"latent_channels": 16},
        {},
    ),
    "pixels": (
        r"IFPipeline is DeepFloyd IF, which draws pixels",
        {"_class_name": "IFPipeline", "vae": None},
        {"in_channels": 3, "out_channels": 6},
        {},
        {},
    ),
    "image-embedding": (
        r"takes an additional embedding \(image\)",
        {},
        {"addition_embed_type": "image", "encoder_hid_dim_type": "image_proj"},
        {},
        {},
    ),
    "no-text": (
        r"DDPMPipeline is an unconditional pipeline",
        {"_class_name": "DDPMPipeline", "text_encoder": None, "vae": None},
        {"_class_name": "UNet2DModel"},
        {},
        {},
    ),
    "no-cross-attention": (
        r"no cross-attention, so no word has a map",
        {},
        {"down_block_types": ["AttnDownBlock2D"] * 4, "up_block_types": ["AttnUpBlock2D"] * 4},
        {},
        {},
    ),
    "unheard-of": (r"its pipeline is MyOwnPipeline", {"_class_name": "MyOwnPipeline"}, {}, {}, {}),
}


def write_wrong(folder: Path, name: str) -> Path:
    """The JSON of one of `WRONG` in a new folder."""
    _, index, unet, vae, text = WRONG[name]
    whole = {k: v for k, v in {**INDEX, **index}.items() if v is not None}
    parts = {"unet": {**UNET, **unet}, "vae": {**VAE, **vae}, "text_encoder": {**TEXT, **text}}
    folder.mkdir(parents=True)
    (folder / "model_index.json").write_text(json.dumps(whole))
    for part, config in parts.items():
        if part in whole:
            (folder / part).mkdir()
            (folder / part / "config.json").write_text(json.dumps(config))
    return folder
