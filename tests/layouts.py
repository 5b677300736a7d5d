"""Stable Diffusion 1.5 and 2.1 as their repositories have them, with random weights."""

from __future__ import annotations

from pathlib import Path
from typing import Any

UNET: dict[str, Any] = {
    "act_fn": "silu",
    "block_out_channels": (320, 640, 1280, 1280),
    "center_input_sample": False,
    "down_block_types": ("CrossAttnDownBlock2D",) * 3 + ("DownBlock2D",),
    "downsample_padding": 1,
    "flip_sin_to_cos": True,
    "freq_shift": 0,
    "in_channels": 4,
    "layers_per_block": 2,
    "mid_block_scale_factor": 1,
    "norm_eps": 1e-05,
    "norm_num_groups": 32,
    "out_channels": 4,
    "up_block_types": ("UpBlock2D",) + ("CrossAttnUpBlock2D",) * 3,
}
UNETS = {
    "1.5": UNET | {"attention_head_dim": 8, "cross_attention_dim": 768, "sample_size": 64},
    "2.1": UNET
    | {
        "attention_head_dim": (5, 10, 20, 20),
        "cross_attention_dim": 1024,
        "dual_cross_attention": False,
        "num_class_embeds": None,
        "only_cross_attention": False,
        "sample_size": 96,
        "upcast_attention": True,
        "use_linear_projection": True,
    },
}
TEXTS = {
    "1.5": {
        "hidden_act": "quick_gelu",
        "hidden_size": 768,
        "intermediate_size": 3072,
        "num_attention_heads": 12,
        "num_hidden_layers": 12,
        "projection_dim": 768,
    },
    "2.1": {  # OpenCLIP
        "hidden_act": "gelu",
        "hidden_size": 1024,
        "intermediate_size": 4096,
        "num_attention_heads": 16,
        "num_hidden_layers": 23,
        "projection_dim": 512,
    },
}
VAE: dict[str, Any] = {
    "block_out_channels": (128, 256, 512, 512),
    "down_block_types": ("DownEncoderBlock2D",) * 4,
    "latent_channels": 4,
    "layers_per_block": 2,
    "norm_num_groups": 32,
    "sample_size": 512,
    "scaling_factor": 0.18215,
    "up_block_types": ("UpDecoderBlock2D",) * 4,
}
NOISE: dict[str, Any] = {
    "beta_end": 0.012,
    "beta_schedule": "scaled_linear",
    "beta_start": 0.00085,
    "set_alpha_to_one": False,
    "steps_offset": 1,
}
NARROW: dict[str, dict[str, Any]] = {
    "unet": {"block_out_channels": (32, 64, 64, 64), "layers_per_block": 1, "sample_size": 8},
    "text": {"num_hidden_layers": 1, "intermediate_size": 64},
    "vae": {"block_out_channels": (32,) * 4, "layers_per_block": 1, "sample_size": 64},
}


def write_layout(folder: Path, version: str, *, full: bool = False) -> Path:
    """A checkpoint of a version in half precision: of its real size, or narrow but for its text."""
    import torch
    from diffusers import (
        AutoencoderKL,
        DDIMScheduler,
        PNDMScheduler,
        StableDiffusionPipeline,
        UNet2DConditionModel,
    )
    from transformers import CLIPTextConfig, CLIPTextModel

    from lungsynth.training.diffusion.parts import train_tokenizer

    narrow = {} if full else NARROW
    unet = UNETS[version] | narrow.get("unet", {})
    if not full and version == "2.1":
        unet["attention_head_dim"] = (1, 2, 2, 2)
    captions = ["chest x-ray of a man with pneumonia, both lungs"] * 4
    tokenizer = train_tokenizer(captions, max_length=77)
    text = TEXTS[version] | narrow.get("text", {})
    text |= {
        "vocab_size": 49408 if full else len(tokenizer),
        "max_position_embeddings": 77,
        "pad_token_id": 1,
    }
    text |= {"bos_token_id": 0, "eos_token_id": 1}
    torch.manual_seed(0)
    pipe: Any = StableDiffusionPipeline(
        vae=AutoencoderKL(**(VAE | narrow.get("vae", {}))).half(),
        text_encoder=CLIPTextModel(CLIPTextConfig(**text)).half(),
        tokenizer=tokenizer,
        unet=UNet2DConditionModel(**unet).half(),
        scheduler=PNDMScheduler(skip_prk_steps=True, **NOISE)
        if version == "1.5"
        else DDIMScheduler(clip_sample=False, prediction_type="v_prediction", **NOISE),
        safety_checker=None,
        feature_extractor=None,
        requires_safety_checker=False,
    )
    pipe.save_pretrained(folder, safe_serialization=True)
    return folder


def write_lora(checkpoint: Path, folder: Path) -> Path:
    """LoRA of rank 2 on every projection of attention, as diffusers writes it; random, not zero."""
    import torch
    from diffusers import StableDiffusionPipeline
    from diffusers.utils import convert_state_dict_to_diffusers
    from peft import LoraConfig, get_peft_model_state_dict

    from lungsynth.model.checkpoint import load_pipeline

    unet = load_pipeline(str(checkpoint))[0].unet
    unet.add_adapter(
        LoraConfig(r=2, lora_alpha=2, target_modules=["to_q", "to_k", "to_v", "to_out.0"])
    )
    generator = torch.Generator().manual_seed(0)
    for name, value in unet.named_parameters():
        if "lora_B" in name:
            value.data = torch.randn(value.shape, generator=generator) * 0.5
    StableDiffusionPipeline.save_lora_weights(
        folder, unet_lora_layers=convert_state_dict_to_diffusers(get_peft_model_state_dict(unet))
    )
    return folder
