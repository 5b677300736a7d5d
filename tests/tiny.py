"""Small real parts for tests: films drawn with circles, and checkpoints with random weights."""

from __future__ import annotations

import io
import json
from pathlib import Path
from typing import Any

import numpy as np
from PIL import Image, ImageDraw

ROWS = [
    {"view": "AP", "age": "1-5", "sex": "", "findings": "normal", "label": "normal"},
    {
        "view": "AP",
        "age": "1-5",
        "sex": "",
        "findings": "viral pneumonia",
        "label": "viral pneumonia",
    },
    {"view": "PA", "age": "60", "sex": "M", "findings": "no finding", "label": "no finding"},
    {
        "view": "PA",
        "age": "44",
        "sex": "F",
        "findings": "effusion|pneumonia",
        "label": "effusion|pneumonia",
    },
]


def film(seed: int, *, height: int = 96, width: int = 112) -> tuple[np.ndarray, np.ndarray]:
    """A grey film with two dark ellipses on a bright body, and their mask (255 = lung)."""
    rng = np.random.default_rng(seed)
    picture, mask = Image.new("L", (width, height), 30), Image.new("L", (width, height), 0)
    draw, truth = ImageDraw.Draw(picture), ImageDraw.Draw(mask)
    draw.ellipse((4, -10, width - 4, height + 20), fill=190)
    for cx in (0.32, 0.68):
        x, y = cx * width + rng.normal(0, 2), 0.5 * height + rng.normal(0, 2)
        w, h = 0.13 * width + rng.normal(0, 1), 0.3 * height + rng.normal(0, 1)
        box = (x - w, y - h, x + w, y + h)
        draw.ellipse(box, fill=80)
        truth.ellipse(box, fill=255)
    noisy = np.asarray(picture, dtype=float) + rng.normal(0, 4, (height, width))
    return noisy.clip(0, 255).astype(np.uint8), np.asarray(mask).copy()


def png(array: np.ndarray) -> bytes:
    buffer = io.BytesIO()
    Image.fromarray(array).save(buffer, "PNG")
    return buffer.getvalue()


def write_parquet(path: Path, n: int = 16) -> Path:
    """A Parquet source with the columns of a real one; every fourth row is in `test`, one in `val`."""
    import pyarrow as pa
    import pyarrow.parquet as pq

    rows = []
    for i in range(n):
        image, mask = film(i)
        fields = ROWS[i % len(ROWS)]
        rows.append(
            {
                "id": f"film-{i}",
                "image": {"bytes": png(image), "path": None},
                "mask": {"bytes": png(mask), "path": None},
                "text": f"Frontal {fields['view']} chest X-ray. {fields['findings'].capitalize()}.",
                **fields,
                "patient": f"p{i}",
                "split": "test" if i % 4 == 3 else "val" if i == 4 else "train",
                "source_set": "tiny",
                "image_licence": "CC0 (drawn by a test)",
                "mask_licence": "CC BY 4.0 (drawn by a test)",
                "note": "",
                "mask_convention": "v7",
            }
        )
    pq.write_table(pa.Table.from_pylist(rows), path)
    return path


def tiny_frames(n: int = 12, pixels: int = 64) -> Any:
    """Frames cut from tiny films."""
    from lungsynth.films.data import Record
    from lungsynth.training.frames import cut_frames

    records = [
        Record(film(i)[0], f"Frontal chest X-ray {i}.", None, ROWS[i % len(ROWS)]) for i in range(n)
    ]
    return cut_frames(records, pixels=pixels, per_child=1, per_adult=1, quiet=True)


def tiny_checkpoint(folder: Path, *, tokens: bool = False) -> Path:
    """A lungsynth checkpoint with random weights, 64 px, saved in `folder`."""
    from lungsynth.about.sources import Source, write_sources
    from lungsynth.training.diffusion.parts import build_parts, save_pipeline
    from lungsynth.training.presets import DIFFUSION_PRESETS, VAE_PRESETS
    from lungsynth.training.vae import build

    frames = tiny_frames()
    vae = build(VAE_PRESETS["tiny"], frames).eval()
    parts = build_parts(vae, frames, DIFFUSION_PRESETS["tiny"])
    save_pipeline(parts, folder, DIFFUSION_PRESETS["tiny"])
    checkpoint = folder / "pipeline"
    write_sources(checkpoint, [Source("tiny", "cc0-1.0", "CC0 (drawn by a test)", n=12)])
    if tokens:
        add_tokens(checkpoint)
    return checkpoint


def add_tokens(checkpoint: Path) -> None:
    """Give a checkpoint two random class tokens and a `classes.json`."""
    import torch

    from lungsynth.masks.tokens import ClassToken
    from lungsynth.model.backbone import key_weights
    from lungsynth.model.checkpoint import load_pipeline

    pipe, _ = load_pipeline(str(checkpoint))
    keys = key_weights(pipe.unet)
    (checkpoint / "tokens").mkdir(exist_ok=True)
    entries = []
    for index, name in enumerate(("left lung", "right lung"), 1):
        generator = torch.Generator().manual_seed(index)
        token = ClassToken(
            name,
            {k: torch.randn(v.shape[1], generator=generator) for k, v in keys.items()},
            {
                k: torch.zeros(pipe.unet.get_submodule(k.removesuffix(".processor")).heads)
                for k in keys
            },
            torch.zeros(()),
            {"timesteps": "50,300"},
        )
        file = f"tokens/{name.replace(' ', '-')}.safetensors"
        token.save(checkpoint / file)
        entries.append({"id": index, "name": name, "token": file})
    (checkpoint / "classes.json").write_text(json.dumps({"classes": entries}))


def sd_checkpoint(folder: Path) -> Path:
    """A checkpoint of the real Stable Diffusion 1.x layout (AutoencoderKL, ε), small and random."""
    import torch
    from diffusers import (
        AutoencoderKL,
        PNDMScheduler,
        StableDiffusionPipeline,
        UNet2DConditionModel,
    )
    from transformers import CLIPTextConfig, CLIPTextModel

    from lungsynth.training.diffusion.parts import train_tokenizer

    torch.manual_seed(0)
    tokenizer = train_tokenizer(
        ["chest x-ray of a man with pneumonia, both lungs"] * 4, max_length=77
    )
    pipe = StableDiffusionPipeline(
        vae=AutoencoderKL(
            in_channels=3,
            out_channels=3,
            latent_channels=4,
            block_out_channels=(8, 8, 16, 16),
            down_block_types=("DownEncoderBlock2D",) * 4,
            up_block_types=("UpDecoderBlock2D",) * 4,
            layers_per_block=1,
            norm_num_groups=8,
            sample_size=64,
        ),
        text_encoder=CLIPTextModel(
            CLIPTextConfig(
                vocab_size=len(tokenizer),
                hidden_size=32,
                intermediate_size=64,
                num_hidden_layers=1,
                num_attention_heads=2,
                max_position_embeddings=77,
                bos_token_id=0,
                eos_token_id=1,
                pad_token_id=1,
            )
        ),
        tokenizer=tokenizer,
        unet=UNet2DConditionModel(
            sample_size=8,
            in_channels=4,
            out_channels=4,
            block_out_channels=(16, 32, 32, 32),
            layers_per_block=1,
            cross_attention_dim=32,
            attention_head_dim=2,
            norm_num_groups=8,
        ),
        scheduler=PNDMScheduler(
            beta_start=0.00085,
            beta_end=0.012,
            beta_schedule="scaled_linear",
            skip_prk_steps=True,
            set_alpha_to_one=False,
            steps_offset=1,
        ),
        safety_checker=None,
        feature_extractor=None,
        requires_safety_checker=False,
    )
    pipe.save_pretrained(folder, safe_serialization=True)
    return folder
